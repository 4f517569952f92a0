"""TCP ports of this machine."""

import contextlib
import random
import socket

from devkit.platform.errors import PlatformError

# Below every system's ephemeral range, so that a recorded port is not lost to somebody's outgoing connection.
_FIRST, _LAST = 20_000, 31_999
_TRIES = 200


def free_port() -> int:
    """A TCP port on 127.0.0.1 nobody listens on right now."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311
        if port_is_free(port):
            return port
    raise PlatformError(f"found no free port between {_FIRST} and {_LAST}")


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    """Whether something accepts TCP connections on 127.0.0.1:`port`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False

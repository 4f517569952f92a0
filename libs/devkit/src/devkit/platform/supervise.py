"""Keeping a platform running in the foreground."""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress

from devkit.platform.errors import BusyError, PlatformError
from devkit.platform.platform import Platform

_POLL_SECONDS = 1.0
_WINDOW_SECONDS = 60.0
_RESTARTS_PER_WINDOW = 5


def supervise(platform: Platform, names: list[str], say: Callable[[str], None]) -> None:
    """Start again any of the named parts that ends by itself; returns when another command has stopped them all.

    Raises PlatformError when a part keeps ending.
    """
    restarts: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RESTARTS_PER_WINDOW))
    while True:
        recorded = platform.folder.state().processes
        ours = [name for name in names if name in recorded]
        if not ours:
            return
        for name in ours:
            if recorded[name].alive():
                continue
            times = restarts[name]
            if len(times) == _RESTARTS_PER_WINDOW and time.monotonic() - times[0] < _WINDOW_SECONDS:
                raise PlatformError(f"{name} keeps ending (log: {platform.folder.logs / f'{name}.log'})")
            # A command at work on the platform goes first; what it leaves is looked at next time.
            with suppress(BusyError):
                if platform.restart(name):
                    times.append(time.monotonic())
                    say(f"{name} had ended and was started again")
        time.sleep(_POLL_SECONDS)

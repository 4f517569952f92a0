"""A loopback TCP proxy whose traffic can be delayed, swallowed or cut: the network between a service and a server."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

Mode = Literal["open", "latency", "cut", "half_open"]
_CHUNK_BYTES = 256 * 1024
# Chunks on their way in one direction; a sender that is faster than the network waits.
_IN_FLIGHT = 64
# With no time to linger a close is a reset.
_RESET = struct.pack("ii", 1, 0)


class Link:
    """One port of 127.0.0.1, forwarded to another.

    In `latency` everything arrives late; in `cut` connections are refused and open ones reset; in `half_open` they are
    taken and kept, and nothing arrives: whoever lost something is reset when the link is open again.
    """

    def __init__(self, name: str, port: int, target: Callable[[], int]) -> None:
        self.name = name
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._mode: Mode = "open"
        self._seconds = 0.0
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._lossy: set[asyncio.StreamWriter] = set()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def listen(self) -> None:
        """Begin to forward."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port, limit=_CHUNK_BYTES)

    async def close(self) -> None:
        """End every connection and stop listening."""
        await self._stop_listening()
        await self._reset(list(self._connections))

    async def heal(self) -> None:
        """Open again; connections that lost something are reset."""
        if self._mode == "cut":
            await self.listen()
        self._mode, self._seconds = "open", 0.0
        await self._reset([client for client in self._connections if client in self._lossy])
        self._lossy.clear()

    async def slow_down(self, seconds: float) -> None:
        """From now on everything arrives this many seconds later."""
        self._mode, self._seconds = "latency", seconds

    async def cut(self) -> None:
        """Refuse connections and reset those that are open."""
        self._mode = "cut"
        await self._stop_listening()
        await self.reset()

    async def half_open(self) -> None:
        """Take and keep connections, but let nothing through."""
        self._mode = "half_open"

    async def reset(self) -> None:
        """Reset every connection once."""
        await self._reset(list(self._connections))

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset(self, clients: list[asyncio.StreamWriter]) -> None:
        tasks = [self._connections[client] for client in clients]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[client] = task
        server: asyncio.StreamWriter | None = None
        try:
            # A server that is down refuses: the client then sees its connection close.
            with contextlib.suppress(OSError):
                far_reader, server = await asyncio.open_connection("127.0.0.1", self._target(), limit=_CHUNK_BYTES)
                await self._both_ways(reader, client, far_reader, server)
        except asyncio.CancelledError:
            # Ours: the connection is reset. A stream's handler that ends cancelled is reported as an error.
            _abort(client)
            if server is not None:
                _abort(server)
        finally:
            del self._connections[client]
            self._lossy.discard(client)
            client.close()
            if server is not None:
                server.close()

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        """Forward until either side ends."""
        ways = [
            asyncio.create_task(self._one_way(reader, server, client)),
            asyncio.create_task(self._one_way(far_reader, client, client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _one_way(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

        async def deliver() -> None:
            while True:
                due, chunk = await flying.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not chunk:
                    return
                if self._mode == "half_open" or client in self._lossy:
                    self._lossy.add(client)
                    continue
                writer.write(chunk)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while True:
                chunk = await reader.read(_CHUNK_BYTES)
                await flying.put((loop.time() + self._seconds, chunk))
                if not chunk:
                    await delivering
                    return
        finally:
            delivering.cancel()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@asynccontextmanager
async def listening(*links: Link) -> AsyncIterator[None]:
    """The links forward while the block runs."""
    try:
        for link in links:
            await link.listen()
        yield
    finally:
        for link in links:
            await link.close()

"""The proxy disturbs traffic in each of its ways, and heals."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chaos.proxy import Link, listening
from devkit.platform.ports import free_port


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A link to a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1024):
                writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = Link("echo", free_port(), lambda: port)
    async with listening(link):
        yield link
    server.close()


class Caller:
    """A client of the link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, link: Link) -> "Caller":
        """A new connection."""
        return cls(*await asyncio.open_connection("127.0.0.1", link.port))

    async def ask(self, seconds: float = 5) -> bytes:
        """Say something and wait for it to come back."""
        self.writer.write(b"hello")
        return await asyncio.wait_for(self.reader.readexactly(5), seconds)


async def test_an_open_link_forwards(link: Link) -> None:
    caller = await Caller.connect(link)
    assert await caller.ask() == b"hello"
    caller.writer.close()


async def test_latency_delays_both_ways_until_healed(link: Link) -> None:
    caller = await Caller.connect(link)
    loop = asyncio.get_running_loop()
    await link.slow_down(0.5)
    began = loop.time()
    assert await caller.ask() == b"hello"
    assert loop.time() - began >= 1.0
    await link.heal()
    began = loop.time()
    await caller.ask()
    assert loop.time() - began < 1.0
    caller.writer.close()


async def test_a_cut_resets_and_refuses_until_healed(link: Link) -> None:
    caller = await Caller.connect(link)
    await caller.ask()
    await link.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(caller.reader.read(1), 5)
    with pytest.raises(ConnectionRefusedError):
        await Caller.connect(link)
    await link.heal()
    again = await Caller.connect(link)
    assert await again.ask() == b"hello"
    again.writer.close()


async def test_half_open_swallows_and_resets_what_lost_something(link: Link) -> None:
    quiet, talking = await Caller.connect(link), await Caller.connect(link)
    await quiet.ask()
    await talking.ask()
    await link.half_open()
    with pytest.raises(TimeoutError):
        await talking.ask(seconds=0.2)
    late = await Caller.connect(link)
    with pytest.raises(TimeoutError):
        await late.ask(seconds=0.2)
    await link.heal()
    for lossy in (talking, late):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(lossy.reader.read(1), 5)
    assert await quiet.ask() == b"hello"
    quiet.writer.close()


async def test_a_reset_ends_open_connections_only(link: Link) -> None:
    caller = await Caller.connect(link)
    await caller.ask()
    await link.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(caller.reader.read(1), 5)
    again = await Caller.connect(link)
    assert await again.ask() == b"hello"
    again.writer.close()


async def test_a_server_that_is_down_is_a_closed_connection() -> None:
    gone = free_port()
    link = Link("gone", free_port(), lambda: gone)
    async with listening(link):
        caller = await Caller.connect(link)
        assert await asyncio.wait_for(caller.reader.read(1), 5) == b""
        caller.writer.close()

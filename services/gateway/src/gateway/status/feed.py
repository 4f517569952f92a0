"""Live views: one poller per process watches the orders somebody streams; a stream holds only the newest view."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from chassis.db import Reader, is_unavailable
from chassis.service import Context
from gateway.status.queries import Gathered, gather, order_by, snapshot, story_sizes
from gateway.status.rules import OrderFact

_POLL_SECONDS = 0.25
log = structlog.get_logger()


@dataclass
class Watched:
    """An order somebody streams."""

    order: OrderFact
    current: Gathered
    size: int
    streams: int = 0
    # Replaced at each change, so that a stream that was busy meanwhile sees the newest view once, not each one.
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, current: Gathered, size: int) -> None:
        """Offer what was looked at just now to the streams, unless they have newer."""
        if current.sequence >= self.current.sequence:
            self.current, self.size = current, size
            self.wake()

    def wake(self) -> None:
        """Let the streams look again."""
        woken, self.changed = self.changed, asyncio.Event()
        woken.set()


class StatusFeed:
    """The watched orders of this process. Works with any number of gateway processes: each looks for itself."""

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._stopping = context.stopping
        self._watched: dict[str, Watched] = {}
        self._poller: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether streams may go on."""
        return not self._stopping.is_set() and self._poller is not None and not self._poller.done()

    @asynccontextmanager
    async def watch(self, order: OrderFact) -> AsyncIterator[Watched]:
        """Keep the order's view up to date while the block runs."""
        async with snapshot(self._database) as reader:
            current, size = await _look(reader, order)
        watched = self._watched.setdefault(order.order_id, Watched(order, current, size))
        watched.show(current, size)
        watched.streams += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            yield watched
        finally:
            watched.streams -= 1
            if not watched.streams:
                self._watched.pop(order.order_id, None)

    async def _poll(self) -> None:
        """Runs while anything is watched."""
        try:
            while self._watched and not self._stopping.is_set():
                await self._pause()
                try:
                    await self._refresh_changed()
                except Exception as error:
                    if not is_unavailable(error):
                        raise
                    log.warning("feed_waits_for_database", error=str(error))
        except Exception as error:
            # The streams end and their clients connect again, which starts a new poller.
            log.error("feed_failed", exc_info=error)
        finally:
            for watched in self._watched.values():
                watched.wake()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _refresh_changed(self) -> None:
        watched = list(self._watched.values())
        anchors = {anchor for one in watched for anchor in one.current.anchors}
        async with self._database.read() as reader:
            sizes = await story_sizes(reader, sorted(anchors))
        for one in watched:
            if sum(sizes.get(anchor, 0) for anchor in one.current.anchors) == one.size:
                continue
            async with snapshot(self._database) as reader:
                one.show(*await _look(reader, one.order))


async def _look(reader: Reader, order: OrderFact) -> tuple[Gathered, int]:
    """The facts now, and how many events are filed where a change would be."""
    current = await gather(reader, await order_by(reader, order.order_id) or order)
    sizes = await story_sizes(reader, sorted(current.anchors))
    return current, sum(sizes.values())

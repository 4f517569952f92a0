"""Lanes: each partition's records wait in a bounded queue and are applied in order, chunk by chunk, by one task."""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from chassis.messaging.retry import Interrupted, Processor

log = structlog.get_logger()
# A chunk is one transaction: large enough to be cheap, small enough that its locks are soon given up.
_FIRST_CHUNK, _LARGEST_CHUNK = 10, 100
_CHUNK_SECONDS = 0.25
# A lane above the first mark pauses its partition and resumes it below the second.
_FULL, _ROOM = 1000, 300


class Lane:
    """One assigned partition's work; `next_offset` is the first offset not yet applied."""

    def __init__(self, partition: TopicPartition, first_offset: int, processor: Processor) -> None:
        self.partition = partition
        self.next_offset = self.committed = first_offset
        self.paused = False
        self._processor = processor
        self._queue: deque[ConsumerRecord] = deque()
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()
        self._working = False
        self._size = _FIRST_CHUNK
        self.task = asyncio.create_task(self._run(), name=f"lane {partition.topic}-{partition.partition}")

    @property
    def is_full(self) -> bool:
        """Whether the partition should be paused."""
        return len(self._queue) >= _FULL

    @property
    def has_room(self) -> bool:
        """Whether a paused partition should be resumed."""
        return len(self._queue) <= _ROOM

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or being applied."""
        return not self._queue and not self._working

    def offer(self, records: Sequence[ConsumerRecord]) -> None:
        """Queue records behind those already there."""
        self._queue.extend(records)
        self._arrived.set()

    def stop(self) -> None:
        """End after the chunk being applied; what is queued is left for the partition's next owner."""
        self._stop.set()
        self._arrived.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            chunk = [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]
            self._working = True
            started = loop.time()
            try:
                await self._processor.process(chunk, self._stop)
            except Interrupted:
                return
            finally:
                self._working = False
            self.next_offset = chunk[-1].offset + 1
            self._size = _size_for(len(chunk), loop.time() - started)


def _size_for(events: int, seconds: float) -> int:
    """How many events fit into a transaction's time, going by the last chunk."""
    return max(1, min(_LARGEST_CHUNK, int(events * _CHUNK_SECONDS / max(seconds, 0.001))))


async def drain(lanes: Sequence[Lane], seconds: float) -> None:
    """Stop lanes after their current chunk; one that takes longer is cancelled and its transaction rolled back."""
    if not lanes:
        return
    for lane in lanes:
        lane.stop()
    ended, late = await asyncio.wait([lane.task for lane in lanes], timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    for task in ended:
        if error := task.exception():
            log.warning("lane_failed", lane=task.get_name(), error=repr(error)[:300])

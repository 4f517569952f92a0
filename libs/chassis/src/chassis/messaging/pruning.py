"""The inbox forgets events that Kafka has deleted: they can never come again."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import delete, select, tuple_

from chassis.clock import now
from chassis.db import Database, Tx
from chassis.messaging.handlers import Consumer
from chassis.messaging.provisioner import Topic
from chassis.tables import inbox
from chassis.waiting import pause

_PAUSE_SECONDS = 3600.0
_BATCH_ROWS = 1000
# Kafka deletes whole segments, which span up to a week beyond the retention of their oldest record.
_MARGIN = timedelta(days=8)
log = structlog.get_logger()


class InboxPruner:
    """Removes inbox rows older than their topics keep events, in small batches; keeps all where events are kept."""

    def __init__(self, database: Database, consumers: Sequence[Consumer], topics: Collection[Topic]) -> None:
        self._database = database
        retention = {topic.name: topic.retention_ms for topic in topics}
        self._kept = {
            consumer.group: max(timedelta(milliseconds=retention[topic]) for topic in consumer.topics) + _MARGIN
            for consumer in consumers
            if all(retention[topic] >= 0 for topic in consumer.topics)
        }

    async def run(self, stopping: asyncio.Event) -> None:
        """Prune once an hour until told to stop."""
        while not await pause(stopping, _PAUSE_SECONDS):
            await self.prune(stopping)

    async def prune(self, stopping: asyncio.Event) -> int:
        """Prune now; returns how many rows went."""
        removed = 0
        for group, kept in self._kept.items():
            before = now() - kept
            while not stopping.is_set() and (batch := await self._remove_batch(group, before)):
                removed += batch
        if removed:
            log.info("inbox_pruned", rows=removed)
        return removed

    async def _remove_batch(self, group: str, before: datetime) -> int:
        old = (
            select(inbox.c.consumer, inbox.c.event_id)
            # Event ids sort by time, so the primary key finds the old ones; an id of another kind is kept.
            .where(inbox.c.consumer == group, inbox.c.event_id < _first_id(before), inbox.c.handled_at < before)
            .order_by(inbox.c.event_id)
            .limit(_BATCH_ROWS)
            .with_for_update(skip_locked=True)
        )

        async def work(tx: Tx) -> int:
            statement = delete(inbox).where(tuple_(inbox.c.consumer, inbox.c.event_id).in_(old))
            return int((await tx.execute(statement)).rowcount)

        return await self._database.write(work)


def _first_id(at: datetime) -> UUID:
    """The smallest UUIDv7 of a moment (RFC 9562: 48 bits of Unix milliseconds come first)."""
    return UUID(int=int(at.timestamp() * 1000) << 80)

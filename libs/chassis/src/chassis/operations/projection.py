"""A read model built anew from its topics, beside the live one: compared with it, or put in its place.

The rebuilt tables live in a schema of their own, so that the very same handlers fill them. They get exactly the events
the live ones have had, which the inbox knows, so that the two must be equal while writers are held off, and a swap
loses nothing: what was not applied yet comes to the new tables as it would have to the old.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from sqlalchemy import ARRAY, MetaData, Table, Uuid, any_, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Cause, Database, Tx, is_unavailable
from chassis.events import MalformedEvent, header_text
from chassis.messaging import inbox
from chassis.messaging.handlers import Consumer, PermanentError
from chassis.messaging.inbox import Delivery
from chassis.messaging.records import decode
from chassis.operations.errors import OperationError
from chassis.operations.reading import Cluster, TopicReader
from chassis.tables import inbox as inbox_table

_SCHEMA, _REPLACED, _LIVE = "rebuild", "replaced", "public"
_CHUNK = 500
# How many differing rows of a table are shown.
_SHOWN = 20
# Of two rebuilds of one database only one may run; session advisory locks are per database.
_LOCK = 0x72656275696C64

_LOCK_ATTEMPTS = 100
_LOCK_PAUSE_SECONDS = 0.1
_LIVE_INBOX = inbox_table.to_metadata(MetaData(), schema=_LIVE)


@dataclass(frozen=True)
class Projection:
    """A read model: the consumer whose handlers fill it, and the tables they fill and nothing else writes."""

    consumer: Consumer
    tables: Sequence[Table]


@dataclass(frozen=True)
class Report:
    """What a rebuild found: events folded, rows by table, and where live and rebuilt rows differ."""

    events: int
    rows: dict[str, int]
    differences: list[dict[str, Any]]

    @property
    def equal(self) -> bool:
        """Whether live and rebuilt tables are the same."""
        return not self.differences


Progress = Callable[[int], None]


async def verify(cluster: Cluster, database: Database, projection: Projection, progress: Progress) -> Report:
    """Rebuild beside the live tables and compare; changes nothing. Raises OperationError."""
    return await _rebuild(cluster, database, projection, progress, swap=False)


async def rebuild(cluster: Cluster, database: Database, projection: Projection, progress: Progress) -> Report:
    """Rebuild beside the live tables and put the new ones in their place; reports what that changed.

    Readers wait only for the swap itself, writers for the last events before it. Raises OperationError.
    """
    return await _rebuild(cluster, database, projection, progress, swap=True)


async def _rebuild(
    cluster: Cluster, database: Database, projection: Projection, progress: Progress, swap: bool
) -> Report:
    beside = Database(database.url, database.service, pool_size=1, schema=_SCHEMA)
    try:
        async with (
            _alone(database),
            _schema(database, beside, projection),
            TopicReader.open(cluster, projection.consumer.topics) as reader,
        ):
            _check_complete(reader)
            fold = _Fold(beside, projection.consumer, progress)
            await fold.catch_up(reader)
            async with database.engine.connect() as connection, connection.begin():
                await _lock(connection, projection.tables, "SHARE ROW EXCLUSIVE")
                await fold.catch_up(reader)
                report = await _compare(connection, projection.tables, fold.events)
                if swap:
                    await _swap(connection, projection.tables)
    finally:
        await beside.dispose()
    return report


def _check_complete(reader: TopicReader) -> None:
    for partition, beginning in sorted(reader.beginnings.items()):
        if beginning > 0:
            raise OperationError(
                f"{partition.topic}[{partition.partition}] begins at offset {beginning}: its first events are gone, "
                "a rebuild would forget what they told"
            )


class _Fold:
    """Folds, in the order of each partition, the events the live tables have had."""

    def __init__(self, beside: Database, consumer: Consumer, progress: Progress) -> None:
        self.events = 0
        self._beside = beside
        self._consumer = consumer
        self._progress = progress
        self._types = {model.TYPE: model for model in consumer.handlers}
        # Read, but not known to the live tables when looked at: asked again next time.
        self._open: list[Delivery] = []

    async def catch_up(self, reader: TopicReader) -> None:
        """Fold what the live tables have had by now and the rebuilt ones have not."""
        waiting, self._open = self._open, []
        await self._fold(waiting)
        async for records in reader.to_end():
            for start in range(0, len(records), _CHUNK):
                await self._fold(self._readable(records[start : start + _CHUNK]))

    def _readable(self, records: Sequence[ConsumerRecord]) -> list[Delivery]:
        found = []
        for record in records:
            try:
                headers = header_text(record.headers)
                if model := self._types.get(headers.get("ce_type", "")):
                    found.append(decode(model, headers, record.value))
            except MalformedEvent:
                # The live tables never had it either: it became a dead letter.
                continue
        return found

    async def _fold(self, deliveries: list[Delivery]) -> None:
        if not deliveries:
            return
        async with self._beside.transaction(Cause()) as tx:
            # Rebuilt tables lost in a crash are thrown away anyhow.
            await tx.execute(text("SET LOCAL synchronous_commit = off"))
            had = await self._had(tx, [delivery.meta.event_id for delivery in deliveries])
            known = [delivery for delivery in deliveries if delivery.meta.event_id in had]
            self._open += [delivery for delivery in deliveries if delivery.meta.event_id not in had]
            try:
                self.events += await inbox.apply(tx, self._consumer, known)
            except PermanentError as error:
                raise OperationError(f"an event the live tables have had cannot be applied now: {error}") from error
        self._progress(self.events)

    async def _had(self, tx: Tx, ids: Sequence[UUID]) -> set[UUID]:
        query = select(_LIVE_INBOX.c.event_id).where(
            _LIVE_INBOX.c.consumer == self._consumer.group,
            _LIVE_INBOX.c.event_id == any_(literal(list(ids), ARRAY(Uuid))),
            _LIVE_INBOX.c.skipped.is_(False),
        )
        return set((await tx.execute(query)).scalars())


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[None]:
    async with database.engine.connect() as connection:
        if not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            raise OperationError("another rebuild of this database is running: wait for it")
        await connection.commit()
        try:
            yield
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


@asynccontextmanager
async def _schema(database: Database, beside: Database, projection: Projection) -> AsyncIterator[None]:
    """Empty tables to rebuild in, and a place for the replaced ones; both are removed in the end."""
    schemas = f"{_SCHEMA}, {_REPLACED}"
    drop = text(f"DROP SCHEMA IF EXISTS {schemas} CASCADE")
    async with database.engine.begin() as connection:
        await connection.execute(drop)
        for schema in (_SCHEMA, _REPLACED):
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
    async with beside.engine.begin() as connection:
        for table in (inbox_table, *projection.tables):
            await connection.run_sync(table.create)
    try:
        yield
    finally:
        await beside.dispose()
        async with database.engine.begin() as connection:
            await connection.execute(drop)


async def _lock(connection: AsyncConnection, tables: Sequence[Table], mode: str) -> None:
    """Lock the live tables; gives up what it has and tries again rather than being part of a deadlock."""
    names = ", ".join(f"{_LIVE}.{table.name}" for table in tables)
    for _ in range(_LOCK_ATTEMPTS):
        try:
            async with connection.begin_nested():
                await connection.execute(text("SET LOCAL lock_timeout = 300"))
                await connection.execute(text(f"LOCK TABLE {names} IN {mode} MODE"))
        except DBAPIError as error:
            if not is_unavailable(error):
                raise
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
    raise OperationError(f"the tables are never free long enough: {names}; try again when less is going on")


async def _compare(connection: AsyncConnection, tables: Sequence[Table], events: int) -> Report:
    rows: dict[str, int] = {}
    differences: list[dict[str, Any]] = []
    for table in tables:
        rows[table.name] = await connection.scalar(text(f"SELECT count(*) FROM {_SCHEMA}.{table.name}")) or 0  # noqa: S608
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        found = await connection.execute(
            text(
                f"SELECT to_jsonb(live) AS live, to_jsonb(rebuilt) AS rebuilt, count(*) OVER () AS in_all "  # noqa: S608
                f"FROM (SELECT {columns} FROM {_LIVE}.{table.name}) AS live "
                f"FULL JOIN (SELECT {columns} FROM {_SCHEMA}.{table.name}) AS rebuilt USING ({key}) "
                f"WHERE live IS DISTINCT FROM rebuilt ORDER BY {key} LIMIT {_SHOWN}"
            )
        )
        differences += [{"table": table.name, **row} for row in found.mappings()]
    return Report(events, rows, differences)


async def _swap(connection: AsyncConnection, tables: Sequence[Table]) -> None:
    await _lock(connection, tables, "ACCESS EXCLUSIVE")
    for table in tables:
        await connection.execute(text(f"ALTER TABLE {_LIVE}.{table.name} SET SCHEMA {_REPLACED}"))
        await connection.execute(text(f"ALTER TABLE {_SCHEMA}.{table.name} SET SCHEMA {_LIVE}"))

"""Parked keys: after a dead letter, later events of that aggregate wait until an operator releases or skips."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, RowMapping, Select, Table, Text, any_, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from chassis.clock import now
from chassis.db import Database, Tx, current_cause
from chassis.events import MalformedEvent
from chassis.messaging import inbox
from chassis.messaging.handlers import Consumer
from chassis.messaging.records import Received, decode, identity
from chassis.supervision import is_transient
from chassis.tables import parked_event, parked_key


class NotParked(LookupError):
    """The key is not parked (any more)."""


class StillFails(Exception):
    """A parked event cannot be applied yet; the message names it and says why."""


@dataclass(frozen=True)
class ParkedKey:
    """An aggregate whose events wait, why, since when, how many there are, and the first: the dead-lettered one."""

    group: str
    topic: str
    key: str
    reason: str
    since: datetime
    waiting: int
    first_event: str | None
    first_type: str | None


async def parked_among(tx: Tx, group: str, topic: str, keys: Collection[str]) -> set[str]:
    """Which of the keys are parked; holds a release of them off until this transaction ends."""
    parked = select(parked_key.c.key).where(
        parked_key.c.consumer == group,
        parked_key.c.topic == topic,
        parked_key.c.key == any_(literal(list(keys), ARRAY(Text))),
    )
    return set((await tx.execute(parked.with_for_update(read=True))).scalars())


async def park(tx: Tx, group: str, topic: str, key: str, reason: str) -> None:
    """From now on the key's events wait."""
    row = {"consumer": group, "topic": topic, "key": key, "reason": reason}
    await tx.execute(insert(parked_key).values(row).on_conflict_do_nothing())


async def keep(tx: Tx, group: str, waiting: Sequence[Received]) -> None:
    """Store events of parked keys, in order; an event stored before is left as it is."""
    rows = [
        {
            "consumer": group,
            "topic": one.record.topic,
            "key": one.key,
            "event_id": one.event_id,
            "partition": one.record.partition,
            "offset": one.record.offset,
            "headers": one.headers,
            "payload": one.record.value,
        }
        for one in waiting
    ]
    if rows:
        await tx.execute(insert(parked_event).on_conflict_do_nothing(), rows)


async def parked(database: Database, group: str) -> list[ParkedKey]:
    """The parked keys of a consumer, longest parked first."""
    of_key = (parked_event.c.consumer, parked_event.c.topic, parked_event.c.key)
    queue = select(*of_key, func.count().label("waiting"), func.min(parked_event.c.id).label("first"))
    queue_of = queue.group_by(*of_key).subquery()
    query = (
        select(parked_key, queue_of.c.waiting, parked_event.c.event_id, parked_event.c.headers)
        .outerjoin(
            queue_of,
            (queue_of.c.consumer == parked_key.c.consumer)
            & (queue_of.c.topic == parked_key.c.topic)
            & (queue_of.c.key == parked_key.c.key),
        )
        .outerjoin(parked_event, parked_event.c.id == queue_of.c.first)
        .where(parked_key.c.consumer == group)
        .order_by(parked_key.c.created_at)
    )
    async with database.read() as reader:
        rows = await reader.all(query)
    return [
        ParkedKey(
            group=row["consumer"],
            topic=row["topic"],
            key=row["key"],
            reason=row["reason"],
            since=row["created_at"],
            waiting=row["waiting"] or 0,
            first_event=row["event_id"],
            first_type=(row["headers"] or {}).get("ce_type"),
        )
        for row in rows
    ]


async def release(database: Database, consumer: Consumer, topic: str, key: str) -> int:
    """Apply a parked key's events in order, the dead-lettered one first, one transaction each, then unpark it.

    Returns how many were applied. When one fails again StillFails is raised: those before it are applied, it and the
    later ones stay parked. Raises NotParked.
    """
    applied = 0
    while (was_new := await database.write(lambda tx: _release_first(tx, consumer, topic, key))) is not None:
        applied += was_new
    return applied


async def rehearse(database: Database, consumer: Consumer, topic: str, key: str) -> int:
    """What `release` would do, tried in one transaction that is rolled back; returns how many would be applied.

    Raises StillFails, NotParked.
    """
    applied = 0
    async with database.engine.connect() as connection:
        tx = Tx(connection, database.service, current_cause(), now())
        async with connection.begin() as transaction:
            while (was_new := await _release_first(tx, consumer, topic, key)) is not None:
                applied += was_new
            await tx.finish()
            # What is checked at commit is checked now, as there will be none.
            await tx.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            await transaction.rollback()
    return applied


async def _release_first(tx: Tx, consumer: Consumer, topic: str, key: str) -> bool | None:
    """Apply the first event that waits; whether it was new, None when none waited and the key was unparked."""
    await _lock(tx, consumer.group, topic, key)
    first = await tx.first(_waiting(consumer.group, topic, key))
    if first is None:
        await tx.execute(delete(parked_key).where(*_same(parked_key, consumer.group, topic, key)))
        return None
    await tx.execute(delete(parked_event).where(parked_event.c.id == first["id"]))
    try:
        return await _apply(tx, consumer, first)
    except Exception as error:
        if is_transient(error):
            raise
        raise StillFails(f"event {first['event_id'] or 'without id'}: {type(error).__name__}: {error}") from error


async def _apply(tx: Tx, consumer: Consumer, row: RowMapping) -> bool:
    headers = row["headers"]
    if "ce_type" not in headers:
        raise MalformedEvent("attribute ce_type is missing")
    model = next((model for model in consumer.handlers if headers["ce_type"] == model.TYPE), None)
    if model is None:
        # Nobody handles the type any more; were it read again, it would be passed over.
        return False
    return await inbox.apply(tx, consumer, [decode(model, headers, row["payload"])]) > 0


async def skip(database: Database, group: str, topic: str, key: str) -> str:
    """Give up a parked key's first event (the dead-lettered one): it is never applied, also when replayed.

    The later events stay parked until they are released. Returns its event id (`records.identity`). Raises NotParked.
    """

    async def drop_first(tx: Tx) -> str:
        await _lock(tx, group, topic, key)
        first = await tx.first(_waiting(group, topic, key))
        if first is None:
            raise NotParked(f"{group}: no event of {topic} {key} waits")
        await tx.execute(delete(parked_event).where(parked_event.c.id == first["id"]))
        skipped = identity(first["event_id"], topic, first["partition"], first["offset"])
        await inbox.remember(tx, group, [skipped], skipped=True)
        return str(skipped)

    return await database.write(drop_first)


async def _lock(tx: Tx, group: str, topic: str, key: str) -> None:
    """Hold the consumer off this key until the transaction ends."""
    row = select(parked_key.c.key).where(*_same(parked_key, group, topic, key)).with_for_update()
    if await tx.scalar(row) is None:
        raise NotParked(f"{group}: {topic} {key} is not parked")


def _waiting(group: str, topic: str, key: str) -> Select[Any]:
    return select(parked_event).where(*_same(parked_event, group, topic, key)).order_by(parked_event.c.id).limit(1)


def _same(table: Table, group: str, topic: str, key: str) -> list[ColumnElement[bool]]:
    return [table.c.consumer == group, table.c.topic == topic, table.c.key == key]

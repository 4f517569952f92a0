"""Parked keys: after a dead letter, later events of that aggregate wait until an operator releases or skips."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Table, Text, any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from chassis.db import Database, Tx
from chassis.messaging import inbox
from chassis.messaging.handlers import Consumer
from chassis.messaging.records import Received, decode
from chassis.tables import parked_event, parked_key


class NotParked(LookupError):
    """The key is not parked (any more)."""


@dataclass(frozen=True)
class ParkedKey:
    """An aggregate whose events wait, why, since when, and how many there are (the dead-lettered one included)."""

    topic: str
    key: str
    reason: str
    since: datetime
    waiting: int


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
    waiting = func.count(parked_event.c.id)
    query = (
        select(parked_key, waiting.label("waiting"))
        .outerjoin(
            parked_event,
            (parked_event.c.consumer == parked_key.c.consumer)
            & (parked_event.c.topic == parked_key.c.topic)
            & (parked_event.c.key == parked_key.c.key),
        )
        .where(parked_key.c.consumer == group)
        .group_by(parked_key.c.consumer, parked_key.c.topic, parked_key.c.key)
        .order_by(parked_key.c.created_at)
    )
    async with database.read() as reader:
        rows = await reader.all(query)
    return [ParkedKey(r["topic"], r["key"], r["reason"], r["created_at"], r["waiting"]) for r in rows]


async def release(database: Database, consumer: Consumer, topic: str, key: str) -> int:
    """Apply a parked key's events in order, the dead-lettered one first, one transaction each, then unpark it.

    Returns how many were applied. When one fails again its error is raised: those before it are applied, it and the
    later ones stay parked. Raises NotParked.
    """
    types = {model.TYPE: model for model in consumer.handlers}

    async def release_first(tx: Tx) -> bool | None:
        await _lock(tx, consumer.group, topic, key)
        first = await tx.first(_waiting(consumer.group, topic, key))
        if first is None:
            await tx.execute(delete(parked_key).where(*_same(parked_key, consumer.group, topic, key)))
            return None
        await tx.execute(delete(parked_event).where(parked_event.c.id == first["id"]))
        model = types.get(first["headers"].get("ce_type", ""))
        if model is None:
            return False
        return await inbox.apply(tx, consumer, [decode(model, first["headers"], first["payload"])]) > 0

    applied = 0
    while (was_new := await database.write(release_first)) is not None:
        applied += was_new
    return applied


async def skip(database: Database, group: str, topic: str, key: str) -> str:
    """Give up a parked key's first event (the dead-lettered one): it is never applied, also when replayed.

    The later events stay parked until they are released. Returns its event id. Raises NotParked.
    """

    async def drop_first(tx: Tx) -> str:
        await _lock(tx, group, topic, key)
        first = await tx.first(_waiting(group, topic, key))
        if first is None:
            raise NotParked(f"{group}: no event of {topic} {key} waits")
        await tx.execute(delete(parked_event).where(parked_event.c.id == first["id"]))
        if _is_uuid(first["event_id"]):
            await inbox.remember(tx, group, [UUID(first["event_id"])])
        return str(first["event_id"])

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


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

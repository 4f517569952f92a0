"""The transaction of an idempotent consumer: inbox rows, handlers, outbox rows, one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from chassis import events
from chassis.db import Cause, Database, Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Consumer
from chassis.tables import inbox


@dataclass(frozen=True)
class Delivery:
    """One decoded event of a consumer's topics."""

    meta: EventMeta
    event: DomainEvent


async def handle(database: Database, consumer: Consumer, deliveries: Sequence[Delivery]) -> int:
    """Apply the deliveries not applied before, in order, in one transaction; returns how many were new."""
    return await database.write(lambda tx: apply(tx, consumer, deliveries))


async def apply(tx: Tx, consumer: Consumer, deliveries: Sequence[Delivery]) -> int:
    """Apply, within a transaction, the deliveries not applied before, in order; returns how many were new."""
    new = await remember(tx, consumer.group, [delivery.meta.event_id for delivery in deliveries])
    applied = 0
    for delivery in deliveries:
        if delivery.meta.event_id in new:
            new.discard(delivery.meta.event_id)
            await _run_handler(tx, consumer, delivery)
            applied += 1
    return applied


async def remember(tx: Tx, group: str, event_ids: Sequence[UUID], *, skipped: bool = False) -> set[UUID]:
    """Record events as applied (or given up) by a consumer; returns those that were not recorded before.

    A zombie holding the same event blocks here until its transaction ends, so the effect happens once.
    """
    if not event_ids:
        return set()
    rows = select(literal(group), func.unnest(literal(list(event_ids), ARRAY(Uuid))), literal(skipped))
    statement = insert(inbox).from_select(["consumer", "event_id", "skipped"], rows).on_conflict_do_nothing()
    return set((await tx.execute(statement.returning(inbox.c.event_id))).scalars())


async def _run_handler(tx: Tx, consumer: Consumer, delivery: Delivery) -> None:
    meta = delivery.meta
    events.correlation_id.set(meta.correlation_id)
    tx.cause = Cause(meta.correlation_id, str(meta.event_id), meta.traceparent)
    await consumer.handlers[type(delivery.event)](tx, delivery.event, meta)

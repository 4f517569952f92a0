"""The transaction of an idempotent consumer: inbox rows, handlers, outbox rows, one commit."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    async def work(tx: Tx) -> int:
        # A zombie holding the same event blocks here until its transaction ends, so the effect happens once.
        accepted = await tx.execute(
            insert(inbox)
            .values([{"consumer": consumer.group, "event_id": d.meta.event_id} for d in deliveries])
            .on_conflict_do_nothing()
            .returning(inbox.c.event_id)
        )
        new = set(accepted.scalars())
        applied = 0
        for delivery in deliveries:
            if delivery.meta.event_id not in new:
                continue
            new.discard(delivery.meta.event_id)
            await _apply(tx, consumer, delivery)
            applied += 1
        return applied

    return await database.write(work)


async def _apply(tx: Tx, consumer: Consumer, delivery: Delivery) -> None:
    meta = delivery.meta
    events.correlation_id.set(meta.correlation_id)
    tx.cause = Cause(meta.correlation_id, str(meta.event_id), meta.traceparent)
    await consumer.handlers[type(delivery.event)](tx, delivery.event, meta)

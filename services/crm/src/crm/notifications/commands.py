"""Recording what customers are told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from chassis.clock import new_id
from chassis.db import Tx
from contracts.crm import CustomerNotified
from crm import numbers
from crm.notifications.rules import Milestone, shortened
from crm.notifications.tables import NOTIFICATION_NUMBER, notification


@dataclass(frozen=True)
class Notice:
    """One thing to tell one customer about one order, and the event that caused it."""

    order_id: UUID
    order: str
    customer: str
    milestone: Milestone
    text: str
    cause_event_id: UUID


async def notify(tx: Tx, notices: Sequence[Notice]) -> None:
    """Record notices for sending. One already recorded, for its cause or its once-only milestone, is left out."""
    if not notices:
        return
    drawn = await numbers.draw(tx, NOTIFICATION_NUMBER, "NT", len(notices))
    common = {"version": 1, "created_at": tx.now, "updated_at": tx.now}
    rows = {
        new_id(): {**asdict(notice), "text": shortened(notice.text), "number": number, **common}
        for notice, number in zip(notices, drawn, strict=True)
    }
    recorded = await tx.execute(
        insert(notification)
        .values([{"id": identity, **row} for identity, row in rows.items()])
        .on_conflict_do_nothing()
        .returning(notification.c.id)
    )
    new = set(recorded.scalars())
    for identity, row in rows.items():
        if identity in new:
            event = CustomerNotified.model_validate(
                {
                    **row,
                    "aggregate_version": 1,
                    "notification_id": identity,
                    "cause_event_id": str(row["cause_event_id"]),
                }
            )
            tx.append(event, correlation_id=str(event.order_id), causation_id=event.cause_event_id)

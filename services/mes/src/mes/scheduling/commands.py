"""Asking for a new schedule."""

from uuid import UUID

from sqlalchemy import insert

from chassis.db import Tx
from mes.scheduling.tables import schedule_request


async def request(
    tx: Tx,
    code: str,
    text: str,
    *,
    event_id: UUID | str | None = None,
    work_order_id: UUID | None = None,
    work_center: str | None = None,
    urgent: bool = False,
) -> None:
    """Have the schedule computed again after this transaction, and why.

    ``code`` and ``text`` become the reason of the work orders concerned directly: one, or all with open work at a
    work center. An urgent request does not wait for others to be answered with it.
    """
    await tx.execute(
        insert(schedule_request).values(
            urgent=urgent,
            code=code,
            text=text,
            event_id=None if event_id is None else str(event_id),
            work_order_id=work_order_id,
            work_center=work_center,
        )
    )

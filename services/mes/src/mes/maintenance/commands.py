"""Maintenance is called when a machine goes down, and done when it is back."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import insert, select, update

from chassis.clock import new_id
from chassis.db import Tx
from contracts.mes import MaintenanceOrderCompleted, MaintenanceOrderOpened
from mes.maintenance.tables import MAINTENANCE_ORDER_NUMBER, maintenance_order

_BACK = frozenset({"running", "idle", "setup"})
_NOTIFIED = "maintenance"


async def follow(tx: Tx, machine: str, state: str, reason: str | None, at: datetime) -> None:
    """Open an order when a locked machine goes down, once per stop; complete it when the machine can work again.

    A repair may pass through maintenance or off: the stop ends when the machine is back.
    """
    if state == "down":
        await _open(tx, machine, reason, at)
    elif state in _BACK:
        await _complete(tx, machine, at)


async def _open(tx: Tx, machine: str, reason: str | None, at: datetime) -> None:
    is_open = (maintenance_order.c.machine == machine) & (maintenance_order.c.state == "open")
    if await tx.scalar(select(maintenance_order.c.id).where(is_open)):
        return
    order_id, number = new_id(), await tx.number(MAINTENANCE_ORDER_NUMBER, "MO")
    await tx.execute(
        insert(maintenance_order).values(
            id=order_id,
            version=1,
            number=number,
            machine=machine,
            state="open",
            reason=reason,
            notified=_NOTIFIED,
            opened_at=at,
        )
    )
    tx.append(
        MaintenanceOrderOpened(
            aggregate_version=1,
            maintenance_order_id=order_id,
            maintenance_order=number,
            machine=machine,
            reason=reason,
            notified=_NOTIFIED,
        )
    )


async def _complete(tx: Tx, machine: str, at: datetime) -> None:
    row = await tx.first(
        select(maintenance_order)
        .where(maintenance_order.c.machine == machine, maintenance_order.c.state == "open")
        .with_for_update()
    )
    if row is None:
        return
    seconds = (at - row["opened_at"]).total_seconds()
    downtime = round(Decimal(seconds) / 60, 6)
    await tx.execute(
        update(maintenance_order)
        .where(maintenance_order.c.id == row["id"])
        .values(
            state="completed",
            completed_at=at,
            downtime_minutes=downtime,
            version=row["version"] + 1,
            updated_at=tx.now,
        )
    )
    tx.append(
        MaintenanceOrderCompleted(
            aggregate_version=row["version"] + 1,
            maintenance_order_id=row["id"],
            maintenance_order=row["number"],
            machine=machine,
            downtime_minutes=downtime,
        )
    )

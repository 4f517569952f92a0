"""What the shop floor reports of plans."""

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.mes import (
    BatchCompleted,
    MaterialConsumed,
    OperationStarted,
    WorkOrderCancelled,
    WorkOrderChanged,
    WorkOrderCompleted,
    WorkOrderScheduled,
)
from erp.fulfilment.commands import follow_up, promise_anew
from erp.planning import production
from erp.planning.commands import lock


async def on_batch_completed(tx: Tx, event: BatchCompleted, meta: EventMeta) -> None:
    """Output comes into stock and goes to those who wait for it."""
    await lock(tx)
    await follow_up(tx, await production.batch_completed(tx, event, meta.event_id))


async def on_material_consumed(tx: Tx, event: MaterialConsumed, meta: EventMeta) -> None:
    """Components leave stock."""
    await lock(tx)
    await follow_up(tx, await production.material_consumed(tx, event, meta.event_id))


async def on_work_order_completed(tx: Tx, event: WorkOrderCompleted, meta: EventMeta) -> None:
    """Nothing more will come; what is missing is made or bought anew."""
    await lock(tx)
    await follow_up(tx, await production.work_order_completed(tx, event, meta.event_id))


async def on_work_order_changed(tx: Tx, event: WorkOrderChanged, meta: EventMeta) -> None:
    """The plan is what the shop floor will really make."""
    await lock(tx)
    await follow_up(tx, await production.work_order_changed(tx, event))


async def on_work_order_cancelled(tx: Tx, event: WorkOrderCancelled, meta: EventMeta) -> None:
    """The plan's material is free again."""
    await lock(tx)
    await follow_up(tx, await production.work_order_cancelled(tx, event, meta.event_id))


async def on_work_order_scheduled(tx: Tx, event: WorkOrderScheduled, meta: EventMeta) -> None:
    """Orders that wait for the plan are promised anew when it moved."""
    await lock(tx)
    # A new schedule moves many work orders of the same customer orders.
    tx.at_end(promise_anew, await production.work_order_scheduled(tx, event, meta.event_id))


async def on_operation_started(tx: Tx, event: OperationStarted, meta: EventMeta) -> None:
    """The plan is in progress."""
    await lock(tx)
    await production.operation_started(tx, event)


HANDLERS: dict[type[DomainEvent], Handler] = {
    BatchCompleted: on_batch_completed,
    MaterialConsumed: on_material_consumed,
    WorkOrderCompleted: on_work_order_completed,
    WorkOrderChanged: on_work_order_changed,
    WorkOrderCancelled: on_work_order_cancelled,
    WorkOrderScheduled: on_work_order_scheduled,
    OperationStarted: on_operation_started,
}

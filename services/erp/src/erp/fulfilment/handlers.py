"""What CRM decides about orders."""

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.crm import OrderAmended, OrderCancelled, OrderPlaced
from erp.fulfilment import commands
from erp.planning.commands import lock


async def on_order_placed(tx: Tx, event: OrderPlaced, meta: EventMeta) -> None:
    """The order is covered and promised."""
    await lock(tx)
    await commands.order_placed(tx, event)


async def on_order_amended(tx: Tx, event: OrderAmended, meta: EventMeta) -> None:
    """The order is covered anew."""
    await lock(tx)
    await commands.order_amended(tx, event, meta.event_id)


async def on_order_cancelled(tx: Tx, event: OrderCancelled, meta: EventMeta) -> None:
    """What the order had is free again."""
    await lock(tx)
    await commands.order_cancelled(tx, event, meta.event_id)


HANDLERS: dict[type[DomainEvent], Handler] = {
    OrderPlaced: on_order_placed,
    OrderAmended: on_order_amended,
    OrderCancelled: on_order_cancelled,
}

"""What orders learn from ERP and MES."""

from collections.abc import Mapping
from typing import Any

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.erp import (
    FulfilmentChanged,
    ItemDefined,
    OrderPromised,
    PromiseRevised,
    ShipmentDelivered,
    ShipmentEvent,
    ShipmentShipped,
)
from contracts.mes import OperationStarted
from crm.notifications import rules as sentences
from crm.notifications.commands import Notice, notify
from crm.notifications.rules import Milestone
from crm.orders import commands
from crm.orders.rules import REACHED_BY_FULFILMENT, State


async def on_item_defined(tx: Tx, event: ItemDefined, _meta: EventMeta) -> None:
    """The catalogue follows ERP's items."""
    await commands.define_item(tx, event)


async def on_promised(tx: Tx, event: OrderPromised, meta: EventMeta) -> None:
    """The first promise."""

    def notice(order: Mapping[str, Any]) -> tuple[Milestone, str]:
        text = sentences.promised(event.order, event.promised_date, order["requested_date"])
        return Milestone.PROMISED, text

    await commands.follow(
        tx, event.order_id, State.PROMISED, meta.event_id, notice=notice, promised_date=event.promised_date
    )


async def on_promise_revised(tx: Tx, event: PromiseRevised, meta: EventMeta) -> None:
    """The promise moved: the customer is told why, unless only the hour moved in the ordinary course of work."""
    text = sentences.promise_revised(
        event.order,
        old_promise=event.old_promised_date,
        new_promise=event.promised_date,
        old_eta=event.old_eta,
        new_eta=event.eta,
        reason=event.reason.text,
    )
    days_moved = (event.old_promised_date, event.old_eta.date()) != (event.promised_date, event.eta.date())
    worth_telling = days_moved or event.reason.code not in sentences.ORDINARY_REASONS
    notice = (Milestone.PROMISE_REVISED, text)
    await commands.follow(
        tx,
        event.order_id,
        State.PROMISED,
        meta.event_id,
        notice=(lambda _order: notice) if worth_telling else None,
        promised_date=event.promised_date,
    )


async def on_fulfilment_changed(tx: Tx, event: FulfilmentChanged, meta: EventMeta) -> None:
    """Allocated, shipped, delivered, closed: the state follows; all allocated is told as completed.

    What shipped stays as it shipped, whatever was amended meanwhile.
    """
    reached = REACHED_BY_FULFILMENT[event.state]
    completed = (Milestone.COMPLETED, sentences.completed(event.order))
    notice = (lambda _order: completed) if reached is State.COMPLETED else None
    await commands.follow(tx, event.order_id, reached, meta.event_id, notice=notice)
    if reached is State.SHIPPED:
        quantities = {line.line: line.quantity for line in event.lines}
        await commands.take_back_late_amendments(tx, event.order_id, event.order_version, quantities, meta.event_id)


async def on_operation_started(tx: Tx, event: OperationStarted, meta: EventMeta) -> None:
    """Work began on something these orders wait for."""
    for order_id in sorted({peg.order_id for peg in event.pegs}):
        await commands.follow(
            tx,
            order_id,
            State.IN_PRODUCTION,
            meta.event_id,
            notice=lambda order: (Milestone.STARTED, sentences.started(order["number"], event.item)),
        )


async def on_shipped(tx: Tx, event: ShipmentShipped, meta: EventMeta) -> None:
    """Each shipment is told; the state follows from the fulfilment."""
    text = sentences.shipped(event.order, event.shipment, event.shipped_at)
    await notify(tx, [_notice(event, meta, Milestone.SHIPPED, text)])


async def on_delivered(tx: Tx, event: ShipmentDelivered, meta: EventMeta) -> None:
    """Each delivery is told; the state follows from the fulfilment."""
    text = sentences.delivered(event.order, event.shipment, event.delivered_at)
    await notify(tx, [_notice(event, meta, Milestone.DELIVERED, text)])


def _notice(event: ShipmentEvent, meta: EventMeta, milestone: Milestone, text: str) -> Notice:
    return Notice(event.order_id, event.order, event.customer, milestone, text, meta.event_id)


CATALOGUE_HANDLERS: dict[type[DomainEvent], Handler] = {ItemDefined: on_item_defined}
STATE_HANDLERS: dict[type[DomainEvent], Handler] = {
    OrderPromised: on_promised,
    PromiseRevised: on_promise_revised,
    FulfilmentChanged: on_fulfilment_changed,
    OperationStarted: on_operation_started,
    ShipmentShipped: on_shipped,
    ShipmentDelivered: on_delivered,
}

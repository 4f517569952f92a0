"""Which events are folded into the order-status view, and how."""

from collections.abc import Awaitable, Callable
from typing import Any

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts import crm, erp, mes
from contracts.envelope import Event
from gateway.status import commands
from gateway.status.story import STORY_EVENTS, chapter

Fold = Callable[[Tx, Any], Awaitable[None]]


def _fold_of(event: type[Event]) -> Fold | None:
    folds: dict[type[Event], Fold] = {
        crm.OrderState: commands.fold_order,
        crm.OrderCancelled: commands.fold_cancellation,
        erp.FulfilmentChanged: commands.fold_fulfilment,
        mes.WorkOrderEvent: commands.fold_work_order,
        mes.LotEvent: commands.fold_lot,
    }
    return next((fold for base, fold in folds.items() if issubclass(event, base)), None)


def _handler(event: type[Event]) -> Handler:
    fold = _fold_of(event)

    async def handle(tx: Tx, happened: Any, meta: EventMeta) -> None:
        await commands.tell(tx, chapter(happened, meta))
        if fold:
            await fold(tx, happened)

    return handle


async def on_promise(tx: Tx, event: erp.OrderPromised | erp.PromiseRevised, meta: EventMeta) -> None:
    """A promise is made or moved."""
    await commands.tell(tx, chapter(event, meta))
    await commands.fold_promise(tx, event, str(meta.event_id))


HANDLERS: dict[type[DomainEvent], Handler] = {
    **{event: _handler(event) for event in STORY_EVENTS},
    erp.OrderPromised: on_promise,
    erp.PromiseRevised: on_promise,
}

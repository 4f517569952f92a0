"""What MES decides about lots changes what stock may be used."""

from collections.abc import Awaitable, Callable
from typing import Any

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.mes import LotEvent, LotHeld, LotReleased, LotScrapped
from erp.fulfilment.commands import settle
from erp.inventory import commands
from erp.planning.commands import lock


def _changing(change: Callable[[Tx, str, str], Awaitable[Any]]) -> Handler:
    """A handler that changes the lot of its event, then fits demands to what is left available."""

    async def handler(tx: Tx, event: LotEvent, meta: EventMeta) -> None:
        await lock(tx)
        await commands.lock_balances(tx, [event.item])
        await change(tx, event.item, event.lot)
        cause = event.reason.event_id or str(meta.event_id)
        await settle(tx, [event.item], event.reason.model_copy(update={"event_id": cause}))

    return handler


HANDLERS: dict[type[DomainEvent], Handler] = {
    LotHeld: _changing(commands.hold),
    LotReleased: _changing(commands.release),
    LotScrapped: _changing(commands.scrap),
}

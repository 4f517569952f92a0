"""What MES decides about lots changes what stock may be used."""

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.mes import LotHeld, LotReleased, LotScrapped
from erp.inventory import commands


async def on_lot_held(tx: Tx, event: LotHeld, meta: EventMeta) -> None:
    """Its stock must not be used: it stops being available."""
    await commands.lock_balances(tx, [event.item])
    await commands.hold(tx, event.item, event.lot)


async def on_lot_released(tx: Tx, event: LotReleased, meta: EventMeta) -> None:
    """Its stock is available again."""
    await commands.lock_balances(tx, [event.item])
    await commands.release(tx, event.item, event.lot)


async def on_lot_scrapped(tx: Tx, event: LotScrapped, meta: EventMeta) -> None:
    """Its stock is written off."""
    await commands.lock_balances(tx, [event.item])
    await commands.scrap(tx, event.item, event.lot)


HANDLERS: dict[type[DomainEvent], Handler] = {
    LotHeld: on_lot_held,
    LotReleased: on_lot_released,
    LotScrapped: on_lot_scrapped,
}

"""What traceability learns from ERP: receipts, counts and shipments."""

from collections.abc import Mapping
from types import MappingProxyType

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta
from chassis.messaging.handlers import Handler
from contracts.erp import ShipmentShipped, StockMoved
from mes.traceability import commands


async def on_stock_moved(tx: Tx, event: StockMoved, meta: EventMeta) -> None:
    """Fold a stock ledger row into its lot."""
    await commands.fold_stock_move(tx, event, meta)


async def on_shipment_shipped(tx: Tx, event: ShipmentShipped, _meta: EventMeta) -> None:
    """Remember who received which lots."""
    await commands.record_shipment(tx, event)


HANDLERS: Mapping[type[DomainEvent], Handler] = MappingProxyType(
    {StockMoved: on_stock_moved, ShipmentShipped: on_shipment_shipped}
)

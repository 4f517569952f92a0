"""The one way stock changes: balances, ledger rows and StockMoved together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Numeric, Text, cast, column, func, insert, update

from chassis.clock import new_id
from chassis.db import Tx
from contracts.erp import StockMoved
from erp.inventory.rules import UNKNOWN_ORIGIN, Move, Origin, StockReason
from erp.inventory.tables import balance, stock_ledger


def pairs(quantities: Mapping[str, Decimal], name: str) -> Any:
    """A derived table (key, quantity) that keeps the statement's text the same for any number of rows."""
    keys, values = cast(list(quantities), ARRAY(Text)), cast(list(quantities.values()), ARRAY(Numeric))
    table = func.unnest(keys, values).table_valued(column("key", Text), column("quantity", Numeric), name=name)
    return table.render_derived()


async def book(
    tx: Tx,
    moves: Sequence[Move],
    reason: StockReason,
    *,
    held: Mapping[str, Decimal],
    origin: Origin = UNKNOWN_ORIGIN,
    source_event: UUID | str | None,
    note: str | None,
) -> None:
    """Bring balances up to these moves, write their ledger rows and publish them."""
    total: dict[str, Decimal] = defaultdict(Decimal)
    rows: dict[str, int] = defaultdict(int)
    for move in moves:
        total[move.item] += move.quantity
        rows[move.item] += 1
    change = update(balance).where(balance.c.item == (by := _changes(total, held, rows)).c.item)
    change = change.values(
        on_hand=balance.c.on_hand + by.c.quantity,
        held=balance.c.held + by.c.held,
        version=balance.c.version + by.c.rows,
        updated_at=tx.now,
    ).returning(balance.c.item, balance.c.on_hand, balance.c.version)
    after = {row["item"]: row for row in await tx.all(change)}
    running = {item: row["on_hand"] - total[item] for item, row in after.items()}
    version = {item: row["version"] - rows[item] for item, row in after.items()}
    ledger = []
    for move in moves:
        running[move.item] += move.quantity
        version[move.item] += 1
        event_id = tx.append(
            StockMoved(
                aggregate_version=version[move.item],
                item=move.item,
                lot=move.lot,
                quantity=move.quantity,
                reason=reason,
                balance=running[move.item],
                supplier=origin.supplier,
                supplier_lot=origin.supplier_lot,
                purchase_order=origin.purchase_order,
                shipment=origin.shipment,
            )
        )
        ledger.append(
            {
                "item": move.item,
                "version": version[move.item],
                "id": new_id(),
                "lot": move.lot,
                "quantity": move.quantity,
                "reason": reason,
                "note": note,
                "source_event": str(source_event or tx.cause.causation_id or event_id),
                "at": tx.now,
                "balance": running[move.item],
            }
        )
    await tx.execute(insert(stock_ledger), ledger)


def _changes(total: Mapping[str, Decimal], held: Mapping[str, Decimal], rows: Mapping[str, int]) -> Any:
    columns = (
        cast(list(total), ARRAY(Text)),
        cast(list(total.values()), ARRAY(Numeric)),
        cast([held.get(item, Decimal(0)) for item in total], ARRAY(Numeric)),
        cast([rows[item] for item in total], ARRAY(Integer)),
    )
    names = (column("item", Text), column("quantity", Numeric), column("held", Numeric), column("rows", Integer))
    return func.unnest(*columns).table_valued(*names, name="changes").render_derived()

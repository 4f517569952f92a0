"""Reads of stock."""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from sqlalchemy import RowMapping, or_, select

from chassis.db import Reader
from erp.inventory.rules import Balance
from erp.inventory.tables import balance, stock_lot


async def balances(reader: Reader, items: Iterable[str]) -> dict[str, Balance]:
    """Balances of these items, zero for those never moved; not locked."""
    wanted = set(items)
    found = {
        row["item"]: Balance(row["item"], row["on_hand"], row["reserved"], row["held"], row["version"])
        for row in await reader.all(select(balance).where(balance.c.item.in_(wanted)))
    }
    zero = Decimal(0)
    return {item: found.get(item) or Balance(item, zero, zero, zero, 0) for item in wanted}


async def find_lots(reader: Reader, lots: Collection[str]) -> dict[str, RowMapping]:
    """Rows of known lots (item, quantity, picked, status, supplier, supplier_lot, purchase_order) by lot."""
    rows = await reader.all(select(stock_lot).where(stock_lot.c.lot.in_(lots)))
    return {row["lot"]: row for row in rows}


async def lots_in_stock(reader: Reader, item: str) -> Sequence[RowMapping]:
    """Lots of one item with stock in them, released ones first, oldest first."""
    query = (
        select(stock_lot)
        .where(stock_lot.c.item == item, stock_lot.c.quantity > 0)
        .order_by(stock_lot.c.status == "held", stock_lot.c.received_at, stock_lot.c.id)
    )
    return await reader.all(query)


async def broken_picks(reader: Reader, items: Collection[str]) -> Sequence[RowMapping]:
    """Lots of these items that cannot give what was picked in them: held, scrapped, or with less than that."""
    query = select(stock_lot).where(
        stock_lot.c.item.in_(items),
        stock_lot.c.picked > 0,
        or_(stock_lot.c.status != "released", stock_lot.c.picked > stock_lot.c.quantity),
    )
    return await reader.all(query)

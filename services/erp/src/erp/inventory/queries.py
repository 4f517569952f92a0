"""Reads of stock."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, or_, select, text

from chassis.db import Reader
from chassis.http.paging import ListQuery, page
from erp.inventory.rules import Balance
from erp.inventory.tables import balance, stock_ledger, stock_lot
from erp.items.queries import get_master, list_masters


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


async def picked_lots(reader: Reader) -> dict[str, RowMapping]:
    """Rows of all lots some of which is picked, by lot."""
    rows = await reader.all(select(stock_lot).where(stock_lot.c.picked > 0))
    return {row["lot"]: row for row in rows}


async def broken_picks(reader: Reader, items: Collection[str]) -> Sequence[RowMapping]:
    """Lots of these items that cannot give what was picked in them: held, scrapped, or with less than that."""
    query = select(stock_lot).where(
        stock_lot.c.item.in_(items),
        stock_lot.c.picked > 0,
        or_(stock_lot.c.status != "released", stock_lot.c.picked > stock_lot.c.quantity),
    )
    return await reader.all(query)


async def get_stock(reader: Reader, reference: str) -> dict[str, Any]:
    """The public stock record of an item, by code or id; raises 404 for an unknown item."""
    return (await _records(reader, [await get_master(reader, reference)]))[0]


async def list_stock(reader: Reader, paging: ListQuery) -> tuple[list[dict[str, Any]], str | None]:
    """Public stock records of all items in the order of their codes, and the next cursor."""
    masters, cursor = await list_masters(reader, paging)
    return await _records(reader, masters), cursor


async def list_ledger(
    reader: Reader, item: str, paging: ListQuery, lot: str | None = None
) -> tuple[list[RowMapping], str | None]:
    """Ledger rows of an item, oldest first, and the next cursor."""
    query = select(stock_ledger).where(stock_ledger.c.item == item)
    if lot is not None:
        query = query.where(stock_ledger.c.lot == lot)
    return await page(reader, query, [stock_ledger.c.version], paging)


async def ledger_since(reader: Reader, item: str, version: int) -> Sequence[RowMapping]:
    """Ledger rows of an item after a balance version, oldest first."""
    query = select(stock_ledger).where(stock_ledger.c.item == item, stock_ledger.c.version > version)
    return await reader.all(query.order_by(stock_ledger.c.version))


async def _records(reader: Reader, masters: Sequence[RowMapping]) -> list[dict[str, Any]]:
    codes = [master["item"] for master in masters]
    rows = {row["item"]: row for row in await reader.all(select(balance).where(balance.c.item.in_(codes)))}
    lots: dict[str, list[RowMapping]] = defaultdict(list)
    in_stock = select(stock_lot).where(
        stock_lot.c.item.in_(codes), or_(stock_lot.c.quantity > 0, stock_lot.c.status == "held")
    )
    for row in await reader.all(in_stock.order_by(stock_lot.c.received_at, stock_lot.c.id)):
        lots[row["item"]].append(row)
    return [_record(master, rows.get(master["item"]), lots[master["item"]]) for master in masters]


def _record(master: RowMapping, row: RowMapping | None, lots: list[RowMapping]) -> dict[str, Any]:
    on_hand, reserved, held = (row["on_hand"], row["reserved"], row["held"]) if row else (Decimal(0),) * 3
    return {
        "id": master["id"],
        "number": master["item"],
        "item": master["item"],
        "unit": master["unit"],
        "on_hand": on_hand,
        "reserved": reserved,
        "held": held,
        "available": on_hand - held - reserved,
        "lots": lots,
        "version": row["version"] if row else 0,
        "created_at": master["created_at"],
        "updated_at": row["updated_at"] if row else master["updated_at"],
    }


_BOOKS = text(
    """
    SELECT b.*, coalesce(l.total, 0) AS ledger, coalesce(l.rows, 0) AS rows, coalesce(l.running, 0) AS running,
           coalesce(s.total, 0) AS in_lots, coalesce(s.held, 0) AS held_in_lots
    FROM balance AS b
    LEFT JOIN (
        SELECT item, sum(quantity) AS total, count(*) AS rows, (array_agg(balance ORDER BY version DESC))[1] AS running
        FROM stock_ledger GROUP BY item
    ) AS l ON l.item = b.item
    LEFT JOIN (
        SELECT item, sum(quantity) AS total, sum(quantity) FILTER (WHERE status = 'held') AS held
        FROM stock_lot GROUP BY item
    ) AS s ON s.item = b.item
    ORDER BY b.item
    """
)


async def invariants(reader: Reader) -> list[str]:
    """Sentences about stock that should hold between transactions and do not; empty when all is well.

    On hand = Σ ledger = last running balance = Σ lots, held = Σ held lots, 0 ≤ reserved ≤ on hand − held.
    """
    broken = []
    for row in await reader.all(_BOOKS):
        said = f"{row['item']}: on hand {row['on_hand']}"
        if not row["on_hand"] == row["ledger"] == row["running"] or row["rows"] != row["version"]:
            broken.append(f"{said}, {row['rows']} ledger rows sum to {row['ledger']} and end at {row['running']}")
        if row["on_hand"] != row["in_lots"]:
            broken.append(f"{said}, its lots hold {row['in_lots']}")
        if row["held"] != row["held_in_lots"]:
            broken.append(f"{row['item']}: {row['held']} held, its held lots have {row['held_in_lots']}")
        if not 0 <= row["reserved"] <= row["on_hand"] - row["held"]:
            broken.append(f"{said}, held {row['held']}, but {row['reserved']} reserved")
    return broken

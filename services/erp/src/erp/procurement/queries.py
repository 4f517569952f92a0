"""Reads of purchase orders and supplier checks."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from erp.planning.queries import orders_waiting
from erp.procurement.tables import purchase_order, purchase_order_line, supplier_check


async def get_purchase_order(reader: Reader, reference: str) -> dict[str, Any]:
    """The public record of a purchase order, by id or number; raises 404."""
    row = await reader.first(select(purchase_order).where(matches(purchase_order, reference)))
    if row is None:
        raise not_found("purchase order", reference)
    return (await _records(reader, [row]))[0]


async def list_purchase_orders(
    reader: Reader, paging: ListQuery, *, supplier: str | None, state: str | None, item: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of purchase orders, oldest first, and the next cursor."""
    query: Select[Any] = select(purchase_order)
    if supplier is not None:
        query = query.where(purchase_order.c.supplier == supplier)
    if state is not None:
        query = query.where(purchase_order.c.state == state)
    if item is not None:
        of_item = select(purchase_order_line.c.purchase_order_id).where(purchase_order_line.c.item == item)
        query = query.where(purchase_order.c.id.in_(of_item))
    rows, cursor = await page(reader, query, [purchase_order.c.id], paging)
    return await _records(reader, rows), cursor


async def numbers_of_lines(reader: Reader, line_ids: Collection[UUID]) -> dict[UUID, str]:
    """Number of the purchase order each line belongs to."""
    query = (
        select(purchase_order_line.c.id, purchase_order.c.number)
        .join(purchase_order, purchase_order.c.id == purchase_order_line.c.purchase_order_id)
        .where(purchase_order_line.c.id.in_(line_ids))
    )
    return {row["id"]: row["number"] for row in await reader.all(query)}


async def list_supplier_checks(
    reader: Reader, paging: ListQuery, *, supplier: str | None, item: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of supplier checks, oldest first, and the next cursor."""
    query: Select[Any] = select(supplier_check)
    if supplier is not None:
        query = query.where(supplier_check.c.supplier == supplier)
    if item is not None:
        query = query.where(supplier_check.c.item == item)
    rows, cursor = await page(reader, query, [supplier_check.c.id], paging)
    return [dict(row) for row in rows], cursor


async def _records(reader: Reader, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    ids = [row["id"] for row in rows]
    query = select(purchase_order_line).where(purchase_order_line.c.purchase_order_id.in_(ids))
    lines = await reader.all(query.order_by(purchase_order_line.c.purchase_order_id, purchase_order_line.c.line))
    waiting = await orders_waiting(reader, [line["id"] for line in lines])
    by_order: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        by_order[line["purchase_order_id"]].append({**line, "orders": waiting.get(line["id"], [])})
    return [
        {
            **row,
            "lines": by_order[row["id"]],
            "orders": sorted({order for line in by_order[row["id"]] for order in line["orders"]}),
        }
        for row in rows
    ]

"""Reads of orders and of the catalogue."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, RowMapping, Text, bindparam, select, text

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from contracts.values import minor_units
from crm.orders.rules import Line, State, total
from crm.orders.tables import catalogue_item, customer_order, order_line


async def one(reader: Reader, reference: str, owner: str | None) -> dict[str, Any]:
    """An order by id or number; Problem 404 when unknown or not the `owner`'s the caller is bound to."""
    row = await reader.first(select(customer_order).where(matches(customer_order, reference)))
    if row is None or owner not in (None, row["customer"]):
        raise not_found("order", reference)
    return record(row, (await lines_of(reader, [row["id"]]))[row["id"]])


async def many(
    reader: Reader, paging: ListQuery, owner: str | None, filters: Mapping[str, str | None]
) -> tuple[list[dict[str, Any]], str | None]:
    """Orders, oldest first, whose columns equal the given filters; the `owner`'s alone when the caller is bound."""
    conditions = [customer_order.c[name] == value for name, value in filters.items() if value is not None]
    if owner is not None:
        conditions.append(customer_order.c.customer == owner)
    rows, cursor = await page(reader, select(customer_order).where(*conditions), [customer_order.c.id], paging)
    lines = await lines_of(reader, [row["id"] for row in rows])
    return [record(row, lines[row["id"]]) for row in rows], cursor


async def lines_of(reader: Reader, order_ids: Collection[UUID]) -> dict[UUID, list[Line]]:
    """The lines of orders in line order, withdrawn ones too."""
    lines: dict[UUID, list[Line]] = {order_id: [] for order_id in order_ids}
    query = select(order_line).where(order_line.c.order_id.in_(order_ids)).order_by(order_line.c.line)
    for row in await reader.all(query):
        values = dict(row)
        lines[values.pop("order_id")].append(Line(**values))
    return lines


async def prices(reader: Reader, items: Collection[str]) -> dict[str, Decimal]:
    """Catalogue price by item, in the house currency; unknown items are absent."""
    query = select(catalogue_item.c.item, catalogue_item.c.price).where(catalogue_item.c.item.in_(sorted(set(items))))
    return {row["item"]: row["price"] for row in await reader.all(query)}


def record(row: RowMapping | Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """An order as its readers see it: without withdrawn lines, with its total in the currency's minor unit."""
    return {
        **row,
        "lines": [line for line in lines if not line.withdrawn],
        "total": minor_units(total(lines), row["currency"]),
    }


_ORDERS = text(
    """
    SELECT o.number, o.state, o.version, count(l.line) AS lines
    FROM customer_order AS o LEFT JOIN order_line AS l ON l.order_id = o.id AND NOT l.withdrawn
    GROUP BY o.id
    HAVING count(l.line) = 0 OR o.version < 1 OR o.updated_at < o.created_at OR o.state <> ALL (:states)
    ORDER BY o.number
    """
).bindparams(bindparam("states", [state.value for state in State], type_=ARRAY(Text)))


async def invariants(reader: Reader) -> list[str]:
    """Sentences about orders that should hold between transactions and do not; empty when all is well.

    An order has a known state, a version, and lines that are not withdrawn.
    """
    return [
        f"{row['number']} is {row['state']} at version {row['version']} with {row['lines']} lines"
        for row in await reader.all(_ORDERS)
    ]

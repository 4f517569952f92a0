"""Reads of shipments."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, select

from chassis.db import Reader, matches
from chassis.http.auth import Principal
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from erp.fulfilment.tables import fulfilment, shipment, shipment_line, shipment_lot


async def get_shipment(reader: Reader, reference: str) -> dict[str, Any]:
    """The public record of a shipment, by id or number; raises 404."""
    row = await reader.first(select(shipment).where(matches(shipment, reference)))
    if row is None:
        raise not_found("shipment", reference)
    return (await _records(reader, [row]))[0]


async def list_shipments(
    reader: Reader, paging: ListQuery, *, order: str | None, state: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of shipments, oldest first, and the next cursor; `order` is an order's id or number."""
    query: Select[Any] = select(shipment)
    if order is not None:
        query = query.where(shipment.c.order_id.in_(select(fulfilment.c.id).where(matches(fulfilment, order))))
    if state is not None:
        query = query.where(shipment.c.state == state)
    rows, cursor = await page(reader, query, [shipment.c.id], paging)
    return await _records(reader, rows), cursor


async def shipments_of_order(
    reader: Reader, principal: Principal, order: str, paging: ListQuery
) -> tuple[list[dict[str, Any]], str | None]:
    """Shipments of one order, oldest first, and the next cursor; raises 404 for another customer's order."""
    row = await reader.first(select(fulfilment.c.id, fulfilment.c.customer).where(matches(fulfilment, order)))
    if row is None or not principal.owns(row["customer"]):
        raise not_found("order", order)
    query = select(shipment).where(shipment.c.order_id == row["id"])
    rows, cursor = await page(reader, query, [shipment.c.id], paging)
    return await _records(reader, rows), cursor


async def _records(reader: Reader, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    ids = [row["id"] for row in rows]
    lots: dict[tuple[UUID, int], list[RowMapping]] = defaultdict(list)
    for lot in await reader.all(
        select(shipment_lot).where(shipment_lot.c.shipment_id.in_(ids)).order_by(shipment_lot.c.lot)
    ):
        lots[lot["shipment_id"], lot["line"]].append(lot)
    lines: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for line in await reader.all(
        select(shipment_line).where(shipment_line.c.shipment_id.in_(ids)).order_by(shipment_line.c.line)
    ):
        lines[line["shipment_id"]].append({**line, "lots": lots[line["shipment_id"], line["line"]]})
    return [{**row, "lines": lines[row["id"]]} for row in rows]

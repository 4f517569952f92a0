"""Reads of shipments."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, and_, select

from chassis.db import Reader, matches
from chassis.http.auth import Principal
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from erp.fulfilment.rules import State
from erp.fulfilment.tables import fulfilment, fulfilment_line, shipment, shipment_line, shipment_lot
from erp.inventory.queries import picked_lots


async def get_shipment(reader: Reader, reference: str, owner: str | None = None) -> dict[str, Any]:
    """The public record of a shipment, by id or number; raises 404, also when it is not the `owner`'s."""
    row = await reader.first(select(shipment).where(matches(shipment, reference)))
    if row is None or owner not in (None, row["customer"]):
        raise not_found("shipment", reference)
    return (await _records(reader, [row]))[0]


async def list_shipments(
    reader: Reader, paging: ListQuery, owner: str | None, *, order: str | None, state: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of shipments, of the `owner` if given, oldest first, and the next cursor.

    `order` is an order's id or number.
    """
    query: Select[Any] = select(shipment)
    if owner is not None:
        query = query.where(shipment.c.customer == owner)
    if order is not None:
        query = query.where(shipment.c.order_id.in_(select(fulfilment.c.id).where(matches(fulfilment, order))))
    if state is not None:
        query = query.where(shipment.c.state == state)
    rows, cursor = await page(reader, query, [shipment.c.id], paging)
    return await _records(reader, rows), cursor


async def visible_order(reader: Reader, principal: Principal, order: str) -> UUID:
    """The id of an order the caller may see, by id or number; raises 404 for another customer's."""
    row = await reader.first(select(fulfilment.c.id, fulfilment.c.customer).where(matches(fulfilment, order)))
    if row is None or not principal.owns(row["customer"]):
        raise not_found("order", order)
    return UUID(str(row["id"]))


async def shipments_of_order(
    reader: Reader, principal: Principal, order: str, paging: ListQuery
) -> tuple[list[dict[str, Any]], str | None]:
    """Shipments of one order, oldest first, and the next cursor; raises 404 for another customer's order."""
    query = select(shipment).where(shipment.c.order_id == await visible_order(reader, principal, order))
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


async def invariants(reader: Reader) -> list[str]:
    """Sentences about shipments that should hold between transactions and do not; empty when all is well."""
    query = (
        select(shipment.c.number, fulfilment.c.state, shipment_lot)
        .join(fulfilment, fulfilment.c.id == shipment.c.order_id)
        .join(shipment_lot, shipment_lot.c.shipment_id == shipment.c.id)
        .where(shipment.c.state == "planned")
    )
    picks = await reader.all(query)
    picked: dict[str, Decimal] = defaultdict(Decimal)
    of_line: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
    for row in picks:
        picked[row["lot"]] += row["quantity"]
        of_line[row["number"], row["line"]] += row["quantity"]
    lots = await picked_lots(reader)
    broken = [
        f"lot {lot}: {lots.get(lot)} set aside, {picked.get(lot)} in planned shipments"
        for lot in sorted(lots.keys() | picked.keys())
        if (lots[lot]["picked"] if lot in lots else 0) != picked.get(lot, 0)
    ]
    blocked = {row["number"] for row in picks if lots[row["lot"]]["status"] == "held"}
    for row in picks:
        lot = lots[row["lot"]]
        if lot["status"] == "scrapped" or lot["picked"] > lot["quantity"]:
            broken.append(f"{row['number']} counts on lot {row['lot']}: {dict(lot)}")
        if (row["state"] == State.ALLOCATED) == (row["number"] in blocked):
            broken.append(f"{row['number']} of an order {row['state']}, held lots: {row['number'] in blocked}")
    complete = (
        select(fulfilment.c.number, shipment.c.number.label("shipment"), fulfilment_line)
        .join(fulfilment_line, fulfilment_line.c.order_id == fulfilment.c.id)
        .outerjoin(shipment, and_(shipment.c.order_id == fulfilment.c.id, shipment.c.state == "planned"))
        .where(fulfilment.c.state == State.ALLOCATED)
    )
    broken += [
        f"{row['number']} is allocated but not picked: {dict(row)}"
        for row in await reader.all(complete)
        if of_line.get((row["shipment"], row["line"]), 0) != row["quantity"]
    ]
    return broken

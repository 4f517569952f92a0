"""Reads of items with their bills of materials, and of suppliers."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from erp.items.rules import Component, ItemSnapshot, RoutingStep
from erp.items.tables import bom_line, item, routing_step, supplier


async def get_item(reader: Reader, reference: str) -> dict[str, Any]:
    """The public record of an item, by code or id; raises 404."""
    return (await _records(reader, [await get_master(reader, reference)]))[0]


async def get_master(reader: Reader, reference: str) -> RowMapping:
    """An item's own row without bill of materials and routing, by code or id; raises 404."""
    row = await reader.first(select(item).where(matches(item, reference, "item")))
    if row is None:
        raise not_found("item", reference)
    return row


async def list_masters(reader: Reader, paging: ListQuery) -> tuple[list[RowMapping], str | None]:
    """Items' own rows in the order of their codes, and the next cursor."""
    return await page(reader, select(item), [item.c.item], paging)


async def list_items(
    reader: Reader, paging: ListQuery, source: str | None = None, supplied_by: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of items in the order of their codes, and the next cursor."""
    query = select(item)
    if source is not None:
        query = query.where(item.c.source == source)
    if supplied_by is not None:
        query = query.where(item.c.supplier == supplied_by)
    rows, cursor = await page(reader, query, [item.c.item], paging)
    return await _records(reader, rows), cursor


async def bill_of_materials(reader: Reader, codes: Collection[str]) -> dict[str, list[Component]]:
    """Components of each item's current version; an item without any has an empty list."""
    query = (
        select(bom_line)
        .join(item, _current(bom_line))
        .where(bom_line.c.item.in_(codes))
        .order_by(bom_line.c.item, bom_line.c.position)
    )
    found: dict[str, list[Component]] = {code: [] for code in codes}
    for row in await reader.all(query):
        found[row["item"]].append(Component(row["component"], row["quantity"], row["scrap_percent"]))
    return found


async def routings(reader: Reader, codes: Collection[str]) -> dict[str, list[RoutingStep]]:
    """Routing steps of each item's current version, in sequence; an item without any has an empty list."""
    query = (
        select(routing_step)
        .join(item, _current(routing_step))
        .where(routing_step.c.item.in_(codes))
        .order_by(routing_step.c.item, routing_step.c.operation)
    )
    found: dict[str, list[RoutingStep]] = {code: [] for code in codes}
    for row in await reader.all(query):
        found[row["item"]].append(
            RoutingStep(row["operation"], row["work_center"], row["setup_minutes"], row["minutes_per_unit"])
        )
    return found


async def closure(reader: Reader, items: Iterable[str]) -> dict[str, ItemSnapshot]:
    """These items and all their components at every level, as they are defined now; unknown items are left out."""
    rows = await reader.all(select(item).where(item.c.item.in_(_below(items))))
    codes = [row["item"] for row in rows]
    components = await bill_of_materials(reader, codes)
    steps = await routings(reader, codes)
    return {row["item"]: _snapshot(row, components[row["item"]], steps[row["item"]]) for row in rows}


async def standard_costs(reader: Reader, items: Iterable[str]) -> dict[str, tuple[str, Decimal]]:
    """Source (make or buy) and standard cost per unit of each known item."""
    query = select(item.c.item, item.c.source, item.c.standard_cost).where(item.c.item.in_(list(items)))
    return {row["item"]: (row["source"], row["standard_cost"]) for row in await reader.all(query)}


async def structure_below(reader: Reader, items: Iterable[str]) -> dict[str, list[str]]:
    """Component codes of these items and of everything below them."""
    below = await reader.all(select(item.c.item).where(item.c.item.in_(_below(items))))
    lines = await bill_of_materials(reader, [row["item"] for row in below])
    return {code: [line.item for line in found] for code, found in lines.items()}


async def parents_of(reader: Reader, items: Collection[str]) -> dict[str, dict[str, int]]:
    """For each item, the items that use it now, with their low-level codes."""
    query = (
        select(bom_line.c.component, item.c.item, item.c.low_level_code)
        .join(item, _current(bom_line))
        .where(bom_line.c.component.in_(items))
    )
    found: dict[str, dict[str, int]] = {code: {} for code in items}
    for row in await reader.all(query):
        found[row["component"]][row["item"]] = row["low_level_code"]
    return found


async def get_supplier(reader: Reader, reference: str) -> dict[str, Any]:
    """The public record of a supplier, by code or id; raises 404."""
    row = await reader.first(select(supplier).where(matches(supplier, reference, "supplier")))
    if row is None:
        raise not_found("supplier", reference)
    return {**row, "number": row["supplier"]}


async def list_suppliers(reader: Reader, paging: ListQuery) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of suppliers in the order of their codes, and the next cursor."""
    rows, cursor = await page(reader, select(supplier), [supplier.c.supplier], paging)
    return [{**row, "number": row["supplier"]} for row in rows], cursor


def _current(versioned: Any) -> ColumnElement[bool]:
    return and_(versioned.c.item == item.c.item, versioned.c.version == item.c.version)


def _below(items: Iterable[str]) -> Select[Any]:
    tree = select(item.c.item, item.c.version).where(item.c.item.in_(list(items))).cte("tree", recursive=True)
    used = (
        select(item.c.item, item.c.version)
        .join(bom_line, bom_line.c.component == item.c.item)
        .join(tree, and_(bom_line.c.item == tree.c.item, bom_line.c.version == tree.c.version))
    )
    tree = tree.union(used)
    return select(tree.c.item)


async def _records(reader: Reader, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    codes = [row["item"] for row in rows]
    components: dict[str, list[Component]] = defaultdict(list)
    steps: dict[str, list[RoutingStep]] = defaultdict(list)
    if codes:
        components.update(await bill_of_materials(reader, codes))
        steps.update(await routings(reader, codes))
    return [
        {**row, "number": row["item"], "components": components[row["item"]], "routing": steps[row["item"]]}
        for row in rows
    ]


def _snapshot(row: RowMapping, components: list[Component], routing: list[RoutingStep]) -> ItemSnapshot:
    return ItemSnapshot(
        item=row["item"],
        name=row["name"],
        unit=row["unit"],
        source=row["source"],
        standard_cost=row["standard_cost"],
        price=row["price"],
        lead_time_days=row["lead_time_days"],
        supplier=row["supplier"],
        minimum_order_quantity=row["minimum_order_quantity"],
        version=row["version"],
        components=tuple(components),
        routing=tuple(routing),
        low_level_code=row["low_level_code"],
    )

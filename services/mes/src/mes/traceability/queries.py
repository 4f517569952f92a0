"""Reads of lots: the record, its siblings, where it came from and where it went."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    RowMapping,
    Select,
    Text,
    case,
    column,
    func,
    literal,
    select,
    text,
    true,
    union,
    union_all,
    values,
)

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from mes.quality import queries as quality
from mes.traceability.tables import batch_input, consumption, lot, lot_receipt, lot_shipment

Direction = Literal["backward", "forward", "both"]

_RECORDS = select(lot, lot.c.lot.label("number"))

# A graph beyond this many lots is cut off, and says so.
MAX_LOTS = 5_000


@dataclass(frozen=True)
class Graph:
    """Nodes and directed edges in the direction the material flows; `truncated` when lots are missing."""

    nodes: Sequence[Mapping[str, Any]]
    edges: Sequence[Mapping[str, Any]]
    truncated: bool


async def listed(
    reader: Reader, paging: ListQuery, item: str | None, status: str | None
) -> tuple[list[RowMapping], str | None]:
    """One page of lots, oldest first."""
    query = _RECORDS
    if item is not None:
        query = query.where(lot.c.item == item)
    if status is not None:
        query = query.where(lot.c.status == status)
    return await page(reader, query, [lot.c.id], paging)


async def lot_record(reader: Reader, reference: str) -> RowMapping:
    """A lot by id or name; raises 404."""
    row = await reader.first(_RECORDS.where(matches(lot, reference, "lot")))
    if row is None:
        raise not_found("lot", reference)
    return row


async def find_lot(reader: Reader, name: str) -> RowMapping | None:
    """A lot by name, or None."""
    return await reader.first(select(lot).where(lot.c.lot == name))


async def statuses(reader: Reader, names: Iterable[str]) -> dict[str, str]:
    """The status of each of these lots."""
    rows = await reader.all(select(lot.c.lot, lot.c.status).where(lot.c.lot.in_(list(names))))
    return {row["lot"]: row["status"] for row in rows}


async def siblings(reader: Reader, row: RowMapping) -> list[str]:
    """Names of the other lots of the same work order, or of the same supplier lot and item."""
    mine, other = lot_receipt.alias("mine"), lot_receipt.alias("other")
    same_delivery = (
        (other.c.supplier_lot == mine.c.supplier_lot)
        & (other.c.item == mine.c.item)
        & other.c.supplier.is_not_distinct_from(mine.c.supplier)
    )
    of_supplier_lot = select(other.c.lot).join(mine, same_delivery).where(mine.c.lot == row["lot"])
    made_together = lot.c.work_order_id == row["work_order_id"]
    same_origin = made_together if row["work_order_id"] else lot.c.lot.in_(of_supplier_lot)
    rows = await reader.all(select(lot.c.lot).where(same_origin, lot.c.lot != row["lot"]).order_by(lot.c.lot))
    return [sibling["lot"] for sibling in rows]


async def bought_inputs(reader: Reader, names: Iterable[str]) -> Sequence[RowMapping]:
    """The lots not made here that the named lots consist of, through any number of work orders."""
    reached = walk(names, ["backward"])
    query = select(lot).where(lot.c.lot.in_(select(reached.c.lot)), lot.c.origin != "produced").order_by(lot.c.lot)
    return await reader.all(query)


def walk(names: Iterable[str], ways: Iterable[Literal["backward", "forward"]]) -> CTE:
    """Every lot reachable from the named lots, per way (columns `lot`, `way`); UNION makes it safe against cycles."""
    starts = values(column("lot", Text), column("way", Text), name="start").data(
        [(name, way) for name in names for way in ways]
    )
    reached = select(starts.c.lot, starts.c.way).cte("walk", recursive=True)
    made_from = consumption.join(batch_input, batch_input.c.consumption_id == consumption.c.id).join(
        lot, lot.c.batch_id == batch_input.c.batch_id
    )
    forward = select(lot.c.lot).where(reached.c.way == "forward", consumption.c.lot == reached.c.lot)
    backward = select(consumption.c.lot).where(reached.c.way == "backward", lot.c.lot == reached.c.lot)
    # Lateral, so that each step is a few index look-ups and not a join of all lots ever made.
    links = union_all(*(each.select_from(made_from).correlate(reached) for each in (forward, backward))).lateral("link")
    return reached.union(select(links.c.lot, reached.c.way).select_from(reached.join(links, true())))


async def trace(reader: Reader, name: str, direction: Direction) -> Graph:
    """The graph around a lot: backward to suppliers, forward to customers, or both."""
    ways: list[Literal["backward", "forward"]] = ["backward", "forward"] if direction == "both" else [direction]
    reached = walk([name], ways)
    rows = await reader.all(select(reached.c.lot, reached.c.way).limit(MAX_LOTS + 1))
    found = rows[:MAX_LOTS]
    sources = {row["lot"] for row in found if row["way"] == "backward"}
    destinations = {row["lot"] for row in found if row["way"] == "forward"}
    lots = await reader.all(select(lot).where(lot.c.lot.in_(sources | destinations)).order_by(lot.c.id))
    consumed = await reader.all(_consumption_edges(sources, destinations))
    receipts = await reader.all(select(lot_receipt).where(lot_receipt.c.lot.in_(sources)).order_by(lot_receipt.c.id))
    shipments = await reader.all(
        select(lot_shipment).where(lot_shipment.c.lot.in_(destinations)).order_by(lot_shipment.c.shipment)
    )
    build = _Build(await quality.results(reader, sources | destinations))
    for row in lots:
        build.lot(row, with_batch=row["lot"] in sources or row["lot"] != name)
    for row in consumed:
        build.consumption(row)
    for row in receipts:
        build.receipt(row)
    for row in shipments:
        build.shipment(row)
    return Graph(list(build.nodes.values()), list(build.edges.values()), truncated=len(rows) > MAX_LOTS)


def _consumption_edges(sources: Iterable[str], destinations: Iterable[str]) -> Any:
    """Consumption summed per lot and batch; `batch` is null while the work order has not completed one with it."""
    into_batch = consumption.join(batch_input, batch_input.c.consumption_id == consumption.c.id).join(
        lot, lot.c.batch_id == batch_input.c.batch_id
    )
    kind = case((consumption.c.batch_id == lot.c.batch_id, "consumption"), else_="carry_over").label("kind")
    columns = (
        consumption.c.id,
        consumption.c.lot,
        consumption.c.item,
        consumption.c.work_order,
        consumption.c.quantity,
    )
    completed: Select[Any] = select(*columns, lot.c.batch, kind).select_from(into_batch)
    waiting = select(*columns, literal(None, Text).label("batch"), literal("consumption").label("kind")).where(
        consumption.c.batch_id.is_(None), consumption.c.lot.in_(destinations)
    )
    every = union(
        completed.where(consumption.c.lot.in_(destinations)), completed.where(lot.c.lot.in_(sources)), waiting
    ).subquery()
    keys = (every.c.lot, every.c.item, every.c.work_order, every.c.batch, every.c.kind)
    return select(*keys, func.sum(every.c.quantity).label("quantity")).group_by(*keys).order_by(*keys)


class _Build:
    """Collects nodes and edges, each once."""

    def __init__(self, inspections: Mapping[str, Sequence[RowMapping]]) -> None:
        self.inspections = inspections
        self.nodes: dict[str, dict[str, Any]] = {}
        self.edges: dict[tuple[str, str, str], dict[str, Any]] = {}

    def lot(self, row: RowMapping, with_batch: bool) -> None:
        self._node(
            row["lot"],
            "lot",
            {**row, "received_at": row["created_at"], "inspections": self.inspections.get(row["lot"], ())},
        )
        if row["batch"] is not None and with_batch:
            batch = self._node(
                f"batch:{row['batch']}",
                "batch",
                {
                    "batch": row["batch"],
                    "item": row["item"],
                    "quantity": row["received"],
                    "work_order": row["work_order"],
                    "completed_at": row["created_at"],
                },
            )
            self._edge(self._work_order(row["work_order"]), batch, "completion", row["received"], row["item"])
            self._edge(batch, row["lot"], "production", row["received"], row["item"])

    def consumption(self, row: RowMapping) -> None:
        into = f"batch:{row['batch']}" if row["batch"] else self._work_order(row["work_order"])
        # In a truncated graph an edge may lead out of it.
        if row["lot"] in self.nodes and into in self.nodes:
            self._edge(row["lot"], into, row["kind"], row["quantity"], row["item"])

    def receipt(self, row: RowMapping) -> None:
        source = None
        if row["purchase_order"]:
            facts = {"purchase_order": row["purchase_order"], "supplier": row["supplier"]}
            source = self._node(f"purchase_order:{row['purchase_order']}", "purchase_order", facts)
        if row["supplier_lot"]:
            facts = {name: row[name] for name in ("supplier_lot", "supplier", "item")}
            node = self._node(f"supplier_lot:{row['supplier']}:{row['supplier_lot']}", "supplier_lot", facts)
            if source:
                self._edge(source, node, "purchase", row["quantity"], row["item"])
            source = node
        if source:
            self._edge(source, row["lot"], "receipt", row["quantity"], row["item"])

    def shipment(self, row: RowMapping) -> None:
        names = ("shipment", "order_id", "order", "customer", "shipped_at")
        node = self._node(f"shipment:{row['shipment']}", "shipment", {name: row[name] for name in names})
        self._edge(row["lot"], node, "shipment", row["quantity"], row["item"])

    def _work_order(self, number: str) -> str:
        return self._node(f"work_order:{number}", "work_order", {"work_order": number})

    def _node(self, node_id: str, kind: str, facts: Mapping[str, Any]) -> str:
        self.nodes.setdefault(node_id, {**facts, "id": node_id, "kind": kind})
        return node_id

    def _edge(self, source: str, target: str, kind: str, quantity: Any, item: str) -> None:
        edge = self.edges.setdefault(
            (source, target, kind), {"from": source, "to": target, "kind": kind, "quantity": 0, "item": item}
        )
        edge["quantity"] += quantity


_LOTS = text(
    """
    SELECT l.lot, l.consumed, coalesce(c.taken, 0) AS taken
    FROM lot AS l LEFT JOIN (SELECT lot, sum(quantity) AS taken FROM consumption GROUP BY lot) AS c ON c.lot = l.lot
    WHERE l.consumed <> coalesce(c.taken, 0)
    ORDER BY l.lot
    """
)


async def invariants(reader: Reader) -> list[str]:
    """Sentences about lots that should hold between transactions and do not; empty when all is well.

    What was consumed of a lot is the sum of its consumptions.
    """
    return [f"lot {row['lot']}: {row['consumed']} consumed, {row['taken']} taken" for row in await reader.all(_LOTS)]

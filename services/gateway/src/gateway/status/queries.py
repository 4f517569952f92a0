"""Gathers the facts of one order."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, Text, Uuid, any_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, array

from chassis.db import Database, Reader
from gateway.status.rules import (
    Facts,
    FulfilmentFact,
    LineFact,
    OrderedLine,
    OrderFact,
    PromiseFact,
    Reason,
    TrailEntry,
    WorkOrderFact,
)
from gateway.status.story import event_anchor, lot_of, work_order_anchor
from gateway.status.tables import (
    status_fulfilment,
    status_lot,
    status_order,
    status_promise,
    status_work_order,
    status_work_order_peg,
    story_event,
    story_link,
    story_part,
)

TRAIL_LENGTH = 500


@dataclass(frozen=True)
class Gathered:
    """The facts of one order; how many events its story has, which only grows; and what those are filed under."""

    facts: Facts
    sequence: int
    anchors: frozenset[str]


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[Reader]:
    """A read in which all statements see one moment, so that a view is no older than its sequence says."""
    async with database.read() as reader:
        await reader.connection.execution_options(isolation_level="REPEATABLE READ")
        yield reader


async def order_by(reader: Reader, reference: str) -> OrderFact | None:
    """The order with this id or number; None while its placing has not been folded."""
    known = select(status_order).where(_order_matches(reference), status_order.c.version > 0)
    row = await reader.first(known.order_by(status_order.c.order_id.desc()).limit(1))
    return _order(row) if row else None


def _order_matches(reference: str) -> ColumnElement[bool]:
    try:
        return status_order.c.order_id == UUID(reference)
    except ValueError:
        return status_order.c.number == reference


async def gather(reader: Reader, order: OrderFact) -> Gathered:
    """Everything known of an order."""
    order_id = {"order_id": UUID(order.order_id)}
    parts: defaultdict[str, set[str]] = defaultdict(set)
    for row in await reader.all(_PARTS, {"roots": [order.order_id, order.number]}):
        parts[row["whole"]].add(row["part"])
    anchors = {order.order_id, order.number, *(part for found in parts.values() for part in found)}
    lots = [lot for anchor in anchors if (lot := lot_of(anchor)) is not None]
    lot_states = await reader.all(_LOT_STATES, {"lots": lots}) if lots else ()
    work_orders = await reader.all(_WORK_ORDERS, order_id) if anchors - {order.order_id, order.number} else ()
    committed = await reader.first(_PROMISE_AND_FULFILMENT, order_id)
    story = await reader.all(_STORY, {"anchors": list(anchors)})
    references = {row[name] for row in story for name in ("causation_id", "reason_event_id")} - {None}
    facts = Facts(
        order=order,
        promise=_promise(committed) if committed and committed["eta"] else None,
        fulfilment=_fulfilment(committed) if committed and committed["state"] else None,
        planned=any(part.startswith("plan/") for part in parts.get(order.order_id, ())),
        work_orders=[_work_order(row, parts) for row in work_orders],
        lot_states={row["lot"]: row["state"] for row in lot_states},
        trail=[_entry(row) for row in reversed(story)],
    )
    sequence = story[0]["story_length"] if story else 0
    return Gathered(facts, sequence, frozenset(anchors | {event_anchor(reference) for reference in references}))


async def story_sizes(reader: Reader, anchors: Sequence[str]) -> dict[str, int]:
    """How many events are filed under each anchor; an anchor without any is left out."""
    return {row["about"]: row["size"] for row in await reader.all(_SIZES, {"anchors": anchors})}


def _any_of(name: str) -> ColumnElement[Any]:
    return any_(bindparam(name, type_=ARRAY(Text)))


def _parts_below() -> Select[Any]:
    """What serves these roots, directly or through what serves them."""
    columns = story_part.c.whole, story_part.c.part
    tree = select(*columns).where(story_part.c.whole == _any_of("roots")).cte("tree", recursive=True)
    return select(tree.union(select(*columns).join(tree, story_part.c.whole == tree.c.part)))


def _story_of_anchors() -> Select[Any]:
    """Events filed under the anchors and the shared events these point at, newest first, with their number in all."""
    columns = story_event.c.event_id, story_event.c.causation_id, story_event.c.reason_event_id
    filed = select(story_link.c.event_id).where(story_link.c.about == _any_of("anchors"))
    told = select(*columns).where(story_event.c.event_id.in_(filed)).cte("told", recursive=True)
    behind = (
        story_event.c.event_id == any_(array([told.c.causation_id, told.c.reason_event_id]))
    ) & story_event.c.shared
    told = told.union(select(*columns).join(told, behind))
    return (
        select(story_event, func.count().over().label("story_length"))
        .where(story_event.c.event_id.in_(select(told.c.event_id)))
        .order_by(story_event.c.time.desc(), story_event.c.event_id.desc())
        .limit(TRAIL_LENGTH)
    )


def _work_orders_of_order() -> Select[Any]:
    peg, other = status_work_order_peg, status_work_order_peg.alias()
    in_all = select(func.sum(other.c.quantity)).where(other.c.work_order_id == peg.c.work_order_id).scalar_subquery()
    return (
        select(status_work_order, peg.c.line, peg.c.quantity.label("pegged"), in_all.label("pegged_in_all"))
        .join(peg, peg.c.work_order_id == status_work_order.c.work_order_id)
        .where(peg.c.order_id == bindparam("order_id", type_=Uuid))
        .order_by(status_work_order.c.number, peg.c.line)
    )


def _promise_and_fulfilment() -> Select[Any]:
    wanted = select(bindparam("order_id", type_=Uuid).label("order_id")).subquery()
    promise, fulfilment = status_promise, status_fulfilment
    return select(
        promise.c.promised_date,
        promise.c.eta,
        promise.c.reason,
        fulfilment.c.state,
        fulfilment.c.reached,
        fulfilment.c.lines,
    ).select_from(
        wanted.outerjoin(promise, promise.c.order_id == wanted.c.order_id).outerjoin(
            fulfilment, fulfilment.c.order_id == wanted.c.order_id
        )
    )


# Built once: making a statement anew costs more than sending it.
_PARTS = _parts_below()
_STORY = _story_of_anchors()
_WORK_ORDERS = _work_orders_of_order()
_PROMISE_AND_FULFILMENT = _promise_and_fulfilment()
_LOT_STATES = select(status_lot.c.lot, status_lot.c.state).where(status_lot.c.lot == _any_of("lots"))
_SIZES = (
    select(story_link.c.about, func.count().label("size"))
    .where(story_link.c.about == _any_of("anchors"))
    .group_by(story_link.c.about)
)


def _order(row: RowMapping) -> OrderFact:
    return OrderFact(
        order_id=str(row["order_id"]),
        number=row["number"],
        customer=row["customer"],
        version=max(row["version"], row["cancelled_version"] or 0),
        requested_date=row["requested_date"],
        lines=ordered_lines(row["lines"]),
        cancelled=row["cancelled_version"] is not None,
    )


def ordered_lines(lines: Sequence[Mapping[str, Any]]) -> list[OrderedLine]:
    """Lines of an order as its JSON has them, by line number."""
    found = [OrderedLine(line["line"], line["item"], Decimal(line["quantity"])) for line in lines]
    return sorted(found, key=lambda line: line.line)


def _promise(row: RowMapping) -> PromiseFact:
    return PromiseFact(row["promised_date"], row["eta"], Reason(**row["reason"]))


def _fulfilment(row: RowMapping) -> FulfilmentFact:
    amounts = ("reserved", "planned", "produced", "shipped", "delivered")
    lines = {
        line["line"]: LineFact(line=line["line"], lots=line["lots"], **{name: Decimal(line[name]) for name in amounts})
        for line in row["lines"]
    }
    return FulfilmentFact(row["state"], row["reached"], lines)


def _work_order(row: RowMapping, parts: Mapping[str, set[str]]) -> WorkOrderFact:
    made = parts.get(work_order_anchor(row["work_order_id"]), ())
    return WorkOrderFact(
        lots=sorted(lot for part in made if (lot := lot_of(part)) is not None),
        **{name: row[name] for name in _WORK_ORDER_COLUMNS},
    )


_WORK_ORDER_COLUMNS = (
    "number",
    "item",
    "line",
    "pegged",
    "pegged_in_all",
    "quantity",
    "scrap",
    "percent",
    "started",
    "cancelled",
)


def _entry(row: RowMapping) -> TrailEntry:
    return TrailEntry(row["event_id"], row["type"], row["time"], row["causation_id"], row["text"])


_LINES = text(
    """
    SELECT f.order_id, f.state, line ->> 'line' AS line, line ->> 'quantity' AS quantity, line ->> 'shipped' AS shipped,
           line ->> 'delivered' AS delivered
    FROM status_fulfilment AS f, jsonb_array_elements(f.lines) AS line
    WHERE NOT (0 <= (line ->> 'delivered')::numeric AND (line ->> 'delivered')::numeric <= (line ->> 'shipped')::numeric
               AND (line ->> 'shipped')::numeric <= (line ->> 'quantity')::numeric)
       OR (f.state IN ('delivered', 'closed') AND (line ->> 'delivered')::numeric <> (line ->> 'quantity')::numeric)
    ORDER BY f.order_id
    """
)
_WORK = text(
    "SELECT number, percent, scrap, quantity FROM status_work_order "
    "WHERE percent NOT BETWEEN 0 AND 100 OR scrap NOT BETWEEN 0 AND quantity ORDER BY number"
)
_LOOSE = text(
    "SELECT about, event_id FROM story_link AS l "
    "WHERE NOT EXISTS (SELECT FROM story_event AS e WHERE e.event_id = l.event_id) ORDER BY about, event_id"
)


async def invariants(reader: Reader) -> list[str]:
    """Sentences about the view's facts that should hold at every moment and do not; empty when all is well.

    No line ships more than was ordered or is delivered before it ships; work is between 0 and 100 %; every event
    filed in a story is told.
    """
    lines, work, loose = [await reader.all(query) for query in (_LINES, _WORK, _LOOSE)]
    return [
        *(
            f"order {row['order_id']} ({row['state']}) line {row['line']}: {row['quantity']} ordered, {row['shipped']} "
            f"shipped, {row['delivered']} delivered"
            for row in lines
        ),
        *(f"{row['number']}: {row['percent']} %, {row['scrap']} of {row['quantity']} scrapped" for row in work),
        *(f"event {row['event_id']} is filed under {row['about']} but not told" for row in loose),
    ]

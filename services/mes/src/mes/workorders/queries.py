"""Reads of work orders, their operations and batches."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, text

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from mes.metadata import TIME, Row
from mes.traceability import queries as traceability
from mes.workorders.rules import OPEN_STATES
from mes.workorders.tables import batch, operation, work_order

# Operations without a planned start come last in the dispatch list.
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_OPERATIONS = select(
    operation,
    operation.c.sequence.label("operation"),
    work_order.c.number.label("work_order"),
    work_order.c.item,
    work_order.c.pegs,
    func.coalesce(operation.c.planned_start, literal(_NEVER, TIME)).label("dispatch_at"),
).select_from(operation.join(work_order, operation.c.work_order_id == work_order.c.id))


def _orders(pegs: Iterable[Row]) -> list[str]:
    return sorted({peg["order"] for peg in pegs})


def _with_orders(row: Row) -> dict[str, Any]:
    return {**row, "orders": _orders(row["pegs"])}


def _serves(order: str) -> ColumnElement[bool]:
    """Condition that a work order serves a customer order, by number or id."""
    return or_(
        work_order.c.pegs.contains([{"order": order}]), work_order.c.pegs.contains([{"order_id": order.lower()}])
    )


async def find(reader: Reader, reference: str) -> dict[str, Any] | None:
    """A work order, by id or number, with its operations."""
    row = await reader.first(select(work_order).where(matches(work_order, reference)))
    return (await _complete(reader, [row]))[0] if row else None


async def listed(
    reader: Reader,
    paging: ListQuery,
    *,
    item: str | None = None,
    state: str | None = None,
    plan: str | None = None,
    order: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of work orders with their operations, oldest first.

    `plan` and `order` (a customer order served) are numbers or ids.
    """
    query = select(work_order)
    if item:
        query = query.where(work_order.c.item == item)
    if state:
        query = query.where(work_order.c.state == state)
    if plan:
        query = query.where(_plan_is(plan))
    if order:
        query = query.where(_serves(order))
    rows, cursor = await page(reader, query, [work_order.c.id], paging)
    return await _complete(reader, rows), cursor


def _plan_is(plan: str) -> ColumnElement[bool]:
    try:
        return work_order.c.plan_id == UUID(plan)
    except ValueError:
        return work_order.c.plan == plan


async def _complete(reader: Reader, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Work order rows with their orders and operations."""
    found = await reader.all(
        _OPERATIONS.where(operation.c.work_order_id.in_([row["id"] for row in rows])).order_by(operation.c.sequence)
    )
    steps: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
    for step in found:
        steps[step["work_order_id"]].append(_with_orders(step))
    return [{**_with_orders(row), "operations": steps[row["id"]]} for row in rows]


async def find_operation(reader: Reader, reference: str) -> dict[str, Any] | None:
    """An operation, by id or number, with what it belongs to."""
    row = await reader.first(_OPERATIONS.where(matches(operation, reference)))
    return _with_orders(row) if row else None


async def dispatch_list(
    reader: Reader, paging: ListQuery, filters: Mapping[str, str | None]
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of operations in the order to work: by planned start, then number.

    Filters: ``work_center``, ``state``, ``machine``, ``work_order`` (id or number).
    """
    query: Select[Any] = _OPERATIONS
    for name in ("work_center", "state", "machine"):
        if filters.get(name):
            query = query.where(operation.c[name] == filters[name])
    if of := filters.get("work_order"):
        query = query.where(matches(work_order, of))
    order = [query.selected_columns["dispatch_at"], operation.c.number]
    rows, cursor = await page(reader, query, order, paging)
    return [_with_orders(row) for row in rows], cursor


async def running_on(reader: Reader, machines: Iterable[str]) -> dict[str, Row]:
    """The running operation of each of these machines that has one, with ``id``, ``number``, ``work_order_id``."""
    rows = await reader.all(
        select(operation.c.machine, operation.c.id, operation.c.number, operation.c.work_order_id).where(
            operation.c.state == "running", operation.c.machine.in_(list(machines))
        )
    )
    return {row["machine"]: row for row in rows}


async def open_work(reader: Reader) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every open work order with all its operations by sequence, oldest first."""
    orders = await reader.all(select(work_order).where(work_order.c.state.in_(OPEN_STATES)).order_by(work_order.c.id))
    found = await reader.all(
        select(operation)
        .join(work_order, and_(work_order.c.id == operation.c.work_order_id, work_order.c.state.in_(OPEN_STATES)))
        .order_by(operation.c.work_order_id, operation.c.sequence)
    )
    steps: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in orders}
    for step in found:
        steps.setdefault(step["work_order_id"], []).append(dict(step))
    return [(dict(row), steps[row["id"]]) for row in orders]


_BATCHES = select(batch, work_order.c.number.label("work_order")).join(
    work_order, work_order.c.id == batch.c.work_order_id
)


async def find_batch(reader: Reader, reference: str) -> dict[str, Any] | None:
    """A batch, by id or number."""
    row = await reader.first(_BATCHES.where(matches(batch, reference)))
    return (await _with_states(reader, [row]))[0] if row else None


async def batches(
    reader: Reader, paging: ListQuery, of: str | None, item: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of batches, oldest first, optionally of one work order (id or number) or item."""
    query = _BATCHES
    if of:
        query = query.where(matches(work_order, of))
    if item:
        query = query.where(batch.c.item == item)
    rows, cursor = await page(reader, query, [batch.c.id], paging)
    return await _with_states(reader, rows), cursor


async def _with_states(reader: Reader, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Batch rows with the state of their lots."""
    status = await traceability.statuses(reader, [row["lot"] for row in rows])
    return [{**row, "state": status[row["lot"]]} for row in rows]


_SUMS = text(
    """
    SELECT w.number, w.state, w.quantity, w.good, w.scrap, w.rework, w.batches,
           o.last_good, o.scrap AS operations_scrap, o.rework AS operations_rework, o.open, b.good AS batch_good, b.made
    FROM work_order AS w
    JOIN LATERAL (
        SELECT (array_agg(good ORDER BY sequence DESC))[1] AS last_good, sum(scrap) AS scrap, sum(rework) AS rework,
               count(*) FILTER (WHERE state NOT IN ('done', 'cancelled')) AS open
        FROM operation WHERE work_order_id = w.id
    ) AS o ON true
    JOIN LATERAL (
        SELECT coalesce(sum(quantity), 0) AS good, count(*) AS made FROM batch WHERE work_order_id = w.id
    ) AS b ON true
    WHERE (w.good, w.scrap, w.rework) IS DISTINCT FROM (o.last_good, o.scrap, o.rework)
       OR w.good <> b.good OR w.batches <> b.made
       OR (w.state IN ('completed', 'cancelled')) <> (o.open = 0)
    ORDER BY w.number
    """
)
_FLOW = text(
    """
    SELECT * FROM (
        SELECT number, work_order_id, state, quantity, good, scrap, rework,
               lag(state) OVER steps AS earlier_state, lag(good) OVER steps AS earlier_good
        FROM operation WINDOW steps AS (PARTITION BY work_order_id ORDER BY sequence)
    ) AS o
    WHERE (earlier_state = 'done' AND quantity <> earlier_good)
       OR (earlier_state NOT IN ('done', 'cancelled') AND (state IN ('ready', 'running', 'paused', 'done') OR good > 0))
    ORDER BY number
    """
)
_MACHINES = text(
    "SELECT machine, array_agg(number ORDER BY number) AS operations FROM operation "
    "WHERE state = 'running' AND machine IS NOT NULL GROUP BY machine HAVING count(*) > 1"
)


async def invariants(reader: Reader) -> list[str]:
    """Sentences about work that should hold between transactions and do not; empty when all is well.

    A work order's quantities are those of its operations and batches; an operation gets the good pieces of the one
    before and begins after it; a machine runs one operation.
    """
    sums, flow, machines = [await reader.all(query) for query in (_SUMS, _FLOW, _MACHINES)]
    return [
        *(
            f"{w['number']} ({w['state']}): good {w['good']}, scrap {w['scrap']}, rework {w['rework']}, its operations "
            f"{w['last_good']}, {w['operations_scrap']}, {w['operations_rework']} with {w['open']} open, "
            f"its {w['made']} of {w['batches']} batches {w['batch_good']}"
            for w in sums
        ),
        *(
            f"{o['number']} is {o['state']} with {o['quantity']} to do; the one before is {o['earlier_state']} "
            f"with {o['earlier_good']} good"
            for o in flow
        ),
        *(f"machine {m['machine']} runs {', '.join(m['operations'])}" for m in machines),
    ]

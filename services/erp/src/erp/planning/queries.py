"""Reads of plans, of what covers orders, and of what must always hold."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, and_, func, or_, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from erp.inventory.queries import balances
from erp.planning.plans import stored_shares, stored_steps
from erp.planning.rules import PlanState, SupplyKind, required
from erp.planning.tables import demand, peg, production_plan, supply

_NONE = Decimal(0)


@dataclass(frozen=True)
class Coverage:
    """What covers one order line, in its item's unit."""

    item: str
    reserved: Decimal
    planned: Decimal
    produced: Decimal
    plans: tuple[UUID, ...]


async def get_plan(reader: Reader, reference: str) -> dict[str, Any]:
    """The public record of a production plan, by id or number; raises 404."""
    row = await reader.first(_plans().where(matches(production_plan, reference)))
    if row is None:
        raise not_found("plan", reference)
    return (await _records(reader, [row]))[0]


async def list_plans(
    reader: Reader, paging: ListQuery, *, item: str | None, state: PlanState | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of production plans, oldest first, and the next cursor."""
    query = _plans()
    if item is not None:
        query = query.where(production_plan.c.item == item)
    if state is not None:
        query = query.where(production_plan.c.state == state)
    rows, cursor = await page(reader, query, [production_plan.c.id], paging)
    return await _records(reader, rows), cursor


async def orders_waiting(reader: Reader, supply_ids: Collection[UUID]) -> dict[UUID, list[str]]:
    """Numbers of the orders that wait for each supply, directly or through plans; not listed when none does."""
    if not supply_ids:
        return {}
    query = (
        select(peg.c.supply_id, demand.c.order, production_plan.c.pegs)
        .join(demand, demand.c.id == peg.c.demand_id)
        .outerjoin(production_plan, production_plan.c.id == demand.c.plan_id)
        .where(peg.c.supply_id.in_(supply_ids), peg.c.quantity > 0)
    )
    waiting: dict[UUID, set[str]] = defaultdict(set)
    for row in await reader.all(query):
        served = [row["order"]] if row["order"] else [share.order for share in stored_shares(row["pegs"])]
        waiting[row["supply_id"]].update(served)
    return {supply_id: sorted(orders) for supply_id, orders in waiting.items()}


async def coverage_of_orders(reader: Reader, order_ids: Collection[UUID]) -> dict[tuple[UUID, int, str], Coverage]:
    """What covers each order line, by order, line and item."""
    total = peg.c.quantity + peg.c.received
    made = and_(supply.c.kind == SupplyKind.PLAN, total > 0)
    served = (
        select(
            peg.c.demand_id,
            func.sum(total).label("planned"),
            func.sum(peg.c.received).filter(supply.c.kind == SupplyKind.PLAN).label("produced"),
            func.array_agg(peg.c.supply_id).filter(made).label("plans"),
        )
        .join(supply, supply.c.id == peg.c.supply_id)
        .where(peg.c.demand_id.in_(select(demand.c.id).where(demand.c.order_id.in_(order_ids))))
        .group_by(peg.c.demand_id)
        .subquery()
    )
    query = (
        select(demand, served.c.planned, served.c.produced, served.c.plans)
        .outerjoin(served, served.c.demand_id == demand.c.id)
        .where(demand.c.order_id.in_(order_ids))
    )
    return {
        (row["order_id"], row["line"], row["item"]): Coverage(
            row["item"],
            row["reserved"],
            row["planned"] or _NONE,
            row["produced"] or _NONE,
            tuple(sorted(row["plans"] or ())),
        )
        for row in await reader.all(query)
    }


async def supply_tree(reader: Reader, order_ids: Collection[UUID]) -> list[dict[str, Any]]:
    """What orders wait for, at every level: a row per open demand and supply it is pegged to (or none).

    Columns: demand_id, order_id, plan_id (whose demand it is), supply_id, kind, item, open, expected, and of a
    production plan its plan number, routing, planned_end, schedule_reason and reason.
    """
    open_lines = and_(demand.c.order_id.in_(order_ids), demand.c.quantity > demand.c.issued)
    tree = select(demand.c.id).where(open_lines).cte("tree", recursive=True)
    components = demand.alias("component")
    tree = tree.union(
        select(components.c.id)
        .join(peg, and_(peg.c.supply_id == components.c.plan_id, peg.c.quantity > 0))
        .join(tree, tree.c.id == peg.c.demand_id)
        .where(components.c.pegged > 0)
    )
    query = (
        select(
            demand.c.id.label("demand_id"),
            demand.c.order_id,
            demand.c.plan_id,
            supply.c.id.label("supply_id"),
            supply.c.kind,
            supply.c.item,
            (supply.c.quantity - supply.c.received).label("open"),
            supply.c.expected,
            production_plan.c.number.label("plan"),
            production_plan.c.routing,
            production_plan.c.planned_end,
            production_plan.c.schedule_reason,
            production_plan.c.reason,
        )
        .join(tree, tree.c.id == demand.c.id)
        .outerjoin(peg, and_(peg.c.demand_id == demand.c.id, peg.c.quantity > 0))
        .outerjoin(supply, supply.c.id == peg.c.supply_id)
        .outerjoin(production_plan, production_plan.c.id == supply.c.id)
        .order_by(demand.c.id, supply.c.id)
    )
    return [{**row, "routing": stored_steps(row["routing"] or ())} for row in await reader.all(query)]


async def invariants(reader: Reader) -> list[str]:
    """Sentences about what should hold between transactions and does not; empty when all is well."""
    broken: list[str] = []
    sums = select(demand.c.item, func.sum(demand.c.reserved).label("reserved")).group_by(demand.c.item)
    reserved = {row["item"]: row["reserved"] for row in await reader.all(sums)}
    for item, stock in (await balances(reader, reserved)).items():
        if stock.reserved != reserved[item]:
            broken.append(f"{item}: {stock.reserved} reserved in stock, {reserved[item]} by demands")
        if stock.available < 0:
            broken.append(f"{item}: more reserved than there is: {stock}")
    uncovered = demand.c.quantity != demand.c.issued + demand.c.reserved + demand.c.pegged
    broken += [f"demand not covered: {dict(row)}" for row in await reader.all(select(demand).where(uncovered))]
    for table, own in ((demand, peg.c.demand_id), (supply, peg.c.supply_id)):
        pegged = select(func.coalesce(func.sum(peg.c.quantity), 0)).where(own == table.c.id).scalar_subquery()
        wrong = select(table).where(table.c.pegged != pegged)
        broken += [f"pegs of {table.name} do not add up: {dict(row)}" for row in await reader.all(wrong)]
    over = select(supply).where(supply.c.pegged > supply.c.quantity - supply.c.received)
    broken += [f"more waited for than comes: {dict(row)}" for row in await reader.all(over)]
    idle = await balances(reader, reserved)
    waiting = select(demand).where(demand.c.pegged > 0)
    broken += [
        f"waits although {idle[row['item']].available} are available: {dict(row)}"
        for row in await reader.all(waiting)
        if idle[row["item"]].available > 0
    ]
    dead = or_(production_plan.c.state == PlanState.CLOSED, production_plan.c.state == PlanState.CANCELLED)
    alive = select(production_plan.c.number).join(supply, supply.c.id == production_plan.c.id)
    hoping = alive.where(dead, supply.c.pegged > 0)
    broken += [f"waits for dead plan {row['number']}" for row in await reader.all(hoping)]
    return broken


def _plans() -> Select[Any]:
    return select(production_plan, supply.c.received, supply.c.expected).join(
        supply, supply.c.id == production_plan.c.id
    )


async def _records(reader: Reader, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    covered: dict[UUID, dict[str, RowMapping]] = defaultdict(dict)
    for row in await reader.all(select(demand).where(demand.c.plan_id.in_([row["id"] for row in rows]))):
        covered[row["plan_id"]][row["item"]] = row
    return [
        {
            **row,
            "pegs": stored_shares(row["pegs"]),
            "routing": stored_steps(row["routing"]),
            "components": [
                {
                    "item": item,
                    "quantity_per": Decimal(per),
                    "quantity": required(Decimal(per), row["quantity"]),
                    "issued": covered[row["id"]][item]["issued"],
                    "reserved": covered[row["id"]][item]["reserved"],
                    "waiting": covered[row["id"]][item]["pegged"],
                }
                for item, per in row["components"].items()
            ],
        }
        for row in rows
    ]

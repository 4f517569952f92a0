"""Production plans as stored and as published."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, any_, bindparam, cast, func, insert, literal, select, update
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import ARRAY

from chassis.db import Reader, Tx
from contracts.envelope import Reason
from contracts.erp import (
    OrderPeg,
    PlanCancelled,
    PlanChanged,
    PlanClosed,
    PlannedComponent,
    PlanReleased,
)
from contracts.erp import RoutingStep as PlannedStep
from contracts.values import plain
from erp.items.rules import RoutingStep
from erp.planning.pegging import OrderShare, PlanFacts
from erp.planning.rules import NewPlan, PlanState, required
from erp.planning.tables import demand, peg, plan_number, production_plan

NO_LONGER_NEEDED = Reason(code="NO_LONGER_NEEDED", text="no order waits for it any more")


@dataclass
class Plan:
    """A production plan: what was released, and what the shop floor was last told of it."""

    id: UUID
    number: str
    version: int
    item: str
    unit: str
    state: PlanState
    item_version: int
    # Component quantities per good unit, planned scrap included.
    components: Mapping[str, Decimal]
    routing: Sequence[RoutingStep]
    facts: PlanFacts
    reason: Reason | None
    asked_version: int
    planned_end: datetime | None = None
    schedule_reason: Reason | None = None

    @property
    def running(self) -> bool:
        """Whether the shop floor still listens to changes of it."""
        return self.state in (PlanState.RELEASED, PlanState.IN_PROGRESS)


async def load_plans(tx: Tx, ids: Collection[UUID]) -> dict[UUID, Plan]:
    """Lock and load plans in id order."""
    query = select(production_plan).where(production_plan.c.id.in_(ids)).order_by(production_plan.c.id)
    return {row["id"]: _from_row(row) for row in await tx.all(query.with_for_update())}


async def load_facts(reader: Reader, ids: Collection[UUID]) -> dict[UUID, PlanFacts]:
    """What was last published of plans."""
    query = select(production_plan).where(production_plan.c.id.in_(ids))
    return {row["id"]: _from_row(row).facts for row in await reader.all(query)}


async def plans_below(reader: Reader, ids: Collection[UUID]) -> set[UUID]:
    """These plans and all that make components for them, at every level."""
    given = cast(list(ids), ARRAY(UuidType))
    tree = select(production_plan.c.id).where(production_plan.c.id == any_(given)).cte("tree", recursive=True)
    tree = tree.union(
        select(peg.c.supply_id)
        .join(demand, demand.c.id == peg.c.demand_id)
        .join(tree, demand.c.plan_id == tree.c.id)
        .join(production_plan, production_plan.c.id == peg.c.supply_id)
    )
    return {row["id"] for row in await reader.all(select(tree.c.id))}


async def release(tx: Tx, decided: Sequence[tuple[NewPlan, PlanFacts]], reason: Reason | None) -> None:
    """Store new plans and publish them; their supplies must be stored."""
    if not decided:
        return
    numbers: Select[Any] = select(plan_number.next_value()).select_from(func.generate_series(1, literal(len(decided))))
    drawn = sorted((await tx.execute(numbers)).scalars())
    rows = []
    for (new, facts), number in zip(decided, drawn, strict=True):
        plan = Plan(
            id=new.supply.id,
            number=f"PL-{number:06d}",
            version=1,
            item=new.definition.item,
            unit=new.definition.unit,
            state=PlanState.RELEASED,
            item_version=new.definition.version,
            components={c.item: c.quantity_per for c in new.definition.components},
            routing=new.definition.routing,
            facts=facts,
            reason=reason,
            asked_version=1,
        )
        rows.append(_to_row(plan, tx))
        released = PlanReleased(
            **_published(plan, reason),
            bom_version=plan.item_version,
            routing_version=plan.item_version,
            components=[
                PlannedComponent(item=item, quantity_per=per, quantity=required(per, facts.quantity))
                for item, per in plan.components.items()
            ],
            routing=[
                PlannedStep(
                    operation=step.operation,
                    work_center=step.work_center,
                    setup_minutes=step.setup_minutes,
                    minutes_per_unit=step.minutes_per_unit,
                )
                for step in plan.routing
            ],
        )
        tx.append(released, _story(facts.shares))
    await tx.execute(insert(production_plan), rows)


def change(tx: Tx, plan: Plan, facts: PlanFacts, reason: Reason | None) -> None:
    """Tell the shop floor that a plan's situation changed; a plan for nothing is cancelled."""
    asked = facts.quantity != plan.facts.quantity
    story = _story(facts.shares) or _story(plan.facts.shares)
    plan.facts = facts
    plan.version += 1
    if asked:
        plan.asked_version = plan.version
    if facts.quantity > 0:
        tx.append(PlanChanged(**_published(plan, reason or plan.reason)), story)
    else:
        plan.state = PlanState.CANCELLED
        tx.append(
            PlanCancelled(
                aggregate_version=plan.version,
                plan_id=plan.id,
                plan=plan.number,
                item=plan.item,
                reason=reason or NO_LONGER_NEEDED,
            ),
            story,
        )


def close(tx: Tx, plan: Plan, quantity: Decimal, received: Decimal) -> None:
    """All output of the plan is in: it is closed."""
    plan.state = PlanState.CLOSED
    plan.version += 1
    closed = PlanClosed(
        aggregate_version=plan.version,
        plan_id=plan.id,
        plan=plan.number,
        item=plan.item,
        quantity=quantity,
        received=received,
    )
    tx.append(closed, _story(plan.facts.shares))


async def save_plans(tx: Tx, plans: Iterable[Plan]) -> None:
    """Write plans loaded before."""
    rows = [_to_row(plan, tx) for plan in plans]
    if rows:
        names = [name for name in rows[0] if name not in ("id", "created_at")]
        stored = update(production_plan).where(production_plan.c.id == bindparam("of_id"))
        stored = stored.values({name: bindparam(f"new_{name}") for name in names})
        await tx.execute(stored, [{"of_id": r["id"], **{f"new_{n}": r[n] for n in names}} for r in rows])


def _published(plan: Plan, reason: Reason | None) -> dict[str, Any]:
    facts = plan.facts
    return {
        "aggregate_version": plan.version,
        "plan_id": plan.id,
        "plan": plan.number,
        "item": plan.item,
        "quantity": facts.quantity,
        "unit": plan.unit,
        "due": facts.due,
        "priority": facts.priority,
        "pegs": [OrderPeg(order_id=s.order_id, order=s.order, line=s.line, quantity=s.quantity) for s in facts.shares],
        "material_status": "ready" if facts.material_ready else "waiting",
        "material_date": facts.material_date,
        "predecessor_plans": list(facts.predecessors),
        "reason": reason,
    }


def _story(shares: Sequence[OrderShare]) -> str | None:
    return str(shares[0].order_id) if shares else None


def _to_row(plan: Plan, tx: Tx) -> dict[str, Any]:
    facts = plan.facts
    return {
        "id": plan.id,
        "number": plan.number,
        "version": plan.version,
        "item": plan.item,
        "unit": plan.unit,
        "state": plan.state.value,
        "item_version": plan.item_version,
        "components": {item: plain(per) for item, per in plan.components.items()},
        "routing": [
            [step.operation, step.work_center, plain(step.setup_minutes), plain(step.minutes_per_unit)]
            for step in plan.routing
        ],
        "quantity": facts.quantity,
        "due": facts.due,
        "priority": facts.priority,
        "pegs": [[str(s.order_id), s.order, s.line, plain(s.quantity)] for s in facts.shares],
        "material_status": "ready" if facts.material_ready else "waiting",
        "material_date": facts.material_date,
        "predecessor_plans": [str(plan_id) for plan_id in facts.predecessors],
        "reason": plan.reason.model_dump() if plan.reason else None,
        "asked_version": plan.asked_version,
        "planned_end": plan.planned_end,
        "schedule_reason": plan.schedule_reason.model_dump() if plan.schedule_reason else None,
        "created_at": tx.now,
        "updated_at": tx.now,
    }


def _from_row(row: RowMapping) -> Plan:
    return Plan(
        id=row["id"],
        number=row["number"],
        version=row["version"],
        item=row["item"],
        unit=row["unit"],
        state=PlanState(row["state"]),
        item_version=row["item_version"],
        components={item: Decimal(per) for item, per in row["components"].items()},
        routing=stored_steps(row["routing"]),
        facts=PlanFacts(
            quantity=row["quantity"],
            due=row["due"],
            priority=row["priority"],
            shares=stored_shares(row["pegs"]),
            material_ready=row["material_status"] == "ready",
            material_date=row["material_date"],
            predecessors=tuple(UUID(plan_id) for plan_id in row["predecessor_plans"]),
        ),
        reason=Reason(**row["reason"]) if row["reason"] else None,
        asked_version=row["asked_version"],
        planned_end=row["planned_end"],
        schedule_reason=Reason(**row["schedule_reason"]) if row["schedule_reason"] else None,
    )


def stored_shares(stored: Iterable[Sequence[Any]]) -> tuple[OrderShare, ...]:
    """Order shares from their stored form."""
    return tuple(OrderShare(UUID(i), order, line, Decimal(quantity)) for i, order, line, quantity in stored)


def stored_steps(stored: Iterable[Sequence[Any]]) -> tuple[RoutingStep, ...]:
    """Routing steps from their stored form."""
    return tuple(RoutingStep(n, center, Decimal(setup), Decimal(per)) for n, center, setup, per in stored)

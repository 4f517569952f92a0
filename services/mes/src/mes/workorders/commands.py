"""Work orders follow ERP's plans; whoever changes one holds its row's lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Integer, Text, Uuid, func, insert, literal, select, update
from sqlalchemy import any_ as any_of
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx
from chassis.messaging.handlers import PermanentError
from contracts.envelope import Reason
from contracts.erp import PlanCancelled, PlanChanged, PlanReleased, PlanState
from contracts.mes import WorkOrderCancelled, WorkOrderChanged, WorkOrderCreated, WorkOrderEvent
from mes.metadata import TIME, Row
from mes.scheduling import commands as scheduling
from mes.workorders import rules
from mes.workorders.tables import BATCH_NUMBER, WORK_ORDER_NUMBER, batch, operation, work_order


@dataclass
class LockedWorkOrder:
    """A work order and its operations, by sequence, whose row this transaction has locked.

    Change it with `set` and `change`, tell it with `publish`, and `save` it last.
    """

    tx: Tx
    row: dict[str, Any]
    operations: list[dict[str, Any]]
    _changed: dict[str, Any] = field(default_factory=dict)
    _changed_operations: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def operation(self, operation_id: UUID) -> dict[str, Any]:
        """One of its operations."""
        return next(o for o in self.operations if o["id"] == operation_id)

    def after(self, changed: Row) -> list[dict[str, Any]]:
        """The operations that follow one."""
        return [o for o in self.operations if o["sequence"] > changed["sequence"]]

    def set(self, **values: Any) -> None:
        """Change columns of the work order."""
        self.row.update(values)
        self._changed.update(values)

    def change(self, changed: dict[str, Any], **values: Any) -> None:
        """Change columns of one operation; its version grows once per transaction."""
        if changed["id"] not in self._changed_operations:
            values |= {"version": changed["version"] + 1, "updated_at": self.tx.now}
        changed.update(values)
        self._changed_operations.setdefault(changed["id"], {}).update(values)

    @property
    def correlation_id(self) -> str | None:
        """The story this belongs to: that of the cause, else the first order served."""
        pegs = self.row["pegs"]
        return self.tx.cause.correlation_id or (pegs[0]["order_id"] if pegs else None)

    @property
    def percent(self) -> float:
        """Share of the standard minutes done, 0 to 100."""
        steps = (
            rules.Step(
                o["setup_minutes"], o["minutes_per_unit"], o["quantity"], o["good"] + o["scrap"], o["state"] == "done"
            )
            for o in self.operations
        )
        return rules.percent(self.row["quantity"], steps)

    def publish(self, event: type[WorkOrderEvent], **fields: Any) -> UUID:
        """Append one event of this work order, as its next version; returns the event's id."""
        self.set(version=self.row["version"] + 1, updated_at=self.tx.now)
        return self.tx.append(
            event(
                aggregate_version=self.row["version"],
                work_order_id=self.row["id"],
                work_order=self.row["number"],
                plan_id=self.row["plan_id"],
                item=self.row["item"],
                quantity=self.row["quantity"],
                good=self.row["good"],
                scrap=self.row["scrap"],
                percent=self.percent,
                pegs=self.row["pegs"],
                **fields,
            ),
            self.correlation_id,
        )

    async def save(self) -> None:
        """Write what was changed."""
        if self._changed:
            await self.tx.execute(update(work_order).where(work_order.c.id == self.row["id"]).values(**self._changed))
        for operation_id, values in self._changed_operations.items():
            await self.tx.execute(update(operation).where(operation.c.id == operation_id).values(**values))


async def lock(tx: Tx, condition: ColumnElement[bool]) -> LockedWorkOrder | None:
    """Lock the work order a condition names and load its operations; None if there is none."""
    row = await tx.first(select(work_order).where(condition).with_for_update())
    if row is None:
        return None
    operations = await tx.all(
        select(operation).where(operation.c.work_order_id == row["id"]).order_by(operation.c.sequence)
    )
    return LockedWorkOrder(tx, dict(row), [dict(o) for o in operations])


async def lock_by_id(tx: Tx, work_order_id: UUID) -> LockedWorkOrder:
    """Lock a work order that is known to exist."""
    locked = await lock(tx, work_order.c.id == work_order_id)
    if locked is None:
        raise LookupError(f"work order {work_order_id} has operations but no row")
    return locked


async def create(tx: Tx, plan: PlanReleased) -> None:
    """Make the work order of a released plan; a plan released again changes nothing."""
    number = await tx.number(WORK_ORDER_NUMBER, "WO")
    row = await tx.first(
        upsert(work_order)
        .values(
            id=new_id(),
            version=1,
            number=number,
            plan_id=plan.plan_id,
            plan=plan.plan,
            item=plan.item,
            unit=plan.unit,
            quantity=plan.quantity,
            state="created",
            components=[c.model_dump(mode="json") for c in plan.components],
            bom_version=plan.bom_version,
            routing_version=plan.routing_version,
            **_demand(plan),
        )
        .on_conflict_do_nothing(index_elements=["plan_id"])
        .returning(work_order)
    )
    if row is None:
        return
    first = min(step.operation for step in plan.routing)
    operations = await tx.all(
        insert(operation).returning(operation),
        [
            {
                "id": new_id(),
                "version": 1,
                "number": f"{number}-{step.operation}",
                "work_order_id": row["id"],
                "sequence": step.operation,
                "work_center": step.work_center,
                "setup_minutes": step.setup_minutes,
                "minutes_per_unit": step.minutes_per_unit,
                "state": rules.first_operation_state("waiting", plan.material_status)
                if step.operation == first
                else "waiting",
                "quantity": plan.quantity,
            }
            for step in plan.routing
        ],
    )
    # Version 1 is that of its first event, already written with the row.
    made = LockedWorkOrder(tx, {**row, "version": 0}, [dict(o) for o in operations])
    event_id = made.publish(WorkOrderCreated)
    await scheduling.request(tx, "SCHEDULE", f"{number} was created", event_id=event_id, work_order_id=row["id"])


def _demand(plan: PlanState) -> dict[str, Any]:
    return {
        "plan_version": plan.aggregate_version,
        "due": plan.due,
        "priority": plan.priority,
        "pegs": [p.model_dump(mode="json") for p in plan.pegs],
        "material_status": plan.material_status,
        "material_date": plan.material_date,
        "predecessor_plans": plan.predecessor_plans,
    }


async def change(tx: Tx, plan: PlanChanged) -> None:
    """Take over a changed plan and answer what will really be made; an older version of the plan is ignored.

    Raises PermanentError when the plan was never released.
    """
    changed = await _of_plan(tx, plan)
    if changed is None:
        return
    amendment = rules.amend(changed.row["state"], changed.row["quantity"], plan.quantity)
    changed.set(quantity=amendment.quantity, **_demand(plan))
    if changed.row["state"] in rules.UNSTARTED_STATES:
        for step in changed.operations:
            if step["quantity"] != amendment.quantity:
                changed.change(step, quantity=amendment.quantity)
    first = changed.operations[0]
    state = rules.first_operation_state(first["state"], plan.material_status)
    if state != first["state"]:
        changed.change(first, state=state)
    event_id = changed.publish(WorkOrderChanged, plan_version=plan.aggregate_version, outcome=amendment.outcome)
    await changed.save()
    reason = plan.reason or Reason(code="SCHEDULE", text=f"{plan.plan} changed")
    await scheduling.request(
        tx,
        reason.code,
        reason.text,
        event_id=reason.event_id or event_id,
        work_order_id=changed.row["id"],
    )


async def withdraw(tx: Tx, plan: PlanCancelled) -> None:
    """Cancel unstarted work; started work is finished into stock, for no order.

    Raises PermanentError when the plan was never released.
    """
    withdrawn = await _of_plan(tx, plan)
    if withdrawn is None:
        return
    withdrawn.set(plan_version=plan.aggregate_version)
    if withdrawn.row["state"] in rules.UNSTARTED_STATES:
        withdrawn.set(state="cancelled")
        for step in withdrawn.operations:
            withdrawn.change(step, state="cancelled", machine=None, planned_start=None, planned_end=None)
        event_id = withdrawn.publish(WorkOrderCancelled, reason=plan.reason)
    else:
        withdrawn.set(pegs=[])
        event_id = withdrawn.publish(WorkOrderChanged, plan_version=plan.aggregate_version, outcome="kept")
    await withdrawn.save()
    await scheduling.request(tx, "SCHEDULE", f"{plan.plan} was cancelled", event_id=event_id)


async def _of_plan(tx: Tx, plan: PlanChanged | PlanCancelled) -> LockedWorkOrder | None:
    found = await lock(tx, work_order.c.plan_id == plan.plan_id)
    if found is None:
        raise PermanentError(f"plan {plan.plan} ({plan.plan_id}) was never released")
    stale = plan.aggregate_version <= found.row["plan_version"]
    return None if stale or found.row["state"] == "cancelled" else found


async def add_batch(tx: Tx, of: LockedWorkOrder, batch_id: UUID, *, number: str, quantity: Decimal, lot: str) -> None:
    """Record a finished batch of a work order and the lot it became."""
    of.set(batches=of.row["batches"] + 1)
    await tx.execute(
        insert(batch).values(
            id=batch_id,
            version=1,
            number=number,
            work_order_id=of.row["id"],
            item=of.row["item"],
            quantity=quantity,
            lot=lot,
        )
    )


async def batch_number(tx: Tx) -> str:
    """The next batch number."""
    return await tx.number(BATCH_NUMBER, "B")


async def lock_unchanged(tx: Tx, seen: Mapping[UUID, int]) -> set[UUID]:
    """Lock those of the work orders seen at these versions that nobody else holds and that are still at them.

    It never waits, so it can never be part of a deadlock.
    """
    rows = await tx.all(
        select(work_order.c.id, work_order.c.version)
        .where(work_order.c.id == any_of(literal(sorted(seen), ARRAY(Uuid))))
        .with_for_update(skip_locked=True)
    )
    return {row["id"] for row in rows if row["version"] == seen[row["id"]]}


@dataclass(frozen=True)
class PlannedOperation:
    """Where and when an operation is planned to run, and the machine last told."""

    id: UUID
    machine: str | None
    planned_start: datetime | None
    planned_end: datetime | None
    published_machine: str | None


async def save_schedule(
    tx: Tx, operations: Sequence[PlannedOperation], published: Sequence[tuple[LockedWorkOrder, datetime | None]]
) -> None:
    """Write a computed schedule and the state of the work orders it was published for, in two statements."""
    if operations:
        planned = (
            func.unnest(
                literal([o.id for o in operations], ARRAY(Uuid)),
                literal([o.machine for o in operations], ARRAY(Text)),
                literal([o.planned_start for o in operations], ARRAY(TIME)),
                literal([o.planned_end for o in operations], ARRAY(TIME)),
                literal([o.published_machine for o in operations], ARRAY(Text)),
            )
            .table_valued("id", "machine", "planned_start", "planned_end", "published_machine")
            .render_derived()
        )
        await tx.execute(
            update(operation)
            .where(operation.c.id == planned.c.id)
            .values(
                machine=planned.c.machine,
                planned_start=planned.c.planned_start,
                planned_end=planned.c.planned_end,
                published_machine=planned.c.published_machine,
                version=operation.c.version + 1,
                updated_at=tx.now,
            )
        )
    if published:
        told = (
            func.unnest(
                literal([w.row["id"] for w, _ in published], ARRAY(Uuid)),
                literal([w.row["version"] for w, _ in published], ARRAY(Integer)),
                literal([w.row["state"] for w, _ in published], ARRAY(Text)),
                literal([end for _, end in published], ARRAY(TIME)),
            )
            .table_valued("id", "version", "state", "published_end")
            .render_derived()
        )
        await tx.execute(
            update(work_order)
            .where(work_order.c.id == told.c.id)
            .values(version=told.c.version, state=told.c.state, published_end=told.c.published_end, updated_at=tx.now)
        )

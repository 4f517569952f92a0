"""Operators start, pause and report operations; machines stop them.

Locks are taken in one order: machine, work order, lots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from chassis.clock import new_id
from chassis.db import Tx
from chassis.http.problems import FieldError, broken_rules, invalid, not_found, wrong_state
from contracts.envelope import Reason
from contracts.mes import (
    BatchCompleted,
    ConsumedLot,
    MaterialConsumed,
    OperationCompleted,
    OperationPaused,
    OperationStarted,
    ProducedLot,
    ProductionProgressed,
    WorkOrderCompleted,
)
from mes.execution import rules
from mes.execution.tables import report as report_table
from mes.machines import commands as machines
from mes.machines import queries as machine_queries
from mes.metadata import Row
from mes.scheduling import commands as scheduling
from mes.texts import stopped_since
from mes.traceability import commands as traceability
from mes.workorders import commands as workorders
from mes.workorders import queries as work
from mes.workorders.commands import LockedWorkOrder


@dataclass(frozen=True)
class Report:
    """What an operator reports of a running operation."""

    good: Decimal
    scrap: Decimal
    rework: Decimal
    reason: str | None
    consumed: Sequence[ConsumedLot]
    done: bool
    at: datetime | None


async def start(tx: Tx, reference: str, states: tuple[str, ...], machine: str | None, operator: str | None) -> Any:
    """Run an operation that is in one of `states` on the machine given, else the planned one, else a free one.

    Raises 404; 409 wrong_state, machine_unavailable, machine_busy; 422 unknown_machine, other_work_center.
    """
    found = await _find(tx, reference)
    code = machine or await _choose_machine(tx, found)
    unit = await _lock_machine(tx, code, found["work_center"]) if code else None
    order = await workorders.lock_by_id(tx, found["work_order_id"])
    operation = order.operation(found["id"])
    if operation["state"] not in states:
        raise wrong_state(f"operation {operation['number']} is {operation['state']}")
    if unit:
        await _check_machine(tx, unit)
        await machines.enter_state(tx, unit, "running")
    order.change(
        operation,
        state="running",
        machine=code,
        operator=operator,
        started_at=operation["started_at"] or tx.now,
        progressed_at=tx.now,
    )
    order.set(state="running")
    event_id = order.publish(
        OperationStarted, operator=operator, started_at=operation["started_at"], **_identity(operation)
    )
    await order.save()
    await _ask_for_schedule(tx, order, f"{operation['number']} was started", event_id)
    return await _find(tx, str(operation["id"]))


async def pause(tx: Tx, reference: str, reason: str | None) -> Any:
    """Stop a running operation before it is done; its machine is idle. Raises 404, 409 wrong_state."""
    order, operation, unit = await _lock_running(tx, reference)
    why = Reason(code="PAUSED", text=reason or "paused by the operator")
    event_id = _pause(order, operation, why, keep_machine=True)
    await order.save()
    await _release(tx, unit)
    await _ask_for_schedule(tx, order, f"{operation['number']} was paused", event_id)
    return await _find(tx, str(operation["id"]))


async def report(tx: Tx, reference: str, given: Report) -> dict[str, Any]:
    """Record quantities and consumption of a running operation; returns it with the `batch` and `lot` it made.

    Raises 404; 409 wrong_state, lot_held; 422 exceeds_started, not_a_component, unknown_lot, not_in_future and others.
    """
    if given.at and given.at > tx.now:
        raise invalid("/at", "not_in_future", "the time lies in the future")
    order, operation, unit = await _lock_running(tx, reference)
    reached = rules.progress(
        operation["quantity"],
        rules.Quantities(operation["good"], operation["scrap"], operation["rework"]),
        rules.Quantities(given.good, given.scrap, given.rework),
        given.done,
    )
    if reached is None:
        left = operation["quantity"] - operation["good"] - operation["scrap"]
        raise invalid("/good", "exceeds_started", f"only {left.normalize():f} pieces are left to report")
    await _consume_reported(tx, order, operation, given.consumed)
    order.change(
        operation,
        good=reached.good,
        scrap=reached.scrap,
        rework=reached.rework,
        set_up_on=operation["machine"],
        progressed_at=given.at or tx.now,
    )
    _sum_up(order, given)
    event_id = order.publish(
        ProductionProgressed,
        operation_id=operation["id"],
        operation=operation["sequence"],
        reported_good=given.good,
        reported_scrap=given.scrap,
        reported_rework=given.rework,
        reason=given.reason,
    )
    await _record(tx, operation, given)
    made = await _finish(tx, order, operation, given, reached.done)
    await order.save()
    if reached.done:
        await _release(tx, unit)
    await _ask_for_schedule(
        tx, order, f"{operation['number']} was reported", event_id, "SCRAP" if given.scrap else "PROGRESS"
    )
    return {**await _find(tx, str(operation["id"])), **made}


async def report_machine_state(
    tx: Tx, reference: str, state: str, reason: str | None, at: datetime | None
) -> dict[str, Any]:
    """A machine is in a state; when it cannot work any more, the operation it ran is paused and may move.

    Raises 404, 422 not_in_future, after_previous_change.
    """
    unit = await machines.lock(tx, reference)
    event_id = await machines.enter_state(tx, unit, state, reason, at)
    entered = await machines.lock(tx, reference)
    running = (await work.running_on(tx, [entered["machine"]])).get(entered["machine"])
    if event_id and running and not machine_queries.can_run(entered):
        await _interrupt(tx, running["work_order_id"], running["id"], entered, event_id)
        running = None
    return {**entered, "operation": running["number"] if running else None}


async def _interrupt(tx: Tx, work_order_id: UUID, operation_id: UUID, unit: Row, event_id: UUID) -> None:
    """Pause the operation of a stopped machine and take it off that machine."""
    order = await workorders.lock_by_id(tx, work_order_id)
    code = "MACHINE_DOWN" if unit["state"] == "down" else "MACHINE_STOPPED"
    text = stopped_since(unit["machine"], unit["state"], unit["since"])
    why = Reason(code=code, text=text, event_id=str(event_id))
    _pause(order, order.operation(operation_id), why, keep_machine=False)
    await order.save()
    await scheduling.request(tx, code, text, event_id=event_id, work_order_id=work_order_id, urgent=True)


async def _find(tx: Tx, reference: str) -> dict[str, Any]:
    found = await work.find_operation(tx, reference)
    if found is None:
        raise not_found("operation", reference)
    return found


async def _choose_machine(tx: Tx, operation: Row) -> str | None:
    """The planned machine if it is free, else a free one; None at a work center without registered machines."""
    units = await machine_queries.of_work_center(tx, operation["work_center"])
    if not units:
        return None
    busy = await work.running_on(tx, [u["machine"] for u in units])
    free = [u["machine"] for u in units if machine_queries.can_run(u) and u["machine"] not in busy]
    if operation["machine"] in free:
        return str(operation["machine"])
    return str(free[0] if free else operation["machine"] or units[0]["machine"])


async def _lock_machine(tx: Tx, code: str, work_center: str) -> Row:
    unit = await machine_queries.find(tx, code)
    if unit is None:
        raise invalid("/machine", "unknown_machine", f"machine {code!r} is unknown")
    if unit["work_center"] != work_center:
        raise invalid("/machine", "other_work_center", f"machine {code!r} is not of work center {work_center!r}")
    return await machines.lock(tx, str(unit["id"]))


async def _check_machine(tx: Tx, unit: Row) -> None:
    if not machine_queries.can_run(unit):
        raise wrong_state(f"machine {unit['machine']} is {unit['state']}", "machine_unavailable")
    running = (await work.running_on(tx, [unit["machine"]])).get(unit["machine"])
    if running:
        raise wrong_state(f"machine {unit['machine']} runs {running['number']}", "machine_busy")


async def _lock_running(tx: Tx, reference: str) -> tuple[LockedWorkOrder, dict[str, Any], Row | None]:
    """Lock a running operation's machine and work order; 404 unknown, 409 not running."""
    found = await _find(tx, reference)
    running = found["state"] == "running"
    unit = await machines.lock(tx, found["machine"]) if running and found["machine"] else None
    order = await workorders.lock_by_id(tx, found["work_order_id"])
    operation = order.operation(found["id"])
    # It may have been paused, or moved to another machine, before we had the locks.
    if operation["state"] != "running" or operation["machine"] != found["machine"] or not running:
        raise wrong_state(f"operation {operation['number']} is {operation['state']}, not running here")
    return order, operation, unit


def _pause(order: LockedWorkOrder, operation: dict[str, Any], why: Reason, keep_machine: bool) -> UUID:
    identity = _identity(operation)
    order.change(operation, state="paused", machine=operation["machine"] if keep_machine else None)
    return order.publish(OperationPaused, reason=why, **identity)


async def _release(tx: Tx, unit: Row | None) -> None:
    if unit and unit["state"] == "running":
        await machines.enter_state(tx, unit, "idle")


def _identity(operation: Row) -> dict[str, Any]:
    return {
        "operation_id": operation["id"],
        "operation": operation["sequence"],
        "work_center": operation["work_center"],
        "machine": operation["machine"],
    }


async def _ask_for_schedule(tx: Tx, order: LockedWorkOrder, text: str, event_id: UUID, code: str = "PROGRESS") -> None:
    await scheduling.request(tx, code, text, event_id=event_id, work_order_id=order.row["id"])


async def _consume_reported(tx: Tx, order: LockedWorkOrder, operation: Row, consumed: Sequence[ConsumedLot]) -> None:
    if not consumed:
        return
    components = {c["item"] for c in order.row["components"]}
    foreign = [
        FieldError(
            field=f"/consumed/{index}/item",
            rule="not_a_component",
            message=f"{entry.item} is not a component of {order.row['item']}",
        )
        for index, entry in enumerate(consumed)
        if entry.item not in components
    ]
    if foreign:
        raise broken_rules(foreign)
    reported = sorted({*order.row["reported_components"], *(entry.item for entry in consumed)})
    order.set(reported_components=reported)
    await _consume(tx, order, operation, consumed, backflushed=False)


async def _consume(
    tx: Tx, order: LockedWorkOrder, operation: Row, consumed: Sequence[ConsumedLot], backflushed: bool
) -> None:
    await traceability.consume(tx, order.row, operation["id"], consumed, backflushed)
    order.publish(MaterialConsumed, operation_id=operation["id"], consumed=consumed, backflushed=backflushed)


def _sum_up(order: LockedWorkOrder, given: Report) -> None:
    order.set(
        good=order.operations[-1]["good"],
        scrap=order.row["scrap"] + given.scrap,
        rework=order.row["rework"] + given.rework,
    )


async def _record(tx: Tx, operation: Row, given: Report) -> None:
    await tx.execute(
        insert(report_table).values(
            id=new_id(),
            operation_id=operation["id"],
            machine=operation["machine"],
            minutes_per_unit=operation["minutes_per_unit"],
            good=given.good,
            scrap=given.scrap,
            rework=given.rework,
            reason=given.reason,
            at=given.at or tx.now,
        )
    )


async def _finish(
    tx: Tx, order: LockedWorkOrder, operation: dict[str, Any], given: Report, done: bool
) -> dict[str, Any]:
    """What a report ends: a batch, the operation, the work order. Returns the numbers of batch and lot made."""
    following = order.after(operation)
    completes = done and (not following or operation["good"] == 0)
    makes_batch = not following and given.good > 0
    if makes_batch or completes:
        await _backflush(tx, order, operation)
    made: dict[str, Any] = {"batch": None, "lot": None}
    if makes_batch:
        made = await _complete_batch(tx, order, given)
    if not done:
        return made
    order.change(operation, state="done", completed_at=tx.now)
    if completes:
        # Nothing is left to do for the operations after one that scrapped everything.
        for step in following:
            order.change(step, state="done", quantity=Decimal(0), completed_at=tx.now)
    else:
        order.change(following[0], state="ready")
        for step in following:
            order.change(step, quantity=operation["good"])
    order.publish(
        OperationCompleted,
        operation_good=operation["good"],
        operation_scrap=operation["scrap"],
        operation_rework=operation["rework"],
        **_identity(operation),
    )
    if completes:
        order.set(state="completed")
        order.publish(WorkOrderCompleted, batches=order.row["batches"])
    return made


async def _backflush(tx: Tx, order: LockedWorkOrder, operation: Row) -> None:
    """Take the components of all pieces made and scrapped since the last time at standard, as far as stock has them."""
    row = order.row
    pieces = row["good"] + row["scrap"] - row["backflushed"]
    components = [(c["item"], Decimal(c["quantity_per"])) for c in row["components"]]
    required = rules.standard_consumption(components, pieces, row["reported_components"])
    order.set(backflushed=row["good"] + row["scrap"])
    if consumed := await traceability.backflush(tx, required):
        await _consume(tx, order, operation, consumed, backflushed=True)


async def _complete_batch(tx: Tx, order: LockedWorkOrder, given: Report) -> dict[str, Any]:
    batch_id, number = new_id(), await workorders.batch_number(tx)
    lot, inputs = await traceability.produce(tx, order.row, batch_id, number, given.good)
    await workorders.add_batch(tx, order, batch_id, number=number, quantity=given.good, lot=lot)
    tx.append(
        BatchCompleted(
            aggregate_version=1,
            batch_id=batch_id,
            batch=number,
            plan_id=order.row["plan_id"],
            work_order_id=order.row["id"],
            work_order=order.row["number"],
            item=order.row["item"],
            good=given.good,
            scrap=given.scrap,
            lots_out=[ProducedLot(lot=lot, quantity=given.good)],
            inputs=inputs,
            bom_version=order.row["bom_version"],
            qc_state="released",
            pegs=order.row["pegs"],
        ),
        order.correlation_id,
    )
    return {"batch": number, "lot": lot}

"""The worker that keeps the schedule: one run for everything that happened since the last."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Histogram
from sqlalchemy import delete, func, select

from chassis.db import Cause, Tx
from chassis.service import Context
from chassis.waiting import pause
from contracts.envelope import Reason
from contracts.mes import ScheduledOperation, WorkOrderScheduled
from mes.machines import queries as machines
from mes.metadata import Row
from mes.scheduling import rules
from mes.scheduling.commands import request
from mes.scheduling.tables import schedule_request
from mes.texts import stopped_since
from mes.workorders import commands as workorders
from mes.workorders import queries as work
from mes.workorders.commands import LockedWorkOrder, PlannedOperation

_POLL_SECONDS = 0.1
_QUIET_SECONDS = 0.5
# A large plant takes longer: runs that are not urgent take at most this share of the time.
_BUSY_SHARE = 0.25
# How long a work order told takes its readers at the most, so that they are never left behind by merely moved work.
_TELL_SECONDS = 0.1
# Any number; it names the advisory lock that lets one scheduler of the database run at a time.
_ONE_AT_A_TIME = 7_415_001
_FINISHED = ("done", "cancelled")
_OTHERS_MOVED = rules.Trigger("SCHEDULE", "other work on the same machines moved")
SECONDS = Histogram("mes_schedule_seconds", "Time of one computation of the schedule, commit included.")
log = structlog.get_logger()


async def keep_schedule(context: Context) -> None:
    """Compute the schedule again soon after it was asked for: at once when urgent, else at most twice a second.

    Work orders that only gave way to others are told at leisure, the more of them the more seldom: for each of them
    orders are promised anew.
    """
    not_before = tell_from = time.monotonic()
    owed = False
    while not context.stopping.is_set():
        async with context.database.read() as reader:
            urgent = await reader.scalar(select(func.bool_or(schedule_request.c.urgent)))
        began = time.monotonic()
        tell_all = began >= tell_from
        if urgent or (urgent is not None and began >= not_before):
            with SECONDS.time():
                told = await context.database.write(partial(reschedule, tell_all=tell_all))
            not_before = began + max(_QUIET_SECONDS, (time.monotonic() - began) / _BUSY_SHARE)
            if tell_all:
                tell_from = began + told * _TELL_SECONDS
            owed = not tell_all
        elif owed and tell_all:
            await context.database.write(lambda tx: request(tx, _OTHERS_MOVED.code, _OTHERS_MOVED.text))
        await pause(context.stopping, _POLL_SECONDS)


async def reschedule(tx: Tx, tell_all: bool = True) -> int:
    """Answer every request for a schedule with one for the whole plant; returns how many work orders were told.

    Unless it is time to `tell_all`, those that no request concerns and that merely moved are left for a later run.

    A work order another transaction holds or has just changed keeps its old times; it is asked for again.
    """
    if not await tx.scalar(select(func.pg_try_advisory_xact_lock(_ONE_AT_A_TIME))):
        return 0
    requests = await tx.all(delete(schedule_request).returning(schedule_request))
    if not requests:
        return 0
    triggers = [
        rules.Trigger(r["code"], r["text"], r["event_id"], r["work_order_id"], r["work_center"])
        for r in sorted(requests, key=lambda r: r["id"])
    ]
    plant = [_Plan(LockedWorkOrder(tx, *found)) for found in await work.open_work(tx)]
    units = [
        rules.Machine(m["machine"], m["work_center"], m["state"], m["since"], m["state_event_id"])
        for m in await machines.all_machines(tx)
    ]
    slots = rules.schedule(tx.now, units, [plan.job() for plan in plant])
    stopped = frozenset(unit.machine for unit in units if not unit.available)
    for plan in plant:
        plan.take(slots, tx.now, triggers, stopped, tell_all)
    changed = [plan for plan in plant if plan.moved or plan.news]
    free = await workorders.lock_unchanged(tx, {plan.order.row["id"]: plan.order.row["version"] for plan in changed})
    saved = [plan for plan in changed if plan.order.row["id"] in free]
    told = [plan for plan in saved if plan.news]
    for plan in told:
        plan.publish(tx, units)
    await workorders.save_schedule(
        tx, [o for plan in saved for o in plan.planned_operations()], [(plan.order, plan.end) for plan in told]
    )
    await _ask_again(tx, [plan for plan in changed if plan.order.row["id"] not in free])
    log.info("scheduled", work_orders=len(plant), moved=len(saved), told=len(told), left=len(changed) - len(saved))
    return len(told)


async def _ask_again(tx: Tx, left: Sequence["_Plan"]) -> None:
    """Keep the reasons of those work orders that could not be told now, and of no others."""
    reasons = [(plan.trigger, plan.order.row["id"]) for plan in left if plan.trigger]
    if len(reasons) < len(left):
        reasons.append((_OTHERS_MOVED, None))
    for trigger, work_order in reasons:
        await request(tx, trigger.code, trigger.text, event_id=trigger.event_id, work_order_id=work_order)


class _Plan:
    """One open work order and its place in the new schedule."""

    def __init__(self, order: LockedWorkOrder) -> None:
        self.order = order
        self.open = [o for o in order.operations if o["state"] not in _FINISHED]
        self.slots: dict[UUID, rules.Slot] = {}
        self.moved: list[dict[str, Any]] = []
        self.end: datetime | None = None
        self.news = False
        self.trigger: rules.Trigger | None = None

    def job(self) -> rules.Job:
        """The work order as the scheduling rule sees it; once it was begun it waits for nothing."""
        row = self.order.row
        begun = any(o["started_at"] for o in self.order.operations)
        return rules.Job(
            id=row["id"],
            plan_id=row["plan_id"],
            priority=row["priority"],
            due=row["due"],
            operations=tuple(_left(o) for o in self.open),
            not_before=row["material_date"] if row["material_status"] == "waiting" and not begun else None,
            predecessors=() if begun or row["material_status"] == "ready" else tuple(row["predecessor_plans"]),
        )

    def take(
        self,
        slots: Mapping[UUID, rules.Slot],
        now: datetime,
        triggers: Iterable[rules.Trigger],
        stopped: frozenset[str],
        tell_all: bool,
    ) -> None:
        """Compare with what was planned and told before."""
        self.slots = {o["id"]: slots[o["id"]] for o in self.open if o["id"] in slots}
        self.moved = [o for o in self.open if _planned(o) != _slot_values(self.slots.get(o["id"]))]
        has_all = len(self.slots) == len(self.open)
        self.end = max((slot.end for slot in self.slots.values()), default=None) if has_all else None
        row = self.order.row
        told_before = row["published_end"]
        delayed = self.end is None or told_before is None or self.end > told_before
        machines_now = {o["id"]: self._machine(o) for o in self.open}
        told = (
            None
            if row["state"] == "created"
            else rules.Told(told_before, {o["id"]: o["published_machine"] for o in self.open})
        )
        self.trigger = rules.strongest(triggers, row["id"], {o["work_center"] for o in self.open}, delayed)
        self.news = rules.is_news(
            now,
            told,
            self.end,
            machines_now,
            stopped=stopped,
            concerned=self.trigger is not None,
            tell_all=tell_all,
        )

    def _machine(self, operation: Row) -> str | None:
        slot = self.slots.get(operation["id"])
        return slot.machine if slot else None

    def publish(self, tx: Tx, units: Sequence[rules.Machine]) -> None:
        """Tell the new schedule of this work order and why."""
        row = self.order.row
        reason = self._reason(units)
        if row["state"] == "created":
            row["state"] = "scheduled"
        old_end = row["published_end"]
        tx.cause = Cause(causation_id=reason.event_id)
        starts = [slot.start for slot in self.slots.values()]
        self.order.publish(
            WorkOrderScheduled,
            planned_start=min(starts, default=None),
            planned_end=self.end,
            old_planned_end=old_end,
            operations=[self._scheduled(o) for o in self.order.operations],
            reason=reason,
        )

    def _reason(self, units: Sequence[rules.Machine]) -> Reason:
        trigger = self.trigger
        told = self.order.row["published_end"]
        if self.end is None:
            blocked = next(o for o in self.open if o["id"] not in self.slots)
            trigger = _no_capacity(blocked["work_center"], units)
        elif trigger is None and told is not None and self.end > told:
            # A machine that is down goes on delaying what waits for its work center.
            trigger = next((t for o in self.open if (t := _machine_down(o["work_center"], units))), None)
        if trigger is None:
            trigger = _OTHERS_MOVED
        return Reason(code=trigger.code, text=trigger.text, event_id=trigger.event_id)

    def _scheduled(self, operation: Row) -> ScheduledOperation:
        slot = self.slots.get(operation["id"])
        done = operation["state"] in _FINISHED
        machine, start, end = _planned(operation) if done else _slot_values(slot)
        return ScheduledOperation(
            operation_id=operation["id"],
            operation=operation["sequence"],
            work_center=operation["work_center"],
            machine=machine,
            planned_start=start,
            planned_end=end,
            state=operation["state"],
        )

    def planned_operations(self) -> list[PlannedOperation]:
        """The rows to write: what moved, and when told all that is open."""
        rows = self.open if self.news else self.moved
        return [
            PlannedOperation(
                o["id"],
                *_slot_values(self.slots.get(o["id"])),
                published_machine=self._machine(o) if self.news else o["published_machine"],
            )
            for o in rows
        ]


def _machine_down(work_center: str, units: Sequence[rules.Machine]) -> rules.Trigger | None:
    down = rules.stopped_longest(work_center, units)
    if down is None:
        return None
    return rules.Trigger("MACHINE_DOWN", stopped_since(down.machine, down.state, down.since), down.event_id)


def _no_capacity(work_center: str, units: Sequence[rules.Machine]) -> rules.Trigger:
    nobody = rules.Trigger("NO_CAPACITY", f"no machine of {work_center} is available")
    return _machine_down(work_center, units) or nobody


def _left(operation: Row) -> rules.Operation:
    running = operation["state"] == "running"
    processed = operation["good"] + operation["scrap"]
    return rules.Operation(
        id=operation["id"],
        work_center=operation["work_center"],
        minutes=rules.remaining_minutes(
            operation["setup_minutes"],
            operation["minutes_per_unit"],
            operation["quantity"] - processed,
            set_up=processed > 0 and operation["machine"] == operation["set_up_on"],
        ),
        running=running,
        machine=operation["machine"] if running else None,
        progressed_at=operation["progressed_at"] if running else None,
    )


def _planned(operation: Row) -> tuple[str | None, datetime | None, datetime | None]:
    return operation["machine"], operation["planned_start"], operation["planned_end"]


def _slot_values(slot: rules.Slot | None) -> tuple[str | None, datetime | None, datetime | None]:
    return (slot.machine, slot.start, slot.end) if slot else (None, None, None)

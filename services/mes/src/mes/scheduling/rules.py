"""Finite forward scheduling of all open operations, and what of a new schedule is news."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

_MINUTE = timedelta(minutes=1)
# Stands for the one machine a work center without registered machines counts as.
_UNREGISTERED = ""
# A move is told when it exceeds a minute and this share of the time left until the end told before.
_NEWS_SHARE = 50
_STRENGTH = {"MACHINE_DOWN": 4, "DEFECT": 3, "SCRAP": 2, "SCHEDULE": 0, "PROGRESS": 0}
_OTHER_STRENGTH = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a work center; `since` and `event_id` tell of its present state."""

    machine: str
    work_center: str
    state: str
    since: datetime
    event_id: str | None = None

    @property
    def available(self) -> bool:
        """Whether work can be planned on it."""
        return self.state not in ("down", "maintenance", "off")


@dataclass(frozen=True, slots=True)
class Operation:
    """What is left of one operation; a running one has its machine and the time its progress was last known."""

    id: UUID
    work_center: str
    minutes: Decimal
    running: bool = False
    machine: str | None = None
    progressed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A work order's operations that are not done, in sequence, and what its first step waits for."""

    id: UUID
    plan_id: UUID
    priority: int
    due: datetime
    operations: tuple[Operation, ...]
    not_before: datetime | None = None
    predecessors: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """Where and when an operation is to run; no machine at a work center without registered machines."""

    machine: str | None
    start: datetime
    end: datetime


def remaining_minutes(setup_minutes: Decimal, minutes_per_unit: Decimal, left: Decimal, set_up: bool) -> Decimal:
    """Standard minutes of an operation with `left` units to process; a machine that is `set_up` just goes on."""
    return (Decimal(0) if set_up else setup_minutes) + minutes_per_unit * left


def schedule(now: datetime, machines: Iterable[Machine], jobs: Sequence[Job]) -> dict[UUID, Slot]:
    """The slot of every operation; one that has none in sight is missing.

    A machine that falls free takes the first of the operations waiting at its work center, by priority (higher
    first), due date and age (earliest-due-date rule within a priority, non-delay). Running operations stay where they
    are. Each operation waits for the one before, the first for its material and for the jobs that make it. A work
    center without registered machines counts as one machine. The schedule begins at the next full minute, so that an
    unchanged situation gives the same schedule twice.
    """
    return _Plant(_ceiling(now), machines, jobs).run()


def _ceiling(at: datetime) -> datetime:
    floor = at.replace(second=0, microsecond=0)
    return floor if floor == at else floor + _MINUTE


class _Plant:
    """The simulation: time jumps from one event to the next, and every free machine takes work."""

    def __init__(self, start: datetime, machines: Iterable[Machine], jobs: Sequence[Job]) -> None:
        self.start = start
        self.jobs = sorted(jobs, key=lambda job: (-job.priority, job.due, job.id))
        self.slots: dict[UUID, Slot] = {}
        # By work center, smallest first: its usable machines, those free now, and (rank of job, index of operation)
        # that wait.
        self.usable: dict[str, list[str]] = {}
        self.free: dict[str, list[str]] = {}
        self.waiting: dict[str, list[tuple[int, int]]] = defaultdict(list)
        # (time, rank, index): that operation ends, or with index −1 the job may begin.
        self.events: list[tuple[datetime, int, int]] = []
        self.unfinished_predecessors: dict[int, int] = {}
        self.followers: dict[UUID, list[int]] = defaultdict(list)
        for machine in sorted(machines, key=lambda m: m.machine):
            usable = self.usable.setdefault(machine.work_center, [])
            if machine.available:
                usable.append(machine.machine)
        for work_center in {o.work_center for job in self.jobs for o in job.operations}:
            self.free[work_center] = list(self.usable.setdefault(work_center, [_UNREGISTERED]))

    def run(self) -> dict[UUID, Slot]:
        self._enter_jobs()
        while self.events:
            time = self.events[0][0]
            touched: set[str] = set()
            while self.events and self.events[0][0] == time:
                _, rank, index = heapq.heappop(self.events)
                touched |= self._end(rank, index) if index >= 0 else set()
                touched |= self._ready(rank, index + 1, time)
            for work_center in sorted(touched):
                self._dispatch(work_center, time)
        return self.slots

    def _enter_jobs(self) -> None:
        running: list[tuple[int, Operation]] = []
        open_plans = {job.plan_id for job in self.jobs}
        for rank, job in enumerate(self.jobs):
            if job.operations and job.operations[0].running:
                running.append((rank, job.operations[0]))
                continue
            waited_for = {plan for plan in job.predecessors if plan in open_plans and plan != job.plan_id}
            self.unfinished_predecessors[rank] = len(waited_for)
            for plan in waited_for:
                self.followers[plan].append(rank)
            if not waited_for:
                self._release(rank, self.start)
        for rank, operation in running:
            self._continue(rank, operation)

    def _continue(self, rank: int, operation: Operation) -> None:
        begun = operation.progressed_at or self.start
        end = max(self.start, begun + _duration(operation.minutes))
        self.slots[operation.id] = Slot(operation.machine, begun, end)
        free, machine = self.free[operation.work_center], operation.machine or _UNREGISTERED
        if machine in free:
            free.remove(machine)
        heapq.heappush(self.events, (end, rank, 0))

    def _release(self, rank: int, time: datetime) -> None:
        not_before = self.jobs[rank].not_before
        heapq.heappush(self.events, (max(time, not_before or time), rank, -1))

    def _end(self, rank: int, index: int) -> set[str]:
        """Free the machine of an operation that ends; returns the work center that can dispatch again."""
        operation = self.jobs[rank].operations[index]
        machine = self.slots[operation.id].machine or _UNREGISTERED
        free = self.free[operation.work_center]
        if machine in self.usable[operation.work_center] and machine not in free:
            heapq.heappush(free, machine)
        return {operation.work_center}

    def _ready(self, rank: int, index: int, time: datetime) -> set[str]:
        """The operation at `index` of a job may begin; past the last, the jobs that wait for this one are released."""
        job = self.jobs[rank]
        if index < len(job.operations):
            work_center = job.operations[index].work_center
            heapq.heappush(self.waiting[work_center], (rank, index))
            return {work_center}
        for follower in self.followers.pop(job.plan_id, ()):
            self.unfinished_predecessors[follower] -= 1
            if not self.unfinished_predecessors[follower]:
                self._release(follower, time)
        return set()

    def _dispatch(self, work_center: str, time: datetime) -> None:
        free, waiting = self.free[work_center], self.waiting[work_center]
        while free and waiting:
            rank, index = heapq.heappop(waiting)
            operation = self.jobs[rank].operations[index]
            machine = heapq.heappop(free)
            end = time + _duration(operation.minutes)
            self.slots[operation.id] = Slot(machine or None, time, end)
            heapq.heappush(self.events, (end, rank, index))


def _duration(minutes: Decimal) -> timedelta:
    return timedelta(minutes=float(minutes))


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why the schedule was computed: it concerns one work order, all work at one work center, or neither."""

    code: str
    text: str
    event_id: str | None = None
    work_order_id: UUID | None = None
    work_center: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What was last told of a work order's schedule: its end, and the machine of each open operation."""

    end: datetime | None
    machines: Mapping[UUID, str | None]


def is_news(
    now: datetime,
    told: Told | None,
    end: datetime | None,
    machines: Mapping[UUID, str | None],
    *,
    stopped: frozenset[str],
    concerned: bool,
    tell_all: bool = True,
) -> bool:
    """Whether a work order's schedule must be told: never was, lost or got capacity, left a stopped machine, moved.

    A work order `concerned` by a trigger has moved from one minute on; any other, when it is time to `tell_all`, from a
    minute and 2 % of the time it has left, so that a plant nobody works in does not tell every end every minute.
    """
    if told is None or (told.end is None) != (end is None):
        return True
    if any(told.machines.get(i) in stopped and machine != told.machines.get(i) for i, machine in machines.items()):
        return True
    if told.end is None or end is None or not (concerned or tell_all):
        return False
    share = timedelta(0) if concerned else (told.end - now) / _NEWS_SHARE
    return abs(end - told.end) >= max(_MINUTE, share)


def strongest(
    triggers: Iterable[Trigger], work_order_id: UUID, work_centers: Iterable[str], delayed: bool
) -> Trigger | None:
    """The trigger that moved a work order, of those that concern it; a stopped machine only if it is `delayed`."""
    centers = set(work_centers)
    concerning = [
        t
        for t in triggers
        if t.work_order_id == work_order_id or (t.work_center in centers and (delayed or t.code != "MACHINE_DOWN"))
    ]
    return max(concerning, key=lambda t: _STRENGTH.get(t.code, _OTHER_STRENGTH), default=None)


def stopped_longest(work_center: str, machines: Iterable[Machine]) -> Machine | None:
    """The machine of a work center that has been down for the longest time; None if none is down."""
    down = [m for m in machines if m.work_center == work_center and m.state == "down"]
    return min(down, key=lambda m: (m.since, m.machine), default=None)

"""The scheduling rule keeps its promises for any plant."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mes.scheduling.rules import Job, Machine, Operation, Slot, Told, Trigger, is_news, schedule, strongest

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
CENTERS = ("CUT", "SEW", "PACK")
# CUT has two machines, SEW one, PACK none.
REGISTERED = {"CUT": ("CUT-1", "CUT-2"), "SEW": ("SEW-1",)}


def ident(number: int) -> UUID:
    return UUID(int=number)


@st.composite
def plants(draw: st.DrawFn) -> tuple[list[Machine], list[Job]]:
    machines = [
        Machine(code, center, draw(st.sampled_from(["idle", "running", "down", "off"])), NOW)
        for center, codes in REGISTERED.items()
        for code in codes
    ]
    free = [m for m in machines if m.available]
    jobs = []
    for number in range(draw(st.integers(1, 8))):
        steps = [
            Operation(
                ident(1000 + 10 * number + index),
                draw(st.sampled_from(CENTERS)),
                Decimal(draw(st.integers(0, 600))) / 4,
            )
            for index in range(draw(st.integers(1, 4)))
        ]
        at = [m for m in free if m.work_center == steps[0].work_center]
        if at and draw(st.booleans()):
            machine = at[0]
            free.remove(machine)
            begun = NOW - timedelta(minutes=draw(st.integers(0, 90)))
            steps[0] = Operation(steps[0].id, steps[0].work_center, steps[0].minutes, True, machine.machine, begun)
        jobs.append(
            Job(
                ident(number + 1),
                ident(500 + number),
                draw(st.integers(0, 2)),
                NOW + timedelta(days=draw(st.integers(0, 3))),
                tuple(steps),
                draw(st.none() | st.integers(0, 3000).map(lambda m: NOW + timedelta(minutes=m))),
                tuple(ident(500 + draw(st.integers(0, number - 1))) for _ in range(draw(st.integers(0, 2))) if number),
            )
        )
    return machines, jobs


def by_station(jobs: list[Job], slots: dict[UUID, Slot]) -> dict[str, list[tuple[Slot, Job, Operation]]]:
    found: dict[str, list[tuple[Slot, Job, Operation]]] = defaultdict(list)
    for job in jobs:
        for operation in job.operations:
            if slot := slots.get(operation.id):
                found[slot.machine or operation.work_center].append((slot, job, operation))
    return {station: sorted(rows, key=lambda r: (r[0].start, r[0].end)) for station, rows in found.items()}


@given(plants())
def test_no_machine_does_two_things_at_once_and_none_that_is_stopped_works(
    plant: tuple[list[Machine], list[Job]],
) -> None:
    machines, jobs = plant
    slots = schedule(NOW, machines, jobs)
    stopped = {m.machine for m in machines if not m.available}
    for station, rows in by_station(jobs, slots).items():
        assert station not in stopped
        for (slot, _, _), (following, _, _) in pairwise(rows):
            assert slot.end <= following.start


@given(plants())
def test_every_operation_waits_for_what_it_needs(plant: tuple[list[Machine], list[Job]]) -> None:
    machines, jobs = plant
    slots = schedule(NOW, machines, jobs)
    ends = {j.plan_id: slots[j.operations[-1].id].end for j in jobs if j.operations[-1].id in slots}
    for job in jobs:
        for operation, following in pairwise(job.operations):
            if following.id in slots:
                assert slots[operation.id].end <= slots[following.id].start
        first = job.operations[0]
        if first.id in slots and not first.running:
            assert slots[first.id].start >= max(NOW, job.not_before or NOW)
            assert all(slots[first.id].start >= ends[plan] for plan in job.predecessors)


@given(plants())
def test_running_operations_stay_where_they_are(plant: tuple[list[Machine], list[Job]]) -> None:
    machines, jobs = plant
    slots = schedule(NOW, machines, jobs)
    for job in jobs:
        first = job.operations[0]
        if first.running:
            due = (first.progressed_at or NOW) + timedelta(minutes=float(first.minutes))
            assert slots[first.id] == Slot(first.machine, first.progressed_at, max(NOW, due))


@given(plants(), st.randoms(use_true_random=False))
def test_the_same_plant_gives_the_same_schedule(plant: tuple[list[Machine], list[Job]], random: object) -> None:
    machines, jobs = plant
    shuffled = list(jobs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert schedule(NOW, machines, jobs) == schedule(NOW + timedelta(0), list(reversed(machines)), shuffled)


@given(plants())
def test_only_work_that_reaches_a_center_without_a_usable_machine_has_no_slot(
    plant: tuple[list[Machine], list[Job]],
) -> None:
    machines, jobs = plant
    slots = schedule(NOW, machines, jobs)
    usable = {m.work_center for m in machines if m.available} | {"PACK"}
    unfinished = {j.plan_id for j in jobs if j.operations[-1].id not in slots}
    for job in jobs:
        missing = [o for o in job.operations if o.id not in slots]
        if missing:
            waits = not job.operations[0].running and unfinished & set(job.predecessors)
            assert missing[0].work_center not in usable or waits


@given(plants())
def test_no_machine_stands_idle_while_work_it_could_do_waits(plant: tuple[list[Machine], list[Job]]) -> None:
    """Non-delay: whatever starts, starts when its work arrived or when a machine of its center fell free."""
    machines, jobs = plant
    slots = schedule(NOW, machines, jobs)
    ends = {j.plan_id: slots[j.operations[-1].id].end for j in jobs if j.operations[-1].id in slots}
    freed: dict[str, set[datetime]] = defaultdict(set)
    for job in jobs:
        for operation in job.operations:
            if operation.id in slots:
                freed[operation.work_center].add(slots[operation.id].end)
    for job in jobs:
        arrived = max([NOW, job.not_before or NOW, *(ends.get(plan, NOW) for plan in job.predecessors)])
        for operation in job.operations:
            if operation.id not in slots:
                break
            slot = slots[operation.id]
            assert operation.running or slot.start == arrived or slot.start in freed[operation.work_center]
            arrived = slot.end


def job(number: int, priority: int, due_days: int, minutes: int, center: str = "SEW") -> Job:
    operation = Operation(ident(1000 + number), center, Decimal(minutes))
    return Job(ident(number), ident(500 + number), priority, NOW + timedelta(days=due_days), (operation,))


SEW = [Machine("SEW-1", "SEW", "idle", NOW)]


def test_work_is_done_by_priority_then_due_date_then_age() -> None:
    jobs = [job(1, 50, 2, 10), job(2, 50, 1, 10), job(3, 90, 9, 10), job(4, 50, 1, 10)]
    slots = schedule(NOW, SEW, jobs)
    assert sorted(range(1, 5), key=lambda n: slots[ident(1000 + n)].start) == [3, 2, 4, 1]
    assert slots[ident(1001)] == Slot("SEW-1", NOW + timedelta(minutes=30), NOW + timedelta(minutes=40))


def test_a_second_machine_halves_the_time() -> None:
    machines = [*SEW, Machine("SEW-2", "SEW", "idle", NOW)]
    slots = schedule(NOW, machines, [job(n, 50, 1, 60) for n in range(1, 5)])
    assert max(s.end for s in slots.values()) == NOW + timedelta(hours=2)


def test_the_schedule_does_not_slide_within_a_minute() -> None:
    jobs = [job(1, 50, 1, 10)]
    assert schedule(NOW + timedelta(seconds=1), SEW, jobs) == schedule(NOW + timedelta(seconds=59), SEW, jobs)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("told", "end", "concerned", "expected"),
    [
        (None, NOW, False, True),
        (Told(NOW + HOUR, {}), None, False, True),
        (Told(None, {}), NOW + HOUR, False, True),
        (Told(None, {}), None, True, False),
        (Told(NOW + HOUR, {}), NOW + HOUR + timedelta(seconds=59), True, False),
        (Told(NOW + HOUR, {}), NOW + HOUR + timedelta(seconds=60), True, True),
        (Told(NOW + 50 * HOUR, {}), NOW + 50 * HOUR + timedelta(minutes=59), False, False),
        (Told(NOW + 50 * HOUR, {}), NOW + 51 * HOUR, False, True),
        (Told(NOW + 50 * HOUR, {}), NOW + 50 * HOUR + timedelta(minutes=1), True, True),
    ],
)
def test_what_is_news(told: Told | None, end: datetime | None, concerned: bool, expected: bool) -> None:
    assert is_news(NOW, told, end, {}, stopped=frozenset(), concerned=concerned) is expected


def test_leaving_a_stopped_machine_is_news_and_a_swap_of_machines_is_not() -> None:
    told = Told(NOW + HOUR, {ident(1): "CUT-2"})
    moved = {ident(1): "CUT-1"}
    assert is_news(NOW, told, told.end, moved, stopped=frozenset({"CUT-2"}), concerned=False)
    assert not is_news(NOW, told, told.end, moved, stopped=frozenset(), concerned=False)


def test_a_stopped_machine_is_the_reason_of_work_it_delays_before_anything_else() -> None:
    down = Trigger("MACHINE_DOWN", "CUT-1 down since 10:42", "e1", work_center="CUT")
    own = Trigger("PROGRESS", "reported", "e2", work_order_id=ident(1))
    assert strongest([own, down], ident(1), {"CUT"}, delayed=True) == down
    assert strongest([own, down], ident(1), {"CUT"}, delayed=False) == own
    assert strongest([own, down], ident(2), {"SEW"}, delayed=True) is None


def test_who_merely_moved_is_told_when_it_is_time_to_tell_all() -> None:
    moved = (NOW, Told(NOW + HOUR, {}), NOW + 2 * HOUR, {})
    assert not is_news(*moved, stopped=frozenset(), concerned=False, tell_all=False)
    assert is_news(*moved, stopped=frozenset(), concerned=True, tell_all=False)
    assert is_news(*moved, stopped=frozenset(), concerned=False, tell_all=True)

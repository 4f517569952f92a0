"""Rules of progress, reports, standard consumption and OEE."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mes.execution.rules import Progress, Quantities, progress, standard_consumption
from mes.machines.rules import Interval, Output, clip, effectiveness
from mes.workorders.rules import Amendment, Step, amend, first_operation_state, percent

D = Decimal
pieces = st.decimals(0, 1000, places=6)


@st.composite
def steps_and_progress(draw: st.DrawFn) -> tuple[Decimal, list[Step], list[Step]]:
    quantity = draw(st.decimals("0.000001", 1000, places=6))
    before, after = [], []
    for _ in range(draw(st.integers(1, 5))):
        setup, per_unit = draw(pieces), draw(pieces)
        first, second = sorted([draw(st.decimals(0, quantity, places=6)), draw(st.decimals(0, quantity, places=6))])
        done = draw(st.booleans())
        before.append(Step(setup, per_unit, quantity, first, done))
        after.append(Step(setup, per_unit, quantity, second, done or draw(st.booleans())))
    return quantity, before, after


@given(steps_and_progress())
def test_percent_never_falls_and_ends_at_100(case: tuple[Decimal, list[Step], list[Step]]) -> None:
    quantity, before, after = case
    assert 0 <= percent(quantity, before) <= percent(quantity, after) <= 100
    finished = [Step(s.setup_minutes, s.minutes_per_unit, s.quantity, s.processed, True) for s in after]
    assert percent(quantity, finished) == 100


def test_percent_weighs_operations_by_their_standard_minutes() -> None:
    steps = [Step(D(30), D(6), D(10), D(10), True), Step(D(0), D(27), D(10), D(5), False)]
    assert percent(D(10), steps) == 62.5


def test_operations_without_standard_minutes_weigh_the_same() -> None:
    assert percent(D(4), [Step(D(0), D(0), D(4), D(4), True), Step(D(0), D(0), D(4), D(0), False)]) == 50


@given(pieces, st.tuples(pieces, pieces), st.tuples(pieces, pieces, pieces), st.booleans())
def test_good_and_scrap_never_exceed_the_input(
    quantity: Decimal, so_far: tuple[Decimal, Decimal], reported: tuple[Decimal, Decimal, Decimal], done: bool
) -> None:
    reached = progress(quantity, Quantities(*so_far, D(0)), Quantities(*reported), done)
    if reached is None:
        assert sum(so_far) + sum(reported) > quantity
    else:
        assert reached.good + reached.scrap <= quantity
        assert reached.done == (done or reached.good + reached.scrap == quantity)


def test_rework_stays_to_be_done() -> None:
    assert progress(D(10), Quantities(D(6), D(1), D(0)), Quantities(D(0), D(0), D(3)), False) == Progress(
        D(6), D(1), D(3), False
    )


def test_standard_consumption_rounds_to_millionths_and_leaves_out_what_is_reported() -> None:
    needed = standard_consumption([("FOAM", D("0.333333")), ("LEG", D(4)), ("FOAM", D("1"))], D("7.5"), ["LEG"])
    assert needed == {"FOAM": D("9.999998")}


def test_started_work_keeps_its_quantity() -> None:
    assert amend("scheduled", D(10), D(6)) == Amendment(D(6), "changed")
    assert amend("running", D(10), D(6)) == Amendment(D(10), "kept")
    assert amend("completed", D(10), D(20)) == Amendment(D(10), "kept")


def test_the_first_operation_follows_the_material_until_it_is_started() -> None:
    assert first_operation_state("waiting", "ready") == "ready"
    assert first_operation_state("ready", "waiting") == "waiting"
    assert first_operation_state("running", "waiting") == "running"


START = datetime(2026, 11, 23, 6, tzinfo=UTC)


def minutes(count: int) -> datetime:
    return START + timedelta(minutes=count)


def test_oee_of_the_acceptance_story() -> None:
    """PBT 450, APT 405, PRI 0.75, PQ 500, GQ 490 (ISO 22400-2)."""
    states = [
        Interval("running", minutes(0), minutes(405)),
        Interval("down", minutes(405), minutes(430)),
        Interval("idle", minutes(430), minutes(450)),
        Interval("maintenance", minutes(450), minutes(480)),
        Interval("off", minutes(480), minutes(900)),
    ]
    measured = effectiveness(states, [Output(D("0.75"), D(300), D(10), D(0)), Output(D("0.75"), D(190), D(0), D(0))])
    assert (measured.pbt_minutes, measured.apt_minutes) == (450, 405)
    ratios = (measured.availability, measured.effectiveness, measured.quality, measured.oee)
    assert [round(float(r or 0), 4) for r in ratios] == [0.9, 0.9259, 0.98, 0.8167]


def test_oee_of_nothing_is_unknown() -> None:
    measured = effectiveness([], [])
    assert (measured.availability, measured.effectiveness, measured.quality, measured.oee) == (None,) * 4


def test_states_count_only_inside_the_window() -> None:
    states = [Interval("running", minutes(0), minutes(60)), Interval("idle", minutes(60), minutes(90))]
    assert clip(states, minutes(30), minutes(60)) == [Interval("running", minutes(30), minutes(60))]

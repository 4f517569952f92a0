"""The pure rules of orders."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crm.orders import rules
from crm.orders.rules import Line, State, Terms, WantedLine

ITEMS = ("A", "B", "C")
PRICES = {item: Decimal(position + 1) for position, item in enumerate(ITEMS)}
TODAY = date(2026, 11, 23)
states = st.sampled_from(State)
quantities = st.decimals(min_value="0.000001", max_value=1_000_000, places=6)
wanted_lines = st.lists(
    st.builds(
        WantedLine,
        item=st.sampled_from([*ITEMS, "X"]),
        quantity=quantities,
        line=st.none() | st.integers(1, 6),
        unit_price=st.none() | st.decimals(min_value=0, max_value=1000, places=2),
        options=st.none() | st.dictionaries(st.sampled_from(["color", "width"]), st.sampled_from(["1", "2"])),
    ),
    min_size=1,
    max_size=5,
)


@given(states, states, states)
def test_states_only_advance_whatever_the_order_of_reports(start: State, first: State, second: State) -> None:
    one_way = rules.advanced(rules.advanced(start, first), second)
    other_way = rules.advanced(rules.advanced(start, second), first)
    assert one_way == other_way == rules.advanced(one_way, start)


def test_an_order_is_open_until_cancelled_or_shipped() -> None:
    still_open = {State.PLACED, State.PROMISED, State.IN_PRODUCTION, State.COMPLETED}
    assert {state for state in State if rules.is_open(state)} == still_open


@given(st.integers(-4000, 4000))
def test_the_requested_day_lies_within_today_and_five_years(days: int) -> None:
    found = [breach.rule for breach in rules.breaches_of_date(TODAY + timedelta(days), TODAY)]
    assert found == (["not_in_past"] if days < 0 else ["too_far"] if days > 1830 else [])


def existing(lines: list[WantedLine]) -> dict[int, Line]:
    """Lines of an order that was placed with those of `lines` that break no rule."""
    known = [line for line in rules.numbered(lines) if line.item in PRICES]
    unique = list({line.line: line for line in known}.values())
    return {line.line: line for line in rules.agreed_lines(unique, PRICES, {})}


@given(wanted_lines, wanted_lines)
def test_lines_without_breach_become_the_order_and_the_rest_is_withdrawn(
    first: list[WantedLine], second: list[WantedLine]
) -> None:
    before = existing(first)
    wanted = rules.numbered(second)
    found = rules.breaches_of_lines(wanted, PRICES, before, prices_apply=True)
    numbers = [line.line for line in wanted]
    assert bool(found) == (
        len(set(numbers)) < len(numbers)
        or any(line.item not in PRICES for line in wanted)
        or any(line.line in before and before[line.line].item != line.item for line in wanted)
    )
    if found:
        return
    after = rules.agreed_lines(wanted, PRICES, before)
    kept = [line for line in after if not line.withdrawn]
    assert [(line.line, line.item, line.quantity) for line in kept] == sorted(
        (line.line or 0, line.item, line.quantity) for line in wanted
    )
    assert {line.line for line in after} == set(before) | set(numbers)
    assert rules.total(after) == sum(line.quantity * line.unit_price for line in kept)
    assert rules.agreed_lines(wanted, PRICES, {line.line: line for line in after}) == after


@given(wanted_lines, wanted_lines)
def test_exactly_what_differs_is_named(first: list[WantedLine], second: list[WantedLine]) -> None:
    one, two = list(existing(first).values()), list(existing(second).values())
    by_number = {line.line: line for line in one}
    names = rules.changed_fields(Terms(None, TODAY, 1, one), Terms("x", TODAY, 1, two))
    differing = [f"lines/{line.line}" for line in two if by_number.get(line.line) != line]
    assert names == ["customer_reference", *differing]
    assert rules.changed_fields(Terms(None, TODAY, 1, one), Terms(None, TODAY, 1, one)) == []


def test_without_a_price_in_this_currency_only_lines_already_priced_are_taken() -> None:
    wanted = rules.numbered([WantedLine("A", Decimal(1)), WantedLine("B", Decimal(1), unit_price=Decimal(9))])
    before = {1: Line(1, "A", Decimal(5), Decimal(7), {})}
    assert rules.breaches_of_lines(wanted, PRICES, before, prices_apply=False) == []
    (breach,) = rules.breaches_of_lines(wanted, PRICES, {}, prices_apply=False)
    assert (breach.field, breach.rule) == ("/lines/0/unit_price", "price_required")

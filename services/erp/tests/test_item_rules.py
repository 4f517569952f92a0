"""Bills of materials: requirements, roll-up, cycles and low-level codes."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from erp.items.rules import (
    Component,
    Definition,
    RoutingStep,
    broken_rules,
    low_level_codes,
    reaches,
    rolled_up_cost,
)

STEP = RoutingStep(10, "CUT", Decimal(5), Decimal(1))


def definition(
    source: str = "make", components: tuple[Component, ...] = (), routing: tuple[RoutingStep, ...] = (STEP,)
) -> Definition:
    return Definition(
        item="P",
        name="P",
        unit="pcs",
        source=source,
        price=Decimal(0),
        standard_cost=None,
        lead_time_days=0,
        supplier=None,
        minimum_order_quantity=Decimal(0),
        category=None,
        components=components,
        routing=routing,
    )


def component(item: str, quantity: str = "1", scrap: str = "0") -> Component:
    return Component(item, Decimal(quantity), Decimal(scrap))


def test_planned_scrap_raises_the_requirement() -> None:
    """12 m² of leather with 5 % scrap for 4 sofas is 50.4 m²."""
    assert component("LEA", "12", "5").required(Decimal(4)) == Decimal("50.4")


def test_a_requirement_is_never_rounded_down() -> None:
    """A third of a millionth is still needed."""
    assert component("GLUE", "0.000001", "33").required(Decimal(1)) == Decimal("0.000002")


def test_cost_rolls_up_with_planned_scrap() -> None:
    """2 × 1.50 × 1.10 + 1 × 4 = 7.30."""
    costs = {"RM": Decimal("1.5"), "HSG": Decimal(4)}
    assert rolled_up_cost([component("RM", "2", "10"), component("HSG")], costs) == Decimal("7.3000")


def test_recipe_change_lowers_the_roll_up() -> None:
    """110 → 95 g/L of sugar at 0.80/kg is 60.00 less for a batch of 5,000 L."""
    sugar = {"SUG": Decimal("0.80")}
    before = rolled_up_cost([component("SUG", "0.110")], sugar) * 5000
    after = rolled_up_cost([component("SUG", "0.095")], sugar) * 5000
    assert before - after == Decimal("60.00")


def rules_of(found: list[object]) -> list[tuple[str, str]]:
    return [(broken.field, broken.rule) for broken in found]  # type: ignore[attr-defined]


def test_every_broken_rule_is_named_with_its_field() -> None:
    """All of a definition's mistakes come back at once."""
    wrong = definition(components=(component("A"), component("NONE"), component("P"), component("A")), routing=())
    assert rules_of(broken_rules(wrong, {"A"}, {"A": ["B"], "B": ["P"]})) == [
        ("/routing", "routing_required"),
        ("/components/0/item", "bom_cycle"),
        ("/components/1/item", "unknown_item"),
        ("/components/2/item", "bom_cycle"),
        ("/components/3/item", "duplicate_component"),
    ]


def test_bought_items_have_no_bill_and_no_routing() -> None:
    """Components or operations of a bought item are refused."""
    wrong = definition("buy", (component("A"),))
    assert rules_of(broken_rules(wrong, {"A"}, {})) == [
        ("/components", "bought_has_components"),
        ("/routing", "bought_has_routing"),
    ]


def test_an_operation_number_is_used_once() -> None:
    """Two steps with the same number are refused at the second."""
    wrong = definition(routing=(STEP, STEP))
    assert rules_of(broken_rules(wrong, set(), {})) == [("/routing/1/operation", "duplicate_operation")]


def test_low_level_code_is_the_longest_way_down() -> None:
    """A screw used at levels 1 and 3 is numbered 3."""
    parents = {"TOP": [], "A": ["TOP"], "B": ["A"], "SCREW": ["TOP", "B"]}
    assert low_level_codes(parents, {}) == {"TOP": 0, "A": 1, "B": 2, "SCREW": 3}


def test_low_level_code_counts_parents_outside() -> None:
    """A parent that is not renumbered keeps its code and pushes its component below it."""
    assert low_level_codes({"SCREW": ["DEEP"]}, {"DEEP": 7}) == {"SCREW": 8}


edges = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]))


@given(edges)
def test_components_are_always_numbered_below_their_parents(pairs: set[tuple[int, int]]) -> None:
    """In any acyclic structure every code is one more than the highest parent's."""
    parents = {str(n): [str(a) for a, b in sorted(pairs) if b == n] for n in range(10)}
    codes = low_level_codes(parents, {})
    for code, above in parents.items():
        assert codes[code] == max((codes[p] + 1 for p in above), default=0)


@given(edges, st.integers(0, 9), st.integers(0, 9))
def test_reaching_agrees_with_transitive_closure(pairs: set[tuple[int, int]], start: int, goal: int) -> None:
    """`reaches` finds exactly what repeated joining finds."""
    closure = {(n, n) for n in range(10)} | pairs
    while more := {(a, d) for a, b in closure for c, d in closure if b == c} - closure:
        closure |= more
    below = {str(a): [str(b) for x, b in pairs if x == a] for a in range(10)}
    assert reaches(below, str(start), str(goal)) == ((start, goal) in closure)

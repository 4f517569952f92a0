"""Bills of materials: acyclic structure, low-level codes, requirements and cost roll-up."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Literal

_QUANTITY_STEP = Decimal("0.000001")
_COST_STEP = Decimal("0.0001")


@dataclass(frozen=True)
class Component:
    """A line of a bill of materials: `quantity` per unit of the parent, before planned scrap."""

    item: str
    quantity: Decimal
    scrap_percent: Decimal

    @property
    def quantity_per(self) -> Decimal:
        """Per good unit of the parent, planned scrap included: quantity × (1 + scrap/100), rounded up to 10⁻⁶."""
        return self.required(Decimal(1))

    def required(self, parent_quantity: Decimal) -> Decimal:
        """For `parent_quantity` of the parent, planned scrap included, rounded up to 10⁻⁶."""
        exact = parent_quantity * self.quantity * (1 + self.scrap_percent / 100)
        return exact.quantize(_QUANTITY_STEP, rounding=ROUND_CEILING)


@dataclass(frozen=True)
class RoutingStep:
    """One operation of a routing; times in minutes."""

    operation: int
    work_center: str
    setup_minutes: Decimal
    minutes_per_unit: Decimal


@dataclass(frozen=True)
class Definition:
    """What one version of an item says; a standard cost of None is to be rolled up from the components."""

    item: str
    name: str
    unit: str
    source: Literal["make", "buy"]
    price: Decimal
    standard_cost: Decimal | None
    lead_time_days: int
    supplier: str | None
    minimum_order_quantity: Decimal
    category: str | None
    components: tuple[Component, ...]
    routing: tuple[RoutingStep, ...]


@dataclass(frozen=True)
class Broken:
    """A rule an item definition breaks, and the JSON pointer of the field that breaks it."""

    field: str
    rule: str
    message: str


@dataclass(frozen=True)
class ItemSnapshot:
    """An item at its current version, with its bill of materials and routing."""

    item: str
    name: str
    unit: str
    source: Literal["make", "buy"]
    standard_cost: Decimal
    price: Decimal
    lead_time_days: int
    supplier: str | None
    minimum_order_quantity: Decimal
    version: int
    components: tuple[Component, ...]
    routing: tuple[RoutingStep, ...]
    low_level_code: int


def broken_rules(
    definition: Definition, known: Collection[str], structure: Mapping[str, Iterable[str]]
) -> list[Broken]:
    """What is wrong with a definition, given which of its components exist and the components below those."""
    broken: list[Broken] = []
    if definition.source == "buy" and definition.components:
        broken.append(Broken("/components", "bought_has_components", "a bought item has no components"))
    if definition.source == "buy" and definition.routing:
        broken.append(Broken("/routing", "bought_has_routing", "a bought item has no routing"))
    if definition.source == "make" and not definition.routing:
        broken.append(Broken("/routing", "routing_required", "a made item needs at least one routing step"))
    used: set[str] = set()
    for index, component in enumerate(definition.components):
        field = f"/components/{index}/item"
        if component.item in used:
            broken.append(Broken(field, "duplicate_component", f"{component.item!r} is already a component"))
        elif reaches(structure, component.item, definition.item):
            message = f"{definition.item!r} would be a component of itself through {component.item!r}"
            broken.append(Broken(field, "bom_cycle", message))
        elif component.item not in known:
            broken.append(Broken(field, "unknown_item", f"item {component.item!r} is unknown"))
        used.add(component.item)
    operations: set[int] = set()
    for index, step in enumerate(definition.routing):
        if step.operation in operations:
            message = f"operation {step.operation} is already in the routing"
            broken.append(Broken(f"/routing/{index}/operation", "duplicate_operation", message))
        operations.add(step.operation)
    return broken


def rolled_up_cost(components: Iterable[Component], standard_costs: Mapping[str, Decimal]) -> Decimal:
    """Cost of one unit's components at standard, planned scrap included."""
    total = sum((c.quantity_per * standard_costs[c.item] for c in components), Decimal(0))
    return total.quantize(_COST_STEP, rounding=ROUND_HALF_EVEN)


def reaches(components: Mapping[str, Iterable[str]], start: str, goal: str) -> bool:
    """Whether `goal` is `start` or a component of it at any level."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        at = waiting.pop()
        if at == goal:
            return True
        if at not in seen:
            seen.add(at)
            waiting.extend(components.get(at, ()))
    return False


def low_level_codes(parents: Mapping[str, Sequence[str]], known: Mapping[str, int]) -> dict[str, int]:
    """Low-level code of every item in `parents`: one more than its highest parent's, zero without parents.

    `parents` must be acyclic; `known` has the codes of parents that are not themselves in `parents`.
    """
    codes: dict[str, int] = {}
    waiting = list(parents)
    while waiting:
        item = waiting[-1]
        above = [p for p in parents[item] if p in parents and p not in codes] if item not in codes else []
        if above:
            waiting.extend(above)
            continue
        waiting.pop()
        if item not in codes:
            codes[item] = max((codes[p] if p in codes else known[p]) + 1 for p in parents[item]) if parents[item] else 0
    return codes

"""What a plan says of itself: whom it serves, when it is due, whether its material is there. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from erp.items.rules import RoutingStep
from erp.planning.rules import ZERO, Book, SupplyKind, make_minutes

_QUANTITY_STEP = Decimal("0.000001")
# Material dates that move less are not worth a new schedule.
_MATERIAL_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OrderShare:
    """How much of a plan serves an order line, directly or through the plans above it, in the plan's item."""

    order_id: UUID
    order: str
    line: int
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan's events carry of its situation."""

    quantity: Decimal
    due: datetime
    priority: int
    shares: tuple[OrderShare, ...] = ()
    material_ready: bool = False
    material_date: datetime | None = None
    predecessors: tuple[UUID, ...] = ()

    def differs(self, other: "PlanFacts") -> bool:
        """Whether the shop floor must be told."""
        return self._told != other._told or _moved(self.material_date, other.material_date)

    @property
    def _told(self) -> tuple[object, ...]:
        return (self.quantity, self.due, self.priority, self.shares, self.material_ready, self.predecessors)


def facts_of(book: Book, plan_id: UUID, parents: Mapping[UUID, PlanFacts], before: PlanFacts | None) -> PlanFacts:
    """The situation of a plan whose pegs, component demands and parents' facts are loaded.

    A plan nobody is pegged to keeps the due time and priority it had `before`.
    """
    supply = book.supplies[plan_id]
    demands = [book.demands[peg.demand_id] for peg in book.pegs_on(plan_id) if peg.total > 0]
    components = book.components_of(plan_id)
    sources = [
        book.supplies[peg.supply_id] for component in components for peg in book.pegs_of(component) if peg.quantity > 0
    ]
    return PlanFacts(
        quantity=supply.quantity,
        due=min((d.need for d in demands), default=before.due if before else supply.expected),
        priority=max((d.priority for d in demands), default=before.priority if before else 0),
        shares=shares_of(book, plan_id, parents),
        material_ready=all(d.pegged == 0 and d.uncovered <= 0 for d in components),
        material_date=max((s.expected for s in sources if s.kind is SupplyKind.PURCHASE), default=None),
        predecessors=tuple(sorted({s.id for s in sources if s.kind is SupplyKind.PLAN})),
    )


def rank_components(book: Book, plan_id: UUID, facts: PlanFacts, routing: Iterable[RoutingStep]) -> None:
    """Components are as urgent as their plan, and needed when making it must begin to be done when due."""
    begin = facts.due - timedelta(minutes=float(make_minutes(routing, facts.quantity)))
    for component in book.components_of(plan_id):
        component.priority = facts.priority
        component.need = begin


def shares_of(book: Book, supply_id: UUID, parents: Mapping[UUID, PlanFacts]) -> tuple[OrderShare, ...]:
    """Whom a supply serves, by order and line."""
    quantities: dict[tuple[str, int, UUID], Decimal] = defaultdict(Decimal)
    for peg in book.pegs_on(supply_id):
        demand = book.demands[peg.demand_id]
        if demand.order_id is not None and demand.order is not None and demand.line is not None:
            quantities[demand.order, demand.line, demand.order_id] += peg.total
        elif demand.plan_id is not None and (parent := parents[demand.plan_id]).quantity > 0:
            for share in parent.shares:
                quantities[share.order, share.line, share.order_id] += peg.total * share.quantity / parent.quantity
    return tuple(
        OrderShare(order_id, order, line, quantity.quantize(_QUANTITY_STEP))
        for (order, line, order_id), quantity in sorted(quantities.items())
        if quantity > ZERO
    )


def _moved(one: datetime | None, other: datetime | None) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) >= _MATERIAL_TOLERANCE

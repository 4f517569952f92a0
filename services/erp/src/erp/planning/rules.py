"""Netting, pegging and explosion: demands are covered from stock, from supply on its way, else by new supply.

A book holds the planning data of some items in memory. Its methods decide and change the book, nothing else. Between
transactions every demand is covered exactly: quantity = issued + reserved + pegged.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from heapq import heappop, heappush
from uuid import UUID

from erp.items.rules import ItemSnapshot, RoutingStep

ZERO = Decimal(0)
_QUANTITY_STEP = Decimal("0.000001")


class SupplyKind(StrEnum):
    """Where supply comes from."""

    PLAN = "plan"
    PURCHASE = "purchase"


class PlanState(StrEnum):
    """Life of a production plan; cancelled work the shop floor had started comes back as in progress."""

    RELEASED = "released"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CLOSED = "closed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Stock:
    """Balance of one item; available may be negative until reservations are taken back."""

    on_hand: Decimal
    held: Decimal
    reserved: Decimal

    @property
    def available(self) -> Decimal:
        """What may still be reserved."""
        return self.on_hand - self.held - self.reserved


@dataclass(slots=True)
class Demand:
    """A quantity of an item wanted by a customer order line or as a component of a production plan."""

    id: UUID
    item: str
    quantity: Decimal
    priority: int
    need: datetime
    issued: Decimal = ZERO
    reserved: Decimal = ZERO
    pegged: Decimal = ZERO
    order_id: UUID | None = None
    order: str | None = None
    line: int | None = None
    plan_id: UUID | None = None

    @property
    def uncovered(self) -> Decimal:
        """What neither was issued, nor is reserved, nor is on its way; negative when too much is."""
        return self.quantity - self.issued - self.reserved - self.pegged

    @property
    def rank(self) -> tuple[int, datetime, UUID]:
        """Allocation order: highest priority, then earliest need, then oldest."""
        return (-self.priority, self.need, self.id)


@dataclass(slots=True)
class Supply:
    """A quantity of an item on its way: a production plan or a purchase order line."""

    id: UUID
    kind: SupplyKind
    item: str
    quantity: Decimal
    expected: datetime
    received: Decimal = ZERO
    pegged: Decimal = ZERO
    # Whether the shop floor may still be asked to make less.
    shrinkable: bool = False

    @property
    def open(self) -> Decimal:
        """What is still to come."""
        return self.quantity - self.received

    @property
    def free(self) -> Decimal:
        """What is still to come and nobody waits for; negative when less comes than is waited for."""
        return self.open - self.pegged


@dataclass(slots=True)
class Peg:
    """How much of a supply a demand waits for, and how much of it the demand already has."""

    supply_id: UUID
    demand_id: UUID
    quantity: Decimal = ZERO
    received: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """How much of the supply serves the demand, come or to come."""
        return self.quantity + self.received


@dataclass(frozen=True, slots=True)
class NewPlan:
    """A production plan decided on; its components are demands in the book."""

    supply: Supply
    definition: ItemSnapshot


@dataclass(frozen=True, slots=True)
class Requisition:
    """A purchase decided on."""

    supply: Supply
    definition: ItemSnapshot
    due: date


def make_minutes(routing: Iterable[RoutingStep], quantity: Decimal) -> Decimal:
    """Σ setup + minutes per unit × quantity over the routing: the time to make a quantity without waiting."""
    return sum((step.setup_minutes + step.minutes_per_unit * quantity for step in routing), ZERO)


def required(quantity_per: Decimal, quantity: Decimal) -> Decimal:
    """Component quantity for `quantity` of the parent, rounded up to 10⁻⁶."""
    return (quantity_per * quantity).quantize(_QUANTITY_STEP, rounding=ROUND_CEILING)


def delivery_time(due: date) -> datetime:
    """Goods due on a day are there when the day ends."""
    return datetime.combine(due, time.min, UTC) + timedelta(days=1)


@dataclass
class Book:
    """Planning data of some items: loaded, changed by the methods, then saved by the caller."""

    new_id: Callable[[], UUID]
    stock: dict[str, Stock] = field(default_factory=dict)
    demands: dict[UUID, Demand] = field(default_factory=dict)
    supplies: dict[UUID, Supply] = field(default_factory=dict)
    pegs: dict[tuple[UUID, UUID], Peg] = field(default_factory=dict)
    plans: list[NewPlan] = field(default_factory=list)
    requisitions: list[Requisition] = field(default_factory=list)
    # Demands that lost what they had, supplies fewer wait for than before.
    hit: set[UUID] = field(default_factory=set)
    freed: set[UUID] = field(default_factory=set)
    _components: dict[UUID, list[Demand]] = field(default_factory=lambda: defaultdict(list))
    _pegs_of_demand: dict[UUID, list[Peg]] = field(default_factory=lambda: defaultdict(list))
    _pegs_of_supply: dict[UUID, list[Peg]] = field(default_factory=lambda: defaultdict(list))

    def add_demand(self, demand: Demand) -> Demand:
        """The demand of this id in the book: the one already there, else this one."""
        known = self.demands.setdefault(demand.id, demand)
        if known is demand and demand.plan_id is not None:
            self._components[demand.plan_id].append(demand)
        return known

    def add_supply(self, supply: Supply) -> Supply:
        """The supply of this id in the book: the one already there, else this one."""
        return self.supplies.setdefault(supply.id, supply)

    def add_peg(self, peg: Peg) -> Peg:
        """The peg between the two in the book: the one already there, else this one."""
        known = self.pegs.setdefault((peg.supply_id, peg.demand_id), peg)
        if known is peg:
            self._pegs_of_demand[peg.demand_id].append(peg)
            self._pegs_of_supply[peg.supply_id].append(peg)
        return known

    def pegs_of(self, demand: Demand) -> list[Peg]:
        """The loaded pegs of a demand."""
        return self._pegs_of_demand[demand.id]

    def pegs_on(self, supply_id: UUID) -> list[Peg]:
        """The loaded pegs on a supply."""
        return self._pegs_of_supply[supply_id]

    def components_of(self, plan_id: UUID) -> list[Demand]:
        """The loaded component demands of a plan."""
        return self._components[plan_id]

    def uncovered(self) -> list[Demand]:
        """Demands to be covered, first served first."""
        return sorted((d for d in self.demands.values() if d.uncovered > 0), key=lambda d: d.rank)

    def resize(self, demand: Demand, quantity: Decimal) -> None:
        """Want another quantity, never less than was issued; what is too much is given back, what comes last first."""
        demand.quantity = max(quantity, demand.issued)
        excess = max(-demand.uncovered, ZERO)
        unpegged = min(excess, demand.pegged)
        self._unpeg(demand, unpegged)
        self._unreserve(demand, min(excess - unpegged, demand.reserved))

    def issue(self, demand: Demand, quantity: Decimal) -> None:
        """A quantity left stock for the demand; what was issued beyond the demand becomes part of it."""
        used = min(demand.reserved, quantity)
        demand.reserved -= used
        self.stock[demand.item].reserved -= used
        demand.issued += quantity
        self.resize(demand, demand.quantity)

    def receive(self, supply: Supply, quantity: Decimal) -> None:
        """A quantity of the supply came into stock: the demands pegged to it have it now, as far as it is available."""
        supply.received += quantity
        supply.quantity = max(supply.quantity, supply.received)
        left = min(quantity, max(self.stock[supply.item].available, ZERO))
        for peg in self._by_rank(supply):
            moved = min(peg.quantity, left)
            if moved > 0:
                demand = self.demands[peg.demand_id]
                self._move(peg, -moved)
                self._reserve(demand, moved)
                peg.received += moved
                left -= moved
        self.trim(supply)

    def trim(self, supply: Supply) -> None:
        """Less comes than is waited for: those served last wait in vain and are uncovered."""
        for peg in reversed(self._by_rank(supply)):
            lost = min(peg.quantity, -supply.free)
            if lost <= 0:
                continue
            self._move(peg, -lost)
            self.hit.add(peg.demand_id)

    def settle(self, item: str) -> None:
        """Make reservations fit the stock: take back when too much is reserved, else give to those who wait."""
        stock = self.stock[item]
        demands = sorted((d for d in self.demands.values() if d.item == item), key=lambda d: d.rank)
        for demand in reversed(demands):
            taken = min(demand.reserved, -stock.available)
            if taken > 0:
                self._unreserve(demand, taken)
                self.hit.add(demand.id)
        for demand in demands:
            given = min(demand.uncovered + demand.pegged, stock.available)
            if given > 0:
                self._reserve(demand, given)
                self._unpeg(demand, max(-demand.uncovered, ZERO))

    def cover(self, definitions: Mapping[str, ItemSnapshot], now: datetime) -> None:
        """Cover what is uncovered: reserve, peg free supply, else make or buy; level by level down the structure.

        Raises KeyError when an item is not defined.
        """
        waiting: dict[str, list[Demand]] = defaultdict(list)
        levels: list[tuple[int, str]] = []

        def wait(demands: Iterable[Demand]) -> None:
            for demand in demands:
                if demand.item not in waiting:
                    heappush(levels, (definitions[demand.item].low_level_code, demand.item))
                waiting[demand.item].append(demand)

        free: dict[str, list[Supply]] = defaultdict(list)
        for supply in sorted(self.supplies.values(), key=lambda s: (s.expected, s.id)):
            if supply.free > 0:
                free[supply.item].append(supply)
        wait(self.uncovered())
        while levels:
            _, item = heappop(levels)
            demands = sorted(waiting.pop(item), key=lambda d: d.rank)
            for demand in demands:
                self._reserve(demand, min(demand.uncovered, max(self.stock[item].available, ZERO)))
                for supply in free[item]:
                    self._peg(demand, supply, min(demand.uncovered, supply.free))
            short = [demand for demand in demands if demand.uncovered > 0]
            if short:
                wait(self._supply(definitions[item], short, now))

    def surplus(self) -> Iterator[Supply]:
        """Plans nobody waits for any more to their full quantity, and that may still be made smaller."""
        for supply_id in sorted(self.freed):
            supply = self.supplies[supply_id]
            if supply.shrinkable and supply.free > 0:
                yield supply

    def _supply(self, definition: ItemSnapshot, short: list[Demand], now: datetime) -> list[Demand]:
        quantity = sum((demand.uncovered for demand in short), ZERO)
        need = min(demand.need for demand in short)
        if definition.source == "buy":
            due = now.date() + timedelta(days=definition.lead_time_days)
            quantity = max(quantity, definition.minimum_order_quantity)
            supply = Supply(self.new_id(), SupplyKind.PURCHASE, definition.item, quantity, delivery_time(due))
            self.requisitions.append(Requisition(supply, definition, due))
        else:
            supply = Supply(self.new_id(), SupplyKind.PLAN, definition.item, quantity, need, shrinkable=True)
            self.plans.append(NewPlan(supply, definition))
        self.supplies[supply.id] = supply
        for demand in short:
            self._peg(demand, supply, demand.uncovered)
        if supply.kind is SupplyKind.PURCHASE:
            return []
        priority = max(demand.priority for demand in short)
        begin = need - timedelta(minutes=float(make_minutes(definition.routing, quantity)))
        return [
            self.add_demand(
                Demand(
                    self.new_id(),
                    component.item,
                    required(component.quantity_per, quantity),
                    priority,
                    begin,
                    plan_id=supply.id,
                )
            )
            for component in definition.components
        ]

    def _by_rank(self, supply: Supply) -> list[Peg]:
        return sorted(self.pegs_on(supply.id), key=lambda peg: self.demands[peg.demand_id].rank)

    def _reserve(self, demand: Demand, quantity: Decimal) -> None:
        demand.reserved += quantity
        self.stock[demand.item].reserved += quantity

    def _unreserve(self, demand: Demand, quantity: Decimal) -> None:
        demand.reserved -= quantity
        self.stock[demand.item].reserved -= quantity
        for peg in self._latest_first(demand):
            lost = min(peg.received, quantity)
            peg.received -= lost
            quantity -= lost

    def _peg(self, demand: Demand, supply: Supply, quantity: Decimal) -> None:
        if quantity > 0:
            self._move(self.add_peg(Peg(supply.id, demand.id)), quantity)

    def _unpeg(self, demand: Demand, quantity: Decimal) -> None:
        for peg in self._latest_first(demand):
            lost = min(peg.quantity, quantity)
            if lost > 0:
                self._move(peg, -lost)
                self.freed.add(peg.supply_id)
                quantity -= lost

    def _move(self, peg: Peg, quantity: Decimal) -> None:
        peg.quantity += quantity
        self.demands[peg.demand_id].pegged += quantity
        self.supplies[peg.supply_id].pegged += quantity

    def _latest_first(self, demand: Demand) -> list[Peg]:
        return sorted(self.pegs_of(demand), key=lambda peg: peg.supply_id, reverse=True)

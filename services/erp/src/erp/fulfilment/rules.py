"""The process of a customer order as a pure transition function, and which picks of a shipment stand. Pure.

An order is open until every line is reserved from stock (allocated), which plans its shipment; then it is shipped,
delivered and closed. Whatever comes late or twice leaves the state as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)


class State(StrEnum):
    """Where an order stands."""

    OPEN = "open"
    ALLOCATED = "allocated"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What happens to an order."""

    AMENDED = "amended"
    CANCELLED = "cancelled"
    ALLOCATED = "allocated"
    ALLOCATION_LOST = "allocation_lost"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    INVOICED = "invoiced"


class Command(StrEnum):
    """What is to be done about it."""

    PLAN_DEMANDS = "plan_demands"
    WITHDRAW_DEMANDS = "withdraw_demands"
    PICK = "pick"
    DROP_PICKS = "drop_picks"
    CANCEL_SHIPMENT = "cancel_shipment"
    INVOICE = "invoice"


_TRANSITIONS: Mapping[tuple[State, Event], tuple[State, tuple[Command, ...]]] = {
    (State.OPEN, Event.AMENDED): (State.OPEN, (Command.PLAN_DEMANDS,)),
    (State.OPEN, Event.CANCELLED): (State.CANCELLED, (Command.WITHDRAW_DEMANDS, Command.CANCEL_SHIPMENT)),
    (State.OPEN, Event.ALLOCATED): (State.ALLOCATED, (Command.PICK,)),
    (State.OPEN, Event.ALLOCATION_LOST): (State.OPEN, (Command.DROP_PICKS,)),
    (State.ALLOCATED, Event.AMENDED): (State.ALLOCATED, (Command.PLAN_DEMANDS,)),
    (State.ALLOCATED, Event.CANCELLED): (State.CANCELLED, (Command.WITHDRAW_DEMANDS, Command.CANCEL_SHIPMENT)),
    (State.ALLOCATED, Event.ALLOCATED): (State.ALLOCATED, (Command.PICK,)),
    (State.ALLOCATED, Event.ALLOCATION_LOST): (State.OPEN, (Command.DROP_PICKS,)),
    (State.ALLOCATED, Event.SHIPPED): (State.SHIPPED, (Command.INVOICE,)),
    (State.SHIPPED, Event.DELIVERED): (State.DELIVERED, ()),
    (State.DELIVERED, Event.INVOICED): (State.CLOSED, ()),
}


def transition(state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """The next state and what is to be done; an event that does not fit the state changes nothing."""
    return _TRANSITIONS.get((state, event), (state, ()))


@dataclass(frozen=True)
class Lot:
    """A lot some of which is picked."""

    released: bool
    held: bool
    quantity: Decimal
    picked: Decimal


@dataclass
class PickedLine:
    """A shipment line: what is wanted of an item, what is reserved for it, what is picked in which lots."""

    line: int
    item: str
    quantity: Decimal
    reserved: Decimal
    picks: dict[str, Decimal] = field(default_factory=dict)

    @property
    def missing(self) -> Decimal:
        """What is still to be picked."""
        return self.quantity - sum(self.picks.values(), ZERO)


def allocated(lines: Iterable[tuple[Decimal, Decimal]]) -> bool:
    """Whether everything open, as (open quantity, reserved) per line, is reserved, and anything is open."""
    known = list(lines)
    return any(open_quantity > 0 for open_quantity, _ in known) and all(
        open_quantity == reserved for open_quantity, reserved in known
    )


def drop_broken(line: PickedLine, lots: Mapping[str, Lot], excess: dict[str, Decimal], keep_held: bool) -> None:
    """Keep the picks that stand: no more than the lot has and is reserved for the line, and none in scrapped lots.

    `excess` is what more is picked in a lot than it has; what is dropped lowers it. Picks in held lots stay only when
    `keep_held`: nothing else can take their place, and the held lot stops the shipment.
    """
    allowed = min(line.reserved, line.quantity)
    for lot, picked in list(line.picks.items()):
        known = lots[lot]
        if known.held:
            kept = picked if keep_held else ZERO
        elif known.released:
            kept = max(min(picked - max(excess.get(lot, ZERO), ZERO), allowed), ZERO)
            allowed -= kept
        else:
            kept = ZERO
        if lot in excess:
            excess[lot] -= picked - kept
        if kept > 0:
            line.picks[lot] = kept
        else:
            del line.picks[lot]

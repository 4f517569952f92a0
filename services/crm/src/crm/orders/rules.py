"""The rules of customer orders: what may be ordered, what may be amended, and how the state moves.

Everything here is pure. A broken rule is a `Breach`; the caller refuses the request with all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import count

HORIZON = timedelta(days=5 * 366)


class State(StrEnum):
    """How far an order is. It moves to a later state only.

    Cancelled ranks before shipped: goods that left before the cancellation arrived did leave.
    """

    PLACED = "placed"
    PROMISED = "promised"
    IN_PRODUCTION = "in_production"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CLOSED = "closed"


_RANK = {state: rank for rank, state in enumerate(State)}

REACHED_BY_FULFILMENT = {
    "open": State.PLACED,
    "allocated": State.COMPLETED,
    "shipped": State.SHIPPED,
    "delivered": State.DELIVERED,
    "closed": State.CLOSED,
    "cancelled": State.CANCELLED,
}
"""The state an order has at least reached, by the state of its fulfilment in ERP."""


@dataclass(frozen=True)
class Breach:
    """One broken rule; `field` is a JSON pointer into the request."""

    field: str
    rule: str
    message: str


@dataclass(frozen=True)
class Line:
    """A line of an order."""

    line: int
    item: str
    quantity: Decimal
    unit_price: Decimal
    options: Mapping[str, str]
    withdrawn: bool = False


@dataclass(frozen=True)
class WantedLine:
    """A line as requested; None is left out: number by position, price and options as they are or by the catalogue."""

    item: str
    quantity: Decimal
    line: int | None = None
    unit_price: Decimal | None = None
    options: Mapping[str, str] | None = None


@dataclass(frozen=True)
class WantedOrder:
    """An order as requested; None is left out: the customer's own priority, the house currency."""

    customer: str | None
    requested_date: date
    lines: Sequence[WantedLine]
    customer_reference: str | None = None
    priority: int | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Terms:
    """The part of an order its customer may amend."""

    customer_reference: str | None
    requested_date: date
    priority: int
    lines: Sequence[Line] = field(default_factory=tuple)


def advanced(state: State, reached: State) -> State:
    """The later of the two states."""
    return max(state, reached, key=_RANK.__getitem__)


def is_open(state: State) -> bool:
    """Whether nothing has shipped and nothing was cancelled, so that the order may still change."""
    return _RANK[state] < _RANK[State.CANCELLED]


def total(lines: Iterable[Line]) -> Decimal:
    """Σ quantity × unit price, not yet rounded to the currency's minor unit."""
    return sum((line.quantity * line.unit_price for line in lines if not line.withdrawn), Decimal(0))


def numbered(lines: Sequence[WantedLine]) -> list[WantedLine]:
    """The lines with every number; one left out takes its position, counted from 1."""
    return [replace(wanted, line=wanted.line or position) for position, wanted in zip(count(1), lines, strict=False)]


def breaches_of_date(requested: date, today: date) -> list[Breach]:
    """The requested day is not past (today in UTC) and at most five years away."""
    if requested < today:
        return [Breach("/requested_date", "not_in_past", f"{requested} is before today, {today}")]
    if requested > today + HORIZON:
        return [Breach("/requested_date", "too_far", f"{requested} is more than five years away")]
    return []


def breaches_of_lines(
    wanted: Sequence[WantedLine], prices: Mapping[str, Decimal], before: Mapping[int, Line], prices_apply: bool
) -> list[Breach]:
    """Rules of the numbered lines: known items, each number once and for one item only, a price to be found.

    `prices` is the catalogue's; it applies only to orders in the house currency. `before` holds the lines an amended
    order has or had, by number.
    """
    found: list[Breach] = []
    seen: set[int] = set()
    for index, line in enumerate(wanted):
        at = f"/lines/{index}"
        old = before.get(line.line or 0)
        if line.line in seen:
            found.append(Breach(f"{at}/line", "duplicate_line", f"line {line.line} is given twice"))
        seen.add(line.line or 0)
        if line.item not in prices:
            found.append(Breach(f"{at}/item", "unknown_item", f"item {line.item!r} is not in the catalogue"))
        elif old is not None and old.item != line.item:
            message = f"line {line.line} is {old.item!r}; withdraw it and add {line.item!r} under another number"
            found.append(Breach(f"{at}/item", "line_item_fixed", message))
        elif line.unit_price is None and old is None and not prices_apply:
            message = "the catalogue has no price in this currency"
            found.append(Breach(f"{at}/unit_price", "price_required", message))
    return found


def agreed_lines(
    wanted: Sequence[WantedLine], prices: Mapping[str, Decimal], before: Mapping[int, Line]
) -> tuple[Line, ...]:
    """The numbered lines as they become part of the order, then the lines that are thereby withdrawn."""
    agreed: dict[int, Line] = {}
    for line in wanted:
        number = line.line or 0
        old = before.get(number, Line(number, line.item, line.quantity, prices[line.item], {}))
        agreed[number] = Line(
            line=number,
            item=line.item,
            quantity=line.quantity,
            unit_price=old.unit_price if line.unit_price is None else line.unit_price,
            options=old.options if line.options is None else line.options,
        )
    gone = [replace(old, withdrawn=True) for number, old in before.items() if number not in agreed]
    return tuple(sorted([*agreed.values(), *gone], key=lambda line: line.line))


def as_shipped(before: Sequence[Line], quantities: Mapping[int, Decimal]) -> tuple[Line, ...]:
    """The lines with the quantities that left the house, by line; one of which nothing was to leave is withdrawn."""
    return tuple(
        replace(line, quantity=quantity, withdrawn=False)
        if (quantity := quantities.get(line.line, Decimal(0)))
        else replace(line, withdrawn=True)
        for line in before
    )


def changed_fields(before: Terms, after: Terms) -> list[str]:
    """Names of what differs; a line as ``lines/<line>``."""
    names = [f.name for f in fields(Terms) if f.name != "lines" and getattr(before, f.name) != getattr(after, f.name)]
    return names + [f"lines/{line.line}" for line in changed_lines(before.lines, after.lines)]


def changed_lines(before: Sequence[Line], after: Sequence[Line]) -> list[Line]:
    """The lines of `after` that are new or differ."""
    known = {line.line: line for line in before}
    return [line for line in after if known.get(line.line) != line]

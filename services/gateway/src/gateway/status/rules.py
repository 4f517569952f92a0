"""The order-status view as a pure function of facts, so that any interleaving of events gives the same view."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

STAGES = ("placed", "promised", "planned", "in_production", "completed", "shipped", "delivered", "closed")
"""Stages in order; a view shows the highest that any fact vouches for, so it never goes back.

A cancellation ranks before shipped: goods that left before it arrived did leave.
"""
CANCELLED = "cancelled"

_STAGE_OF_FULFILMENT = {"allocated": "completed", "shipped": "shipped", "delivered": "delivered", "closed": "closed"}
_ZERO = Decimal(0)
_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True)
class OrderedLine:
    """A line as the customer ordered it."""

    line: int
    item: str
    quantity: Decimal


@dataclass(frozen=True)
class OrderFact:
    """The newest state of the customer's order."""

    order_id: str
    number: str
    customer: str
    version: int
    requested_date: date
    lines: Sequence[OrderedLine]
    cancelled: bool = False
    # When it was so, where no event tells it.
    as_of: datetime | None = None


@dataclass(frozen=True)
class Reason:
    """Why the promise is what it is."""

    code: str
    text: str
    event_id: str | None


@dataclass(frozen=True)
class PromiseFact:
    """The newest promise."""

    promised_date: date
    eta: datetime
    reason: Reason


@dataclass(frozen=True)
class LineFact:
    """The newest fulfilment of one line."""

    line: int
    reserved: Decimal
    planned: Decimal
    produced: Decimal
    shipped: Decimal
    delivered: Decimal
    lots: Sequence[str]


@dataclass(frozen=True)
class FulfilmentFact:
    """The newest fulfilment, and the furthest stage it ever vouched for (rank in STAGES; 0 for none)."""

    state: str
    reached: int
    lines: Mapping[int, LineFact]


@dataclass(frozen=True)
class WorkOrderFact:
    """The newest state of a work order that serves, or ever served, a line of the order.

    ``pegged`` is the largest quantity that ever served the line, ``pegged_in_all`` the sum over all orders' lines.
    """

    number: str
    item: str
    line: int
    pegged: Decimal
    pegged_in_all: Decimal
    quantity: Decimal
    scrap: Decimal
    percent: Decimal
    started: bool
    cancelled: bool
    lots: Sequence[str]


@dataclass(frozen=True)
class TrailEntry:
    """One event of the order's story."""

    event_id: str
    type: str
    time: datetime
    causation_id: str | None
    text: str


@dataclass(frozen=True)
class Facts:
    """Everything known of one order."""

    order: OrderFact
    promise: PromiseFact | None = None
    fulfilment: FulfilmentFact | None = None
    planned: bool = False
    work_orders: Sequence[WorkOrderFact] = ()
    lot_states: Mapping[str, str] = field(default_factory=dict)
    trail: Sequence[TrailEntry] = ()


@dataclass(frozen=True)
class StatusLine:
    """One line of the view."""

    line: int
    item: str
    quantity: Decimal
    reserved: Decimal
    planned: Decimal
    produced: Decimal
    scrapped: Decimal
    shipped: Decimal
    delivered: Decimal
    open: Decimal
    cancelled: Decimal
    work_orders: Sequence[str]
    lots: Sequence[str]


@dataclass(frozen=True)
class Status:
    """The order-status view."""

    order_id: str
    number: str
    customer: str
    version: int
    stage: str
    progress: float
    requested_date: date
    promised_date: date | None
    eta: datetime | None
    reason: Reason | None
    flags: Sequence[str]
    lines: Sequence[StatusLine]
    trail: Sequence[TrailEntry]
    as_of: datetime | None


def status(facts: Facts) -> Status:
    """The view of one order."""
    order, promise = facts.order, facts.promise
    return Status(
        order_id=order.order_id,
        number=order.number,
        customer=order.customer,
        version=order.version,
        stage=stage(facts),
        progress=progress(facts),
        requested_date=order.requested_date,
        promised_date=promise.promised_date if promise else None,
        eta=promise.eta if promise else None,
        reason=promise.reason if promise else None,
        flags=flags(facts),
        lines=[_line(facts, ordered) for ordered in order.lines],
        trail=facts.trail,
        as_of=max((entry.time for entry in facts.trail), default=order.as_of),
    )


def fulfilment_rank(state: str) -> int:
    """Rank in STAGES of the stage a fulfilment state vouches for; 0 when it vouches for none."""
    return STAGES.index(_STAGE_OF_FULFILMENT[state]) if state in _STAGE_OF_FULFILMENT else 0


def stage(facts: Facts) -> str:
    """The furthest stage any fact vouches for; cancelled once the order was withdrawn before it left."""
    if _cancelled(facts):
        return CANCELLED
    vouched = {
        "placed": True,
        "promised": facts.promise is not None,
        "planned": facts.planned,
        "in_production": any(work.started for work in facts.work_orders),
    }
    rank = max(STAGES.index(name) for name, true in vouched.items() if true)
    return STAGES[max(rank, facts.fulfilment.reached if facts.fulfilment else 0)]


def progress(facts: Facts) -> float:
    """Percent of the ordered quantity that is ready, work in process counted by its work orders' percent.

    A line's done quantity is reserved + shipped, or, when that is more, what came from elsewhere than production plus
    Σ min(pegged, quantity − scrap) × percent / 100 over its work orders; never more than ordered. 100 once shipped.
    """
    if _reached(facts, "shipped"):
        return 100.0
    ordered = sum((line.quantity for line in facts.order.lines), _ZERO)
    if not ordered:
        return 0.0
    done = sum((_done(facts, line) for line in facts.order.lines), _ZERO)
    return float((done * 100 / ordered).quantize(Decimal("0.1"), rounding=ROUND_HALF_EVEN))


def _done(facts: Facts, ordered: OrderedLine) -> Decimal:
    known = _line_fact(facts, ordered.line)
    ready = known.reserved + known.shipped
    made = sum(
        (
            min(work.pegged, max(_ZERO, work.quantity - work.scrap)) * work.percent / 100
            for work in _work_on(facts, ordered)
        ),
        _ZERO,
    )
    elsewhere = max(_ZERO, ready - known.produced)
    return min(ordered.quantity, max(ready, elsewhere + max(known.produced, made)))


def flags(facts: Facts) -> list[str]:
    """``late``: promised or expected after the requested day. ``held``: a lot made, picked or shipped for it is held.

    ``amended``: the customer changed the order. ``cancelled``: the customer withdrew it.
    """
    cancelled, promise, requested = _cancelled(facts), facts.promise, facts.order.requested_date
    late = promise is not None and max(promise.promised_date, promise.eta.date()) > requested
    held = any(facts.lot_states.get(lot) == "held" for lot in _lots_at_stake(facts))
    # Withdrawing an order is one more version of it, but no amendment.
    amended = facts.order.version > (2 if facts.order.cancelled else 1)
    shown = {
        "late": late and not cancelled,
        "held": held and not cancelled,
        "amended": amended,
        "cancelled": cancelled,
    }
    return [name for name, true in shown.items() if true]


def _lots_at_stake(facts: Facts) -> Iterable[str]:
    """Lots that matter to the order: those made or picked for it until it is shipped, then those in the shipment."""
    for line in (facts.fulfilment.lines if facts.fulfilment else {}).values():
        yield from line.lots
    if not _reached(facts, "shipped"):
        for work in facts.work_orders:
            yield from work.lots


def _line(facts: Facts, ordered: OrderedLine) -> StatusLine:
    known = _line_fact(facts, ordered.line)
    work_orders = _work_on(facts, ordered)
    left, cancelled = ordered.quantity - known.shipped, _cancelled(facts)
    return StatusLine(
        line=ordered.line,
        item=ordered.item,
        quantity=ordered.quantity,
        reserved=known.reserved,
        planned=known.planned,
        produced=known.produced,
        scrapped=sum((_scrap_share(work) for work in work_orders), _ZERO),
        shipped=known.shipped,
        delivered=known.delivered,
        open=_ZERO if cancelled else left,
        cancelled=left if cancelled else _ZERO,
        work_orders=sorted({work.number for work in facts.work_orders if work.line == ordered.line}),
        lots=sorted({*known.lots, *(lot for work in work_orders for lot in work.lots)}),
    )


def _scrap_share(work: WorkOrderFact) -> Decimal:
    """Scrap of a work order is borne by the lines it serves in proportion to what each was to get."""
    if not work.pegged_in_all:
        return _ZERO
    return (work.scrap * work.pegged / work.pegged_in_all).quantize(_MILLIONTH, rounding=ROUND_HALF_EVEN)


def _work_on(facts: Facts, ordered: OrderedLine) -> list[WorkOrderFact]:
    """Work orders that make the line's own item (others make its components), unless withdrawn."""
    return [
        work
        for work in facts.work_orders
        if work.line == ordered.line and work.item == ordered.item and not work.cancelled
    ]


def _line_fact(facts: Facts, line: int) -> LineFact:
    known = facts.fulfilment.lines.get(line) if facts.fulfilment else None
    return known or LineFact(line, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, ())


def _reached(facts: Facts, name: str) -> bool:
    return facts.fulfilment is not None and facts.fulfilment.reached >= STAGES.index(name)


def _cancelled(facts: Facts) -> bool:
    if _reached(facts, "shipped"):
        return False
    return facts.order.cancelled or (facts.fulfilment is not None and facts.fulfilment.state == CANCELLED)

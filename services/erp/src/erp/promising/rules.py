"""When an order will arrive and what it waits for; when a promise is revised. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

Basis = Literal["stock", "plan", "purchase"]

SHIPPING = timedelta(days=1)
AMENDED = "AMENDED"
# What the shop floor or a supplier did to us: the customer is told as soon as it moves the arrival at all.
PLANT_EXCEPTIONS = frozenset({"MACHINE_DOWN", "NO_CAPACITY", "DEFECT", "SCRAP", "MATERIAL_SHORTAGE", AMENDED})
_SCHEDULE_EXCEPTIONS = frozenset({"MACHINE_DOWN", "NO_CAPACITY"})
_LASTING_CAUSES = frozenset({"DEFECT", "SCRAP"})
# Told even when the work could be moved and the arrival stays.
_TOLD_AT_ONCE = frozenset({"MACHINE_DOWN", "DEFECT", "SCRAP"})
_EXCEPTION_STEP = timedelta(minutes=1)
_SMALL_STEP = timedelta(minutes=15)
_BIG_STEP = timedelta(hours=1)


@dataclass(frozen=True)
class Why:
    """A stable code, a sentence for people, the event behind it."""

    code: str
    text: str
    event_id: str | None = None


@dataclass(frozen=True)
class Delivery:
    """A purchase order line that is waited for."""

    item: str
    purchase_order: str
    expected: datetime


@dataclass(frozen=True)
class Make:
    """A production plan that is waited for, and the supplies its components wait for."""

    plan: str
    item: str
    # To make the quantity without waiting.
    duration: timedelta
    planned_end: datetime | None
    schedule_reason: Why | None
    reason: Why | None
    components: Sequence[UUID] = field(default_factory=tuple)


Supplies = Mapping[UUID, Delivery | Make]


@dataclass(frozen=True)
class Ready:
    """When something is there, what that rests on, and why not earlier."""

    at: datetime
    basis: Basis
    why: Why


@dataclass(frozen=True)
class Promise:
    """What a customer was told."""

    promised_date: date
    eta: datetime
    basis: Basis
    why: Why


def arrival(waiting_for: Sequence[UUID], supplies: Supplies, now: datetime) -> Ready:
    """When an order that waits for these supplies arrives: shipping takes a day after the last is there."""
    known: dict[UUID, Ready] = {}
    latest = Ready(now, "stock", Why("STOCK", "everything is in stock"))
    for supply_id in waiting_for:
        latest = _later(latest, _ready(supply_id, supplies, now, known))
    return Ready(latest.at + SHIPPING, latest.basis, latest.why)


def first_promise(expected: Ready) -> Promise:
    """The day of the expected arrival is promised."""
    return Promise(expected.at.date(), expected.at, expected.basis, expected.why)


def revised(told: Promise, expected: Ready, *, cause: Why | None = None, amended: bool = False) -> Promise | None:
    """The new promise when the arrival moved enough to tell, else None.

    `cause` is what just happened to this order. The promised day moves only when it would be missed, or to the new
    arrival when the customer `amended` the order.
    """
    why = cause or expected.why
    news = (why.code, why.event_id) != (told.why.code, told.why.event_id)
    moved = abs(expected.at - told.eta)
    if expected.basis == told.basis == "stock" and not amended:
        return None
    if why.code in _TOLD_AT_ONCE and news:
        tell = True
    elif why.code in PLANT_EXCEPTIONS and news:
        tell = moved >= _EXCEPTION_STEP
    else:
        other = expected.at.date() != told.eta.date() or why.code != told.why.code
        tell = moved >= _SMALL_STEP and (other or moved >= _BIG_STEP)
    if not tell:
        return None
    day = expected.at.date() if amended else max(told.promised_date, expected.at.date())
    return Promise(day, expected.at, expected.basis, why)


def minutes(quantity: Decimal) -> timedelta:
    """A duration given in minutes."""
    return timedelta(minutes=float(quantity))


def _ready(supply_id: UUID, supplies: Supplies, now: datetime, known: dict[UUID, Ready]) -> Ready:
    if supply_id not in known:
        supply = supplies[supply_id]
        if isinstance(supply, Delivery):
            known[supply_id] = _delivered(supply, now)
        else:
            material = Ready(now, "stock", Why("STOCK", "all material is there"))
            for component in supply.components:
                material = _later(material, _ready(component, supplies, now, known))
            known[supply_id] = _made(supply, material, now)
    return known[supply_id]


def _delivered(supply: Delivery, now: datetime) -> Ready:
    # Expected by the end of its due day.
    due = (supply.expected - timedelta(microseconds=1)).date()
    text = f"MATERIAL_SHORTAGE:{supply.item} waits for {supply.purchase_order} due {due}"
    return Ready(max(supply.expected, now), "purchase", Why("MATERIAL_SHORTAGE", text))


def _made(supply: Make, material: Ready, now: datetime) -> Ready:
    end = max(supply.planned_end, now) if supply.planned_end else max(material.at, now) + supply.duration
    scheduled = supply.schedule_reason
    if scheduled is not None and scheduled.code in _SCHEDULE_EXCEPTIONS:
        return Ready(end, "plan", scheduled)
    if material.at > now and material.why.code in PLANT_EXCEPTIONS:
        return Ready(end, material.basis, material.why)
    if supply.reason is not None and supply.reason.code in _LASTING_CAUSES:
        return Ready(end, "plan", supply.reason)
    if scheduled is not None:
        return Ready(end, "plan", scheduled)
    return Ready(end, "plan", Why("PLAN", f"{supply.plan} makes {supply.item}"))


def _later(one: Ready, other: Ready) -> Ready:
    if one.basis == "stock":
        return other if other.at >= one.at else one
    return other if other.at > one.at else one

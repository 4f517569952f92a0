"""The sentences customers read. Pure text: days and reasons in, one or two full sentences out."""

from datetime import UTC, date, datetime
from enum import StrEnum

_LONGEST = 1000
# The plant at its daily work: a customer hears of these only when a day moves.
ORDINARY_REASONS = frozenset({"STOCK", "PLAN", "SCHEDULE", "PROGRESS"})


class Milestone(StrEnum):
    """What a customer is told about."""

    CONFIRMED = "confirmed"
    PROMISED = "promised"
    PROMISE_REVISED = "promise_revised"
    STARTED = "started"
    COMPLETED = "completed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    AMENDED_TOO_LATE = "amended_too_late"


def confirmed(order: str, requested: date) -> str:
    """The order was received."""
    return (
        f"Thank you for your order {order}: we have received it with your requested date {day(requested)}, "
        "and will tell you the promised delivery day shortly."
    )


def promised(order: str, promised_date: date, requested: date) -> str:
    """The first promise; says so when it is later than requested."""
    later = f" This is later than the {day(requested)} you asked for, and we are sorry for that."
    return f"Your order {order} will be delivered by {day(promised_date)}.{later if promised_date > requested else ''}"


def promise_revised(
    order: str, *, old_promise: date, new_promise: date, old_eta: datetime, new_eta: datetime, reason: str
) -> str:
    """The promise or the expected arrival moved, and why."""
    old_day, new_day = old_eta.astimezone(UTC).date(), new_eta.astimezone(UTC).date()
    if old_promise != new_promise:
        told = f"The promised delivery day of your order {order} changes from {day(old_promise)} to {day(new_promise)}."
    elif old_day != new_day:
        told = (
            f"Your order {order} is now expected on {day(new_day)} instead of {day(old_day)}; "
            f"the promised day, {day(new_promise)}, stays."
        )
    elif hour(old_eta) != hour(new_eta):
        told = (
            f"Your order {order} is still expected on {day(new_day)}, now at about {hour(new_eta)} instead of "
            f"{hour(old_eta)}."
        )
    else:
        told = f"Your order {order} is still expected on {day(new_day)} at about {hour(new_eta)}."
    return f"{told} The reason: {reason.rstrip('.')}."


def amended_too_late(order: str) -> str:
    """Goods left before the amendment was known where they are."""
    return f"Your order {order} had left our warehouse before your last change reached it; it stays as it was shipped."


def started(order: str, item: str) -> str:
    """Production began."""
    return f"Good news: production for your order {order} has started with {item}."


def completed(order: str) -> str:
    """Everything ordered is ready."""
    return f"Everything you ordered with {order} is ready and waits for shipment."


def shipped(order: str, shipment: str, shipped_at: datetime) -> str:
    """The goods left the house."""
    return f"Your order {order} left our warehouse on {day(shipped_at.astimezone(UTC).date())} as shipment {shipment}."


def delivered(order: str, shipment: str, delivered_at: datetime) -> str:
    """The goods arrived."""
    return (
        f"Shipment {shipment} of your order {order} was delivered on {day(delivered_at.astimezone(UTC).date())}. "
        "Thank you for ordering with us."
    )


def cancelled(order: str, reason: str) -> str:
    """The order was withdrawn."""
    return f"Your order {order} was cancelled as requested. The reason given: {reason.rstrip('.')}."


def day(value: date) -> str:
    """A day for people: ``24 November 2026``."""
    return f"{value.day} {value:%B %Y}"


def hour(value: datetime) -> str:
    """A time of day for people: ``14:05 UTC``."""
    return f"{value.astimezone(UTC):%H:%M} UTC"


def shortened(text: str) -> str:
    """The text within the longest a notice may be."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

"""Rules of work orders: how far one is, and what a changed plan still changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

OPEN_STATES = ("created", "scheduled", "running")
UNSTARTED_STATES = ("created", "scheduled")


@dataclass(frozen=True)
class Step:
    """One operation as far as progress is concerned."""

    setup_minutes: Decimal
    minutes_per_unit: Decimal
    quantity: Decimal
    processed: Decimal
    done: bool


def percent(work_order_quantity: Decimal, steps: Iterable[Step]) -> float:
    """Share of the standard minutes done, 0 to 100; it never falls while the steps progress.

    Each step weighs its standard minutes for the whole work order and counts by the share of its input processed.
    Steps without standard minutes weigh the same.
    """
    known = list(steps)
    minutes = [s.setup_minutes + s.minutes_per_unit * work_order_quantity for s in known]
    total = sum(minutes)
    weights = minutes if total else [Decimal(1)] * len(known)
    done = sum((weight * _share(step) for weight, step in zip(weights, known, strict=True)), Decimal(0))
    return float(round(100 * done / (total or len(known)), 2))


def _share(step: Step) -> Decimal:
    if step.done:
        return Decimal(1)
    return min(step.processed / step.quantity, Decimal(1)) if step.quantity else Decimal(0)


@dataclass(frozen=True)
class Amendment:
    """What a changed plan does to a work order: the quantity that will be made, and the answer to ERP."""

    quantity: Decimal
    outcome: Literal["changed", "kept"]


def amend(state: str, quantity: Decimal, wanted: Decimal) -> Amendment:
    """Unstarted work takes the wanted quantity; started work keeps its own."""
    if state in UNSTARTED_STATES:
        return Amendment(wanted, "changed")
    return Amendment(quantity, "kept")


def first_operation_state(state: str, material_status: str) -> str:
    """State of the first operation: ready once the material is, but what was started stays started."""
    if state not in ("waiting", "ready"):
        return state
    return "ready" if material_status == "ready" else "waiting"

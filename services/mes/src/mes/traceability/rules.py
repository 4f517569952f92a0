"""Pure rules of lots: which status may follow, what may be consumed, which lots to take first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

Status = Literal["released", "held", "scrapped"]
Disposition = Literal["hold", "release", "scrap"]
Refusal = Literal["not_released", "exceeds_lot"]
Tally = Literal["received", "adjusted", "shipped"]

_NEXT: Mapping[tuple[str, Disposition], Status] = MappingProxyType(
    {
        ("released", "hold"): "held",
        ("held", "release"): "released",
        ("released", "scrap"): "scrapped",
        ("held", "scrap"): "scrapped",
    }
)

# Reasons of the stock ledger that tell MES something new. The others (production_receipt, issue, scrap) repeat what
# MES itself did.
_TALLIES: Mapping[str, tuple[Tally, int]] = MappingProxyType(
    {
        "purchase_receipt": ("received", 1),
        "receipt": ("received", 1),
        "count": ("adjusted", 1),
        "correction": ("adjusted", 1),
        "shipment": ("shipped", -1),
    }
)


@dataclass(frozen=True)
class Available:
    """A lot and what is left of it."""

    lot: str
    quantity: Decimal


def next_status(status: str, disposition: Disposition) -> Status | None:
    """The status after a disposition, or None when the lot's status does not allow it."""
    return _NEXT.get((status, disposition))


def consumption_refusal(status: str, left: Decimal, wanted: Decimal) -> Refusal | None:
    """Why `wanted` of a lot may not go into production, or None when it may."""
    if status != "released":
        return "not_released"
    return "exceeds_lot" if wanted > left else None


def take(lots: Iterable[Available], wanted: Decimal) -> list[Available]:
    """How much to take of each lot, in the order given, until `wanted` is reached or the lots are empty."""
    taken = []
    for available in lots:
        if wanted <= 0:
            break
        quantity = min(available.quantity, wanted)
        if quantity > 0:
            taken.append(Available(available.lot, quantity))
            wanted -= quantity
    return taken


def tally_of(reason: str, quantity: Decimal) -> tuple[Tally, Decimal] | None:
    """Which tally of a lot a stock ledger row adds how much to; None when it repeats what MES did itself."""
    if reason not in _TALLIES:
        return None
    tally, sign = _TALLIES[reason]
    return tally, sign * quantity

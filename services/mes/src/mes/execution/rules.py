"""Rules of execution: what may be started and reported, what is left, and what to take from stock at standard."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

_MICRO = Decimal("0.000001")


@dataclass(frozen=True)
class Quantities:
    """Pieces good, scrapped and to be reworked."""

    good: Decimal
    scrap: Decimal
    rework: Decimal


@dataclass(frozen=True)
class Progress:
    """Where an operation stands after a report."""

    good: Decimal
    scrap: Decimal
    rework: Decimal
    done: bool


def progress(quantity: Decimal, so_far: Quantities, reported: Quantities, declared_done: bool) -> Progress | None:
    """The operation after a report; None when more is reported than it has left.

    Reworked pieces stay to be done again. It is done when every piece is good or scrapped, or declared done.
    """
    left = quantity - so_far.good - so_far.scrap
    if reported.good + reported.scrap + reported.rework > left:
        return None
    good, scrap = so_far.good + reported.good, so_far.scrap + reported.scrap
    return Progress(good, scrap, so_far.rework + reported.rework, declared_done or good + scrap == quantity)


def standard_consumption(
    components: Iterable[tuple[str, Decimal]], pieces: Decimal, reported_by_lot: Iterable[str]
) -> dict[str, Decimal]:
    """Component quantities of so many pieces at standard, to six decimals, but not of what operators report by lot."""
    excluded = set(reported_by_lot)
    needed: dict[str, Decimal] = {}
    for item, quantity_per in components:
        if item not in excluded:
            needed[item] = needed.get(item, Decimal(0)) + quantity_per * pieces
    rounded = {item: quantity.quantize(_MICRO, ROUND_HALF_EVEN) for item, quantity in needed.items()}
    return {item: quantity for item, quantity in rounded.items() if quantity > 0}

"""Stock moves, what is available, and which lots stock is taken from."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

StockReason = Literal[
    "purchase_receipt", "receipt", "count", "production_receipt", "issue", "shipment", "scrap", "correction"
]


@dataclass(frozen=True)
class Move:
    """A signed quantity of one lot that enters or leaves stock."""

    item: str
    lot: str
    quantity: Decimal


@dataclass(frozen=True)
class Origin:
    """Where received goods came from, or where shipped goods went."""

    supplier: str | None = None
    supplier_lot: str | None = None
    purchase_order: str | None = None
    shipment: str | None = None


UNKNOWN_ORIGIN = Origin()


@dataclass(frozen=True)
class Balance:
    """Stock of one item in its unit."""

    item: str
    on_hand: Decimal
    reserved: Decimal
    held: Decimal
    version: int

    @property
    def available(self) -> Decimal:
        """What can still be promised; negative while reservations wait to be taken back."""
        return self.on_hand - self.held - self.reserved


@dataclass(frozen=True)
class Pick:
    """A quantity set aside in a lot."""

    lot: str
    quantity: Decimal


def first_in_first_out(lots: Iterable[tuple[str, Decimal]], wanted: Decimal) -> list[Pick]:
    """Take `wanted` from lots (with what is free in each, oldest first), as much as there is."""
    picks: list[Pick] = []
    for lot, free in lots:
        if wanted <= 0:
            break
        taken = min(free, wanted)
        if taken > 0:
            picks.append(Pick(lot, taken))
            wanted -= taken
    return picks

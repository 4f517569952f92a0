"""Which lots stock is taken from, and what is available."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal


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

"""What may be received against a purchase order, and what it is then. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum


class PurchaseOrderState(StrEnum):
    """Life of a purchase order."""

    SENT = "sent"
    PART_RECEIVED = "part_received"
    RECEIVED = "received"


@dataclass(frozen=True)
class Ordered:
    """A purchase order line, in the item's unit."""

    item: str
    quantity: Decimal
    received: Decimal

    @property
    def open(self) -> Decimal:
        """What is still to come."""
        return self.quantity - self.received


@dataclass(frozen=True)
class Delivered:
    """One line of a delivery: part of an order line, in one lot."""

    line: int
    quantity: Decimal
    lot: str | None = None
    supplier_lot: str | None = None


@dataclass(frozen=True)
class Refusal:
    """Which delivered line breaks which rule."""

    index: int
    field: str
    rule: str
    message: str


def refusals(
    ordered: Mapping[int, Ordered], delivered: Sequence[Delivered], lot_items: Mapping[str, str]
) -> list[Refusal]:
    """Rules a delivery breaks: every line ordered, no more than ordered, no lot of another item."""
    found = []
    left = {line: known.open for line, known in ordered.items()}
    owners = dict(lot_items)
    for index, part in enumerate(delivered):
        known = ordered.get(part.line)
        if known is None:
            found.append(Refusal(index, "line", "unknown_line", f"the order has no line {part.line}"))
            continue
        if part.quantity > left[part.line]:
            message = f"of line {part.line} only {left[part.line].normalize():f} is still to come"
            found.append(Refusal(index, "quantity", "exceeds_ordered", message))
        left[part.line] -= part.quantity
        if part.lot is not None and owners.setdefault(part.lot, known.item) != known.item:
            message = f"lot {part.lot!r} is a lot of item {owners[part.lot]!r}"
            found.append(Refusal(index, "lot", "lot_of_other_item", message))
    return found


def received(ordered: Mapping[int, Ordered], delivered: Iterable[Delivered]) -> dict[int, Ordered]:
    """The order's lines after a delivery."""
    after = dict(ordered)
    for part in delivered:
        line = after[part.line]
        after[part.line] = replace(line, received=line.received + part.quantity)
    return after


def state_of(lines: Iterable[Ordered]) -> PurchaseOrderState:
    """State of a purchase order with these lines."""
    known = list(lines)
    if all(line.open == 0 for line in known):
        return PurchaseOrderState.RECEIVED
    if any(line.received > 0 for line in known):
        return PurchaseOrderState.PART_RECEIVED
    return PurchaseOrderState.SENT

"""Chart of accounts and posting rules: which accounts a business fact debits and credits, at standard cost.

The postings are those of standard cost accounting with purchase price, usage and conversion accounts; every amount
is rounded half-even to the currency's minor unit before it is posted, so entries balance to the cent.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

RECEIVABLE = "1100"
RAW_MATERIAL = "1200"
WORK_IN_PROCESS = "1250"
FINISHED_GOODS = "1300"
GOODS_RECEIVED_NOT_INVOICED = "2100"
REVENUE = "4000"
COST_OF_GOODS_SOLD = "5000"
PURCHASE_PRICE_VARIANCE = "5100"
USAGE_VARIANCE = "5200"
SCRAP_LOSS = "5300"
CONVERSION_ABSORBED = "5400"
INVENTORY_ADJUSTMENT = "5900"

ACCOUNTS = MappingProxyType(
    {
        RECEIVABLE: "Accounts receivable",
        RAW_MATERIAL: "Raw material inventory",
        WORK_IN_PROCESS: "Work in process",
        FINISHED_GOODS: "Finished goods inventory",
        GOODS_RECEIVED_NOT_INVOICED: "Goods received, not invoiced",
        REVENUE: "Revenue",
        COST_OF_GOODS_SOLD: "Cost of goods sold",
        PURCHASE_PRICE_VARIANCE: "Purchase price variance",
        USAGE_VARIANCE: "Material usage variance",
        SCRAP_LOSS: "Scrap loss",
        CONVERSION_ABSORBED: "Conversion cost absorbed",
        INVENTORY_ADJUSTMENT: "Inventory adjustment",
    }
)

# Rounds an amount to the minor unit of the entry's currency.
Rounding = Callable[[Decimal], Decimal]


@dataclass(frozen=True)
class Line:
    """One line of a journal entry: `amount` is debited when positive, credited when negative."""

    account: str
    amount: Decimal


@dataclass(frozen=True)
class Valued:
    """A quantity of an item with what values it: its source names the inventory account."""

    source: str
    quantity: Decimal
    standard_cost: Decimal

    @property
    def inventory(self) -> str:
        """The item's inventory account: finished goods for what is made, raw material for what is bought."""
        return FINISHED_GOODS if self.source == "make" else RAW_MATERIAL


def balanced(lines: Iterable[Line]) -> bool:
    """Whether debits equal credits."""
    return sum((line.amount for line in lines), Decimal(0)) == 0


def netted(lines: Iterable[Line]) -> list[Line]:
    """Lines added up per account and side, without zeros."""
    totals: dict[tuple[str, bool], Decimal] = defaultdict(Decimal)
    for line in lines:
        totals[line.account, line.amount > 0] += line.amount
    return [Line(account, amount) for (account, _), amount in totals.items() if amount]


def transfer(debit: str, credit: str, amount: Decimal) -> list[Line]:
    """Debit one account and credit the other; a negative amount goes the other way."""
    return [Line(debit, amount), Line(credit, -amount)]


def into_stock(moves: Iterable[Valued], against: str, rounding: Rounding) -> list[Line]:
    """Debit inventory at standard and credit `against`; what leaves stock (negative) goes the other way."""
    return [
        line
        for move in moves
        for line in transfer(move.inventory, against, rounding(move.quantity * move.standard_cost))
    ]


def purchase_receipt(received: Iterable[tuple[Valued, Decimal]], rounding: Rounding) -> list[Line]:
    """Goods received at their purchase price per unit: inventory at standard, the rest is purchase price variance."""
    lines: list[Line] = []
    for move, price in received:
        standard = rounding(move.quantity * move.standard_cost)
        owed = rounding(move.quantity * price)
        lines += [
            Line(move.inventory, standard),
            Line(PURCHASE_PRICE_VARIANCE, owed - standard),
            Line(GOODS_RECEIVED_NOT_INVOICED, -owed),
        ]
    return lines


def conversion_cost(good: Decimal, standard_cost: Decimal, components_cost: Decimal) -> Decimal:
    """Labor, machine and overhead absorbed by `good` units: good × (standard − components at standard)."""
    return good * (standard_cost - components_cost)


def revaluation(old: Valued, new: Valued, rounding: Rounding) -> list[Line]:
    """What is on hand changes its standard against inventory adjustment, and its account when its source changed."""
    before = rounding(old.quantity * old.standard_cost)
    after = rounding(new.quantity * new.standard_cost)
    moved = transfer(new.inventory, old.inventory, before) if new.inventory != old.inventory else []
    return [*moved, *transfer(new.inventory, INVENTORY_ADJUSTMENT, after - before)]

"""Orderloop's own CSV layout: the files of a factory, their columns, and the rows that break a rule.

A folder holds any of the files in `FILES`; the header row names the columns. Rows that break a rule are kept out, with
every row that depends on them, and listed as problems; the rest is a consistent factory.
"""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from contracts.values import Code, Currency, Day, Money, Percent, PositiveQuantity, Quantity


@dataclass(frozen=True)
class Problem:
    """One row that cannot be loaded, or was repaired."""

    file: str
    line: int
    reason: str


def _empty_to_none(value: Any) -> Any:
    return None if value == "" else value


T = TypeVar("T")
Optional = Annotated[T | None, BeforeValidator(_empty_to_none)]


class Row(BaseModel):
    """A row and where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    row: int


class SupplierRow(Row):
    supplier: Code
    name: str


class WorkCenterRow(Row):
    work_center: Code
    name: str


class MachineRow(Row):
    machine: Code
    work_center: Code
    name: str


class ItemRow(Row):
    item: Code
    name: str
    unit: str
    source: Literal["make", "buy"]
    price: Money
    standard_cost: Money
    lead_time_days: int = Field(ge=0, le=3650)
    supplier: Optional[Code] = None
    minimum_order_quantity: Optional[PositiveQuantity] = None


class ComponentRow(Row):
    parent: Code
    item: Code
    quantity: PositiveQuantity
    scrap_percent: Percent


class RoutingRow(Row):
    item: Code
    operation: int = Field(ge=1)
    work_center: Code
    setup_minutes: Quantity
    minutes_per_unit: Quantity


class StockRow(Row):
    item: Code
    lot: Code
    quantity: PositiveQuantity


class CustomerRow(Row):
    number: Code
    name: str = Field(min_length=1)
    email: Optional[str] = None
    priority: int = Field(ge=0, le=99)


class OrderRow(Row):
    order: Code
    customer: Code
    requested_date: Optional[Day] = None
    priority: Optional[int] = None
    currency: Optional[Currency] = None


class OrderLineRow(Row):
    order: Code
    line: int = Field(ge=1)
    item: Code
    quantity: PositiveQuantity
    unit_price: Optional[Money] = None
    options: str = ""


@dataclass
class Dataset:
    """A factory: every list holds only rows whose references exist."""

    suppliers: list[SupplierRow] = field(default_factory=list)
    work_centers: list[WorkCenterRow] = field(default_factory=list)
    machines: list[MachineRow] = field(default_factory=list)
    items: list[ItemRow] = field(default_factory=list)
    components: list[ComponentRow] = field(default_factory=list)
    routing: list[RoutingRow] = field(default_factory=list)
    stock: list[StockRow] = field(default_factory=list)
    customers: list[CustomerRow] = field(default_factory=list)
    orders: list[OrderRow] = field(default_factory=list)
    order_lines: list[OrderLineRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, row: Row, reason: str) -> None:
        """List a row as not loaded."""
        self.problems.append(Problem(row.file, row.row, reason))


FILES: dict[str, type[Row]] = {
    "suppliers": SupplierRow,
    "work_centers": WorkCenterRow,
    "machines": MachineRow,
    "items": ItemRow,
    "components": ComponentRow,
    "routing": RoutingRow,
    "stock": StockRow,
    "customers": CustomerRow,
    "orders": OrderRow,
    "order_lines": OrderLineRow,
}

R = TypeVar("R", bound=Row)


def make_row(dataset: Dataset, kind: type[R], file: str, line: int, values: dict[str, Any]) -> R | None:
    """The typed row, or None with the reason listed."""
    try:
        return kind.model_validate({**values, "file": file, "row": line})
    except ValidationError as error:
        broken = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        dataset.problems.append(Problem(file, line, broken))
        return None


def read_folder(folder: Path) -> Dataset:
    """A factory from a folder in this layout; raises FileNotFoundError when none of the files is there."""
    dataset = Dataset()
    present = [name for name in FILES if (folder / f"{name}.csv").is_file()]
    if not present:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(f'{name}.csv' for name in FILES)}")
    for name in present:
        file = f"{name}.csv"
        rows: list[Row] = getattr(dataset, name)
        with (folder / file).open(newline="", encoding="utf-8") as lines:
            for number, values in enumerate(csv.DictReader(lines, restkey="surplus"), start=2):
                row = make_row(dataset, FILES[name], file, number, values)
                if row is not None:
                    rows.append(row)
    return consistent(dataset)


def _keep(dataset: Dataset, rows: list[R], check: Callable[[R], str | None]) -> list[R]:
    kept = []
    for row in rows:
        reason = check(row)
        if reason is None:
            kept.append(row)
        else:
            dataset.refuse(row, reason)
    return kept


def _unique(dataset: Dataset, rows: list[R], key: Callable[[R], Any]) -> list[R]:
    seen: set[Any] = set()

    def check(row: R) -> str | None:
        name = key(row)
        if name in seen:
            return f"{name} stands here a second time"
        seen.add(name)
        return None

    return _keep(dataset, rows, check)


def _known(what: str, codes: Iterable[str]) -> Callable[[str | None], str | None]:
    known = set(codes)
    return lambda code: None if code is None or code in known else f"{what} {code} is not loaded"


def consistent(dataset: Dataset) -> Dataset:
    """Drop rows whose references do not exist, and what depends on them, until the rest is consistent."""
    dataset.suppliers = _unique(dataset, dataset.suppliers, lambda r: r.supplier)
    dataset.work_centers = _unique(dataset, dataset.work_centers, lambda r: r.work_center)
    center = _known("work center", (r.work_center for r in dataset.work_centers))
    machines = _unique(dataset, dataset.machines, lambda r: r.machine)
    dataset.machines = _keep(dataset, machines, lambda r: center(r.work_center))
    supplier = _known("supplier", (r.supplier for r in dataset.suppliers))
    items = _unique(dataset, dataset.items, lambda r: r.item)
    dataset.items = _keep(dataset, items, lambda r: supplier(r.supplier))
    _drop_unmakeable(dataset, center)
    item = _known("item", (r.item for r in dataset.items))
    dataset.stock = _keep(dataset, _unique(dataset, dataset.stock, lambda r: r.lot), lambda r: item(r.item))
    dataset.customers = _unique(dataset, dataset.customers, lambda r: r.number)
    _drop_orders(dataset, item)
    return dataset


def _drop_unmakeable(dataset: Dataset, center: Callable[[str | None], str | None]) -> None:
    """An item is loaded with its whole bill of materials and routing or not at all."""
    components = {(r.parent, r.item): r for r in reversed(dataset.components)}
    for row in dataset.components:
        if components[row.parent, row.item] is not row:
            dataset.refuse(row, f"{row.item} stands in {row.parent} a second time")
    dataset.components = list(reversed(components.values()))
    bad: dict[str, str] = {}
    for step in dataset.routing:
        if reason := center(step.work_center):
            bad.setdefault(step.item, f"its operation {step.operation} cannot be loaded: {reason}")
    makes = {r.item for r in dataset.routing}
    for made in dataset.items:
        if made.source == "make" and made.item not in makes:
            bad.setdefault(made.item, "it is made but has no routing")
    while True:
        good = {r.item for r in dataset.items} - bad.keys()
        more = {
            r.parent: f"its component {r.item} is not loaded"
            for r in dataset.components
            if r.parent in good and r.item not in good
        }
        if not more:
            break
        bad.update(more)
    for cycle_item in _in_cycles(dataset.components):
        bad.setdefault(cycle_item, "its bill of materials contains itself")
    dataset.items = _keep(dataset, dataset.items, lambda r: bad.get(r.item))
    item = _known("item", (r.item for r in dataset.items))
    dataset.components = _keep(dataset, dataset.components, lambda r: item(r.parent))
    dataset.routing = _keep(dataset, dataset.routing, lambda r: item(r.item))


def _in_cycles(components: list[ComponentRow]) -> set[str]:
    """Items that contain themselves, or something that does."""
    left: dict[str, set[str]] = {}
    for row in components:
        left.setdefault(row.parent, set()).add(row.item)
    while resolved := [parent for parent, parts in left.items() if not parts & left.keys()]:
        for parent in resolved:
            del left[parent]
    return set(left)


def _drop_orders(dataset: Dataset, item: Callable[[str | None], str | None]) -> None:
    """An order is loaded with all its lines or not at all."""
    customer = _known("customer", (r.number for r in dataset.customers))
    bad: dict[str, str] = {}
    for line in dataset.order_lines:
        if reason := item(line.item):
            bad.setdefault(line.order, f"its line {line.line} cannot be loaded: {reason}")
    with_lines = {r.order for r in dataset.order_lines}
    orders = _unique(dataset, dataset.orders, lambda r: r.order)
    dataset.orders = _keep(
        dataset,
        orders,
        lambda r: customer(r.customer) or bad.get(r.order) or (None if r.order in with_lines else "it has no lines"),
    )
    order = _known("order", (r.order for r in dataset.orders))
    dataset.order_lines = _keep(dataset, dataset.order_lines, lambda r: order(r.order))


def build_levels(dataset: Dataset) -> list[list[ItemRow]]:
    """Items in load order: each level needs only items of the levels before it."""
    parts: dict[str, set[str]] = {row.item: set() for row in dataset.items}
    for row in dataset.components:
        parts[row.parent].add(row.item)
    by_code = {row.item: row for row in dataset.items}
    levels = []
    while parts:
        ready = [code for code, needed in parts.items() if not needed & parts.keys()]
        levels.append([by_code[code] for code in ready])
        for code in ready:
            del parts[code]
    return levels

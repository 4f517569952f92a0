"""Loads planning data into a book and writes back what changed, in a bounded number of statements."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select

from chassis.clock import new_id
from chassis.db import Tx
from erp.bulk import insert_rows, update_rows
from erp.inventory.commands import lock_balances, reserve_many, unreserve_many
from erp.planning.rules import Book, Demand, Peg, PlanState, Stock, Supply, SupplyKind
from erp.planning.tables import demand, peg, production_plan, supply

_DEMAND_COLUMNS = (
    "id",
    "item",
    "quantity",
    "priority",
    "need",
    "issued",
    "reserved",
    "pegged",
    "order_id",
    "order",
    "line",
    "plan_id",
)
_SUPPLY_COLUMNS = ("id", "kind", "item", "quantity", "received", "pegged", "expected")
_PEG_COLUMNS = ("supply_id", "demand_id", "quantity", "received")
_SUPPLY = select(supply, (production_plan.c.state == PlanState.RELEASED).label("shrinkable")).outerjoin(
    production_plan, production_plan.c.id == supply.c.id
)


class Store:
    """One transaction's view of planning data: the book and what it was when loaded."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.book = Book(new_id)
        self._reserved: dict[str, Decimal] = {}
        self._demands: dict[UUID, Demand] = {}
        self._supplies: dict[UUID, Supply] = {}
        self._pegs: dict[tuple[UUID, UUID], Peg] = {}

    async def load_stock(self, items: Iterable[str]) -> None:
        """Lock and load the balances of these items that are not in the book."""
        missing = set(items) - self.book.stock.keys()
        if not missing:
            return
        for item, found in (await lock_balances(self.tx, missing)).items():
            self.book.stock[item] = Stock(found.on_hand, found.held, found.reserved)
            self._reserved[item] = found.reserved

    async def load_demands(self, which: ColumnElement[bool]) -> list[Demand]:
        """Load demands with all their pegs and the supplies of those."""
        rows = await self.tx.all(select(demand).where(which))
        if rows:
            await self._load_pegs(peg.c.demand_id.in_([row["id"] for row in rows]))
            await self._load_supplies_of_pegs()
        return [self._add_demand(row) for row in rows]

    async def load_supplies(self, ids: Collection[UUID]) -> None:
        """Load supplies with all pegs on them and the demands of those, as `load_demands` does."""
        for row in await self.tx.all(_SUPPLY.where(supply.c.id.in_(ids))):
            self._add_supply(row)
        waiting = select(peg.c.demand_id).where(peg.c.supply_id.in_(ids))
        await self.load_demands(demand.c.id.in_(waiting))

    async def load_free_supplies(self, items: Collection[str]) -> None:
        """Load supplies of these items that nobody waits for to their full open quantity."""
        free = supply.c.quantity > supply.c.received + supply.c.pegged
        for row in await self.tx.all(_SUPPLY.where(supply.c.item.in_(items), free)):
            self._add_supply(row)

    def changed_demands(self) -> list[Demand]:
        """Demands that are new or differ from what was loaded."""
        return [d for d in self.book.demands.values() if self._demands.get(d.id) != d]

    def changed_pegs(self) -> list[tuple[Peg, Peg]]:
        """Pegs that are new or differ from what was loaded, each with what it was."""
        return [(p, self._pegs.get(key) or Peg(*key)) for key, p in self.book.pegs.items() if self._pegs.get(key) != p]

    def reranked(self, changed: Demand) -> bool:
        """Whether a demand has another priority or need than it was loaded with."""
        was = self._demands.get(changed.id)
        return was is not None and (was.priority, was.need) != (changed.priority, changed.need)

    def resized_supplies(self) -> set[UUID]:
        """Supplies of another quantity than they were loaded with."""
        return {i for i, was in self._supplies.items() if was.quantity != self.book.supplies[i].quantity}

    async def save_supplies(self) -> None:
        """Write new supplies, for plans to refer to."""
        new = [s for s in self.book.supplies.values() if s.id not in self._supplies]
        await insert_rows(self.tx, supply, _rows(new, _SUPPLY_COLUMNS))

    async def save(self) -> None:
        """Write everything else that changed; raises RuntimeError when stock was not as it was locked."""
        supplies = [s for s in self.book.supplies.values() if self._supplies.get(s.id, s) != s]
        await update_rows(self.tx, supply, _rows(supplies, _SUPPLY_COLUMNS), ["id"])
        demands = self.changed_demands()
        new = [d for d in demands if d.id not in self._demands]
        old = [d for d in demands if d.id in self._demands]
        await insert_rows(self.tx, demand, _rows(new, _DEMAND_COLUMNS))
        await update_rows(self.tx, demand, _rows(old, _DEMAND_COLUMNS), ["id"])
        pegs = [p for p, _ in self.changed_pegs()]
        fresh = [p for p in pegs if (p.supply_id, p.demand_id) not in self._pegs]
        known = [p for p in pegs if (p.supply_id, p.demand_id) in self._pegs]
        await insert_rows(self.tx, peg, _rows(fresh, _PEG_COLUMNS))
        await update_rows(self.tx, peg, _rows(known, _PEG_COLUMNS), ["supply_id", "demand_id"])
        await self._save_reservations()

    async def _save_reservations(self) -> None:
        change = {item: self.book.stock[item].reserved - was for item, was in self._reserved.items()}
        less = {item: -delta for item, delta in change.items() if delta < 0}
        more = {item: delta for item, delta in change.items() if delta > 0}
        if less:
            await unreserve_many(self.tx, less)
        if more and await reserve_many(self.tx, more) != more.keys():
            raise RuntimeError(f"stock changed under its lock: {sorted(more)}")

    async def _load_pegs(self, which: ColumnElement[bool]) -> None:
        for row in await self.tx.all(select(peg).where(which)):
            found = Peg(**row)
            if self.book.add_peg(found) is found:
                self._pegs[found.supply_id, found.demand_id] = replace(found)

    async def _load_supplies_of_pegs(self) -> None:
        missing = {p.supply_id for p in self.book.pegs.values()} - self.book.supplies.keys()
        if missing:
            for row in await self.tx.all(_SUPPLY.where(supply.c.id.in_(missing))):
                self._add_supply(row)

    def _add_demand(self, row: RowMapping) -> Demand:
        found = Demand(**row)
        known = self.book.add_demand(found)
        if known is found:
            self._demands[found.id] = replace(found)
        return known

    def _add_supply(self, row: RowMapping) -> None:
        found = Supply(**{**row, "kind": SupplyKind(row["kind"]), "shrinkable": bool(row["shrinkable"])})
        if self.book.add_supply(found) is found:
            self._supplies[found.id] = replace(found)


def _rows(records: Iterable[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: getattr(record, name) for name in names} for record in records]

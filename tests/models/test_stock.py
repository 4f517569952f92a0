"""ERP's stock against a model of it: every move does what the model says, and concurrent writers never oversell."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from chassis.clock import new_id, now
from chassis.db import Database, Tx
from erp.inventory import commands, queries
from erp.inventory.rules import Balance, Pick, first_in_first_out
from erp.inventory.tables import stock_lot
from erp.items.tables import item as item_table
from models.machines import AsyncMachine, run_machine

T = TypeVar("T")
LOTS = ("A", "B", "C")
amounts = st.integers(1, 9).map(Decimal)
lots = st.sampled_from(LOTS)
_items = count(1)
_ZERO = Decimal(0)


class Lot:
    """A lot as the model knows it; `order` is when its first goods came."""

    def __init__(self) -> None:
        self.quantity = self.picked = _ZERO
        self.status = "released"
        self.order: int | None = None


class Stock(AsyncMachine):
    """One item in three lots."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.database = Database(url, "erp", pool_size=8)
        self.item = f"STOCK-{next(_items)}"
        self.lots: dict[str, Lot] = {}
        self.reserved = _ZERO
        self.ledger: list[tuple[str, Decimal]] = []
        self.arrivals = count(1)

    def name(self, lot: str) -> str:
        return f"{self.item}-{lot}"

    @property
    def on_hand(self) -> Decimal:
        return sum((lot.quantity for lot in self.lots.values()), _ZERO)

    @property
    def held(self) -> Decimal:
        return sum((lot.quantity for lot in self.lots.values() if lot.status == "held"), _ZERO)

    @property
    def available(self) -> Decimal:
        return self.on_hand - self.held - self.reserved

    @initialize()
    def define(self) -> None:
        row = {"item": self.item, "id": new_id(), "name": self.item, "unit": "pcs", "source": "buy", "price": 1}
        row |= {"standard_cost": 1, "cost_rolled_up": False, "lead_time_days": 0, "minimum_order_quantity": 0}
        row |= {"low_level_code": 0, "version": 1, "created_at": now(), "updated_at": now()}

        async def work(tx: Tx) -> None:
            await tx.execute(insert(item_table).values(row))

        self.run(self.database.write(work))

    @rule(lot=lots, amount=amounts)
    def receive(self, lot: str, amount: Decimal) -> None:
        """What enters a scrapped lot is waste at once."""
        self.run(self.change(lambda tx: commands.receive(tx, self.item, self.name(lot), amount, "receipt")))
        known = self.lots.setdefault(lot, Lot())
        known.order = known.order or next(self.arrivals)
        self.ledger.append((lot, amount))
        if known.status == "scrapped":
            self.ledger.append((lot, -amount))
        else:
            known.quantity += amount

    @precondition(lambda self: self.on_hand > 0)
    @rule(lot=lots, amount=amounts)
    def issue(self, lot: str, amount: Decimal) -> None:
        """A lot never gives more than it has, nor reserved stock away."""
        known = self.lots.get(lot)
        if known is None:
            return
        uncovered = known.status == "released" and amount > self.available
        work = self.change(lambda tx: commands.issue(tx, self.item, self.name(lot), amount, "issue"))
        if amount > known.quantity or uncovered:
            self.refused(work)
        else:
            self.run(work)
            known.quantity -= amount
            self.ledger.append((lot, -amount))

    @rule(amount=amounts)
    def reserve(self, amount: Decimal) -> None:
        granted = self.run(self.change(lambda tx: commands.reserve(tx, self.item, amount)))
        assert granted == (self.available >= amount)
        self.reserved += amount if granted else _ZERO

    @precondition(lambda self: self.on_hand > 0)
    @rule(asked=st.lists(amounts, min_size=8, max_size=12))
    def reserve_at_once(self, asked: list[Decimal]) -> None:
        """Eight writers: whoever wins, no more than is available is given, and nobody is refused in vain."""
        writers = asyncio.Semaphore(8)

        async def one(amount: Decimal) -> Decimal:
            async with writers, self.database.transaction() as tx:
                return amount if await commands.reserve(tx, self.item, amount) else _ZERO

        async def everyone() -> list[Decimal]:
            return await asyncio.gather(*map(one, asked))

        given = self.run(everyone())
        left = self.available - sum(given)
        assert left >= 0
        refused = [amount for amount, got in zip(asked, given, strict=True) if not got]
        assert all(amount > left for amount in refused)
        self.reserved += sum(given)

    @rule(amount=amounts)
    def unreserve(self, amount: Decimal) -> None:
        work = self.change(lambda tx: commands.unreserve(tx, self.item, amount))
        if amount > self.reserved:
            self.refused(work)
        else:
            self.run(work)
            self.reserved -= amount

    @rule(lot=lots)
    def hold(self, lot: str) -> None:
        """A hold under a reservation does not stand until the reservation is taken back."""
        known = self.lots.setdefault(lot, Lot())
        work = self.change(lambda tx: commands.hold(tx, self.item, self.name(lot)))
        if known.status == "released" and known.quantity > self.available:
            self.refused(work)
        else:
            assert self.run(work) == (known.status == "released")
            known.status = "held" if known.status == "released" else known.status

    @rule(lot=lots)
    def release(self, lot: str) -> None:
        if known := self.lots.get(lot):
            done = self.run(self.change(lambda tx: commands.release(tx, self.item, self.name(lot))))
            assert done == (known.status == "held")
            known.status = "released" if known.status == "held" else known.status

    @precondition(lambda self: self.on_hand > 12)
    @rule(lot=lots)
    def scrap(self, lot: str) -> None:
        known = self.lots.setdefault(lot, Lot())
        work = self.change(lambda tx: commands.scrap(tx, self.item, self.name(lot)))
        if known.status == "released" and known.quantity > self.available:
            self.refused(work)
            return
        assert self.run(work) == known.quantity
        if known.quantity:
            self.ledger.append((lot, -known.quantity))
        known.quantity, known.status = _ZERO, "scrapped"

    @rule(amount=amounts)
    def pick(self, amount: Decimal) -> None:
        """Picks come from released lots, the oldest first, and no piece is picked twice."""
        released = sorted(
            (lot.order, name) for name, lot in self.lots.items() if lot.status == "released" and lot.order
        )
        free = [(self.name(n), self.lots[n].quantity - self.lots[n].picked) for _, n in released]
        expected = first_in_first_out(free, amount)
        assert self.run(self.change(lambda tx: commands.pick(tx, self.item, amount))) == expected
        for pick in expected:
            self.lots[pick.lot.removeprefix(f"{self.item}-")].picked += pick.quantity

    @precondition(lambda self: any(lot.picked for lot in self.lots.values()))
    @rule()
    def unpick_all(self) -> None:
        picks = [Pick(self.name(name), lot.picked) for name, lot in self.lots.items() if lot.picked]
        self.run(self.change(lambda tx: commands.unpick(tx, picks)))
        for lot in self.lots.values():
            lot.picked = _ZERO

    @invariant()
    def the_database_is_as_the_model(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        async with self.database.read() as reader:
            balance = (await queries.balances(reader, [self.item]))[self.item]
            rows = await queries.ledger_since(reader, self.item, 0)
            stored = await reader.all(select(stock_lot).where(stock_lot.c.item == self.item))
        expected = Balance(self.item, self.on_hand, self.reserved, self.held, len(self.ledger))
        assert balance == expected
        assert [(row["lot"], row["quantity"]) for row in rows] == [(self.name(lot), q) for lot, q in self.ledger]
        known = {row["lot"]: (row["quantity"], row["picked"], row["status"]) for row in stored}
        assert known == {self.name(n): (lot.quantity, lot.picked, lot.status) for n, lot in self.lots.items()}
        assert self.available >= 0

    def teardown(self) -> None:
        self.run(self.database.dispose())
        self.runner.close()

    async def change(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        async with self.database.transaction() as tx:
            await commands.lock_balances(tx, [self.item])
            return await work(tx)

    def refused(self, work: Coroutine[Any, Any, Any]) -> None:
        """The database itself refuses it, and nothing of it stays."""
        try:
            self.run(work)
        except IntegrityError:
            return
        raise AssertionError("stock that is not there was given away")


def test_stock_is_what_its_model_says(urls: dict[str, str]) -> None:
    """Any sequence of moves, reservations, holds and picks, also by many at once."""
    run_machine(lambda: Stock(urls["erp"]), examples=8, steps=30)

"""Reservations, picks and issues: what concurrent callers and any sequence of moves may not break."""

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from chassis.clock import new_id, now
from chassis.db import Database, Tx
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer
from erp.inventory import commands, queries
from erp.inventory.commands import Move
from erp.inventory.rules import Pick, first_in_first_out
from erp.inventory.tables import stock_ledger, stock_lot
from erp.items.tables import item as item_table


async def define(database: Database, *items: str) -> None:
    rows = [
        {
            "item": item,
            "id": new_id(),
            "name": item,
            "unit": "pcs",
            "source": "buy",
            "price": 1,
            "standard_cost": 1,
            "cost_rolled_up": False,
            "lead_time_days": 0,
            "minimum_order_quantity": 0,
            "low_level_code": 0,
            "version": 1,
            "created_at": now(),
            "updated_at": now(),
        }
        for item in items
    ]
    async with database.transaction() as tx:
        await tx.execute(insert(item_table), rows)


async def put(database: Database, item: str, *lots: tuple[str, int]) -> None:
    async with database.transaction() as tx:
        await commands.lock_balances(tx, [item])
        for lot, quantity in lots:
            await commands.receive(tx, item, lot, Decimal(quantity), "receipt")


async def test_ten_reservers_of_five_pieces_get_exactly_five(database: Database) -> None:
    """Stock is never promised twice, however many ask at once."""
    await put(database, "RM", ("A", 5))

    async def ask() -> bool:
        async with database.transaction() as tx:
            return await commands.reserve(tx, "RM", Decimal(1))

    workers = asyncio.Semaphore(8)

    async def one() -> bool:
        async with workers:
            return await ask()

    granted = await asyncio.gather(*(one() for _ in range(10)))
    assert sum(granted) == 5
    async with database.read() as reader:
        balance = (await queries.balances(reader, ["RM"]))["RM"]
    assert (balance.reserved, balance.available) == (5, 0)


async def test_reserving_many_gives_each_item_all_or_nothing(database: Database) -> None:
    """An item that has too little is left as it was."""
    await put(database, "A", ("A1", 5))
    await put(database, "B", ("B1", 5))
    async with database.transaction() as tx:
        await commands.lock_balances(tx, ["B", "A", "C"])
        wanted = {"A": Decimal(5), "B": Decimal(6), "C": Decimal(1)}
        assert await commands.reserve_many(tx, wanted) == {"A"}
        await commands.unreserve_many(tx, {"A": Decimal(2)})
        found = await queries.balances(tx, wanted)
    assert {item: b.reserved for item, b in found.items()} == {"A": 3, "B": 0, "C": 0}


async def test_reserved_stock_may_not_vanish_when_the_transaction_ends(database: Database) -> None:
    """A hold that leaves reservations uncovered is refused unless they are taken back in the same transaction."""
    await put(database, "RM", ("A", 5))
    async with database.transaction() as tx:
        await commands.reserve(tx, "RM", Decimal(4))
    with pytest.raises(IntegrityError, match="more reserved"):
        async with database.transaction() as tx:
            await commands.hold(tx, "RM", "A")
    async with database.transaction() as tx:
        await commands.hold(tx, "RM", "A")
        await commands.unreserve(tx, "RM", Decimal(4))


async def test_a_lot_cannot_give_more_than_it_has(database: Database) -> None:
    """Stock never goes negative."""
    await put(database, "RM", ("A", 5), ("B", 5))
    with pytest.raises(IntegrityError):
        async with database.transaction() as tx:
            await commands.issue(tx, "RM", "A", Decimal(6), "issue")


async def test_picks_come_from_the_oldest_released_lots(database: Database) -> None:
    """Held lots are passed over, picked stock is not picked twice, unpicking gives it back."""
    await put(database, "RM", ("A", 5), ("B", 5), ("C", 5))
    async with database.transaction() as tx:
        await commands.lock_balances(tx, ["RM"])
        await commands.hold(tx, "RM", "A")
        first = await commands.pick(tx, "RM", Decimal(7))
        second = await commands.pick(tx, "RM", Decimal(7))
        await commands.unpick(tx, first)
        third = await commands.pick(tx, "RM", Decimal(1))
    assert first == [Pick("B", Decimal(5)), Pick("C", Decimal(2))]
    assert second == [Pick("C", Decimal(3))]
    assert third == [Pick("B", Decimal(1))]


async def test_a_shipment_takes_what_was_picked(database: Database) -> None:
    """Shipping lowers quantity and pick together, in one ledger row per lot."""
    await put(database, "RM", ("A", 5), ("B", 5))
    async with database.transaction() as tx:
        await commands.lock_balances(tx, ["RM"])
        picks = await commands.pick(tx, "RM", Decimal(8))
        moves = [Move("RM", p.lot, p.quantity) for p in picks]
        await commands.issue_many(tx, moves, "shipment", shipment="SH-1", source_event="e1")
        lots = await queries.find_lots(tx, ["A", "B"])
        balance = (await queries.balances(tx, ["RM"]))["RM"]
    assert {lot: (row["quantity"], row["picked"]) for lot, row in lots.items()} == {"A": (0, 0), "B": (2, 0)}
    assert (balance.on_hand, balance.version) == (2, 4)


async def test_picks_that_can_no_longer_be_kept_are_found(database: Database) -> None:
    """A held lot, and one the shop floor consumed from, must be picked anew."""
    await put(database, "RM", ("A", 5), ("B", 5), ("C", 5))
    async with database.transaction() as tx:
        await commands.lock_balances(tx, ["RM"])
        await commands.pick(tx, "RM", Decimal(15))
        await commands.hold(tx, "RM", "A")
        await commands.issue(tx, "RM", "B", Decimal(1), "issue", source_event="e1")
        broken = await queries.broken_picks(tx, ["RM"])
    assert {row["lot"] for row in broken} == {"A", "B"}


async def test_moves_of_many_rows_take_a_handful_of_statements(
    database: Database, statements: Callable[[], list[str]]
) -> None:
    """Locking, reserving, picking and shipping 50 items is as many statements as one."""
    items = [f"I{n:02}" for n in range(50)]
    one_each = dict.fromkeys(items, Decimal(1))
    async with database.transaction() as tx:
        await commands.lock_balances(tx, items)
        for item in items:
            await commands.receive(tx, item, f"{item}-lot", Decimal(1), "receipt", source_event="e0")
    seen = statements()
    async with database.transaction() as tx:
        await commands.lock_balances(tx, items)
        assert await commands.reserve_many(tx, one_each) == set(items)
        picks = await commands.pick_many(tx, one_each)
        await commands.unreserve_many(tx, one_each)
        moves = [Move(item, p.lot, p.quantity) for item, found in picks.items() for p in found]
        await commands.issue_many(tx, moves, "shipment", source_event="e1")
    # lock; reserve; pick: find and set aside; unreserve; issue: lots, balances, ledger; outbox
    assert len(seen) == 9


@given(
    st.lists(st.decimals(0, 20, places=2), max_size=6),
    st.decimals(0, 100, places=2),
)
def test_first_in_first_out_takes_as_much_as_there_is(free: list[Decimal], wanted: Decimal) -> None:
    """The sum is the smaller of wanted and free; every lot before the last taken one is emptied."""
    picks = first_in_first_out([(str(n), quantity) for n, quantity in enumerate(free)], wanted)
    assert sum(p.quantity for p in picks) == min(wanted, sum(free))
    for pick in picks[:-1]:
        assert pick.quantity == free[int(pick.lot)]
    assert all(p.quantity > 0 for p in picks)


# One database for all examples: each uses an item of its own.
@pytest.fixture(scope="module")
def shared_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    with fresh_database(postgres_server, "erp") as url:
        yield url


steps = st.lists(
    st.tuples(
        st.sampled_from(["receive", "issue", "hold", "release", "scrap", "reserve", "unreserve", "count", "pick"]),
        st.sampled_from(["A", "B"]),
        st.integers(1, 9),
    ),
    max_size=12,
)


async def apply(tx: Tx, item: str, step: tuple[str, str, int]) -> None:
    """One step, as far as stock allows it."""
    action, name, number = step
    lot, quantity = f"{item}-{name}", Decimal(number)
    row = (await queries.find_lots(tx, [lot])).get(lot)
    balance = (await queries.balances(tx, [item]))[item]
    if action == "receive":
        await commands.receive(tx, item, lot, quantity, "receipt")
    elif action == "issue" and row and row["quantity"] >= quantity:
        await commands.issue(tx, item, lot, quantity, "issue")
    elif action == "reserve":
        assert await commands.reserve(tx, item, quantity) == (balance.available >= quantity)
    elif action == "unreserve":
        await commands.unreserve(tx, item, min(quantity, balance.reserved))
    elif action == "count" and (row is None or row["status"] != "scrapped"):
        await commands.count(tx, item, quantity, lot)
    elif action == "pick":
        await commands.pick(tx, item, quantity)
    elif action in {"hold", "release", "scrap"}:
        await getattr(commands, action)(tx, item, lot)
    balance = (await queries.balances(tx, [item]))[item]
    if balance.available < 0:
        await commands.unreserve(tx, item, -balance.available)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps)
def test_on_hand_is_always_the_sum_of_the_ledger(shared_url: str, plan: list[tuple[str, str, int]]) -> None:
    """Whatever is done: on hand = Σ ledger = Σ lots, held = Σ held lots, and versions count the rows."""

    async def run() -> None:
        database = Database(shared_url, "erp", pool_size=1)
        item = str(new_id())
        await define(database, item)
        for step in plan:
            async with database.transaction() as tx:
                await commands.lock_balances(tx, [item])
                await apply(tx, item, step)
        async with database.read() as reader:
            balance = (await queries.balances(reader, [item]))[item]
            rows = await queries.ledger_since(reader, item, 0)
            of_lots = select(func.coalesce(func.sum(stock_lot.c.quantity), 0)).where(stock_lot.c.item == item)
            assert balance.on_hand == sum(row["quantity"] for row in rows) == await reader.scalar(of_lots)
            assert balance.held == await reader.scalar(of_lots.where(stock_lot.c.status == "held"))
            assert balance.version == len(rows)
            assert 0 <= balance.reserved <= balance.on_hand - balance.held
            running = Decimal(0)
            for row in rows:
                running += row["quantity"]
                assert row["balance"] == running
            assert await reader.scalar(select(func.count()).where(stock_ledger.c.item == item)) == len(rows)
        await database.dispose()

    asyncio.run(run())

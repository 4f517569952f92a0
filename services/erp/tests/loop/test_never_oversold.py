"""Eight writers at once on one item: what is promised from stock is never more than there is."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select

from chassis.db import Database
from erp.inventory import commands, queries
from erp.planning.tables import demand

ROUNDS = 50
WRITERS = 8


async def at_once(work: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Do all of it, eight at a time."""
    writers = asyncio.Semaphore(WRITERS)

    async def one(piece: Callable[[], Awaitable[Any]]) -> Any:
        async with writers:
            return await piece()

    return await asyncio.gather(*map(one, work))


async def test_of_ten_bare_reservations_of_five_pieces_exactly_five_succeed(database: Database) -> None:
    """The statement that reserves needs no lock around it; 50 runs of 50."""
    succeeded = []
    for number in range(ROUNDS):
        item = f"BARE-{number}"
        async with database.transaction() as tx:
            await commands.lock_balances(tx, [item])
            await commands.receive(tx, item, None, Decimal(5), "receipt")

        async def reserve(item: str = item) -> bool:
            async with database.transaction() as tx:
                return await commands.reserve(tx, item, Decimal(1))

        succeeded.append(sum(await at_once([reserve] * 10)))
        async with database.read() as reader:
            balance = (await queries.balances(reader, [item]))[item]
        assert (balance.reserved, balance.available) == (5, 0)
    assert succeeded == [5] * ROUNDS


async def test_of_ten_orders_for_five_pieces_exactly_five_get_them_from_stock(factory: Any) -> None:
    """The whole way of an order; the other five wait for one piece each that was ordered for them. 50 runs of 50."""
    reserved: list[dict[Decimal, int]] = []
    for number in range(ROUNDS):
        item = f"SOLD-{number}"
        await factory.buy(item)
        await factory.stock(item, 5)
        orders = [factory.order((item, 1)) for _ in range(10)]
        await at_once([lambda order=order: factory.deliver(factory.placed(order)) for order in orders])
        query = select(demand.c.reserved, func.count()).where(demand.c.item == item).group_by(demand.c.reserved)
        async with factory.database.read() as reader:
            reserved.append({row["reserved"]: row["count"] for row in await reader.all(query)})
        assert await factory.balance(item) == {"on_hand": 5, "reserved": 5, "held": 0, "available": 0}
    assert reserved == [{Decimal(0): 5, Decimal(1): 5}] * ROUNDS

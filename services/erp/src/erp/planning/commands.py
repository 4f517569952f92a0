"""Planning: net requirements of orders and plans against stock and supply, and what the shop floor reports back.

Every command expects the planning lock (see `lock`) and returns an `Outcome` to be followed up by
`erp.fulfilment.commands.follow_up` in the same transaction.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import and_, func, or_, select

from chassis.clock import new_id
from chassis.db import Tx
from chassis.messaging.handlers import PermanentError
from contracts.envelope import Reason
from erp.items import queries as items_queries
from erp.planning.plans import Plan
from erp.planning.publishing import Outcome, Purchase, publish
from erp.planning.rules import Demand
from erp.planning.store import Store
from erp.planning.tables import demand

__all__ = [
    "OrderNeeds",
    "Outcome",
    "Purchase",
    "issue_order",
    "lock",
    "plan_order",
    "receive_supply",
    "replan",
    "settle",
]

# Key of the advisory lock; any constant no other use of the database has.
_PLANNING_LOCK = 0x504C414E


@dataclass(frozen=True)
class OrderNeeds:
    """What an order wants now: quantity of an item per line; lines not named are wanted no more."""

    order_id: UUID
    order: str
    priority: int
    need: datetime
    lines: Mapping[int, tuple[str, Decimal]]


async def lock(tx: Tx) -> None:
    """Become the only planner until the transaction ends.

    Orders share components, so two planners would wait for each other's balances in changing order; one at a time
    cannot deadlock. Take this before any balance.
    """
    await tx.execute(select(func.pg_advisory_xact_lock(_PLANNING_LOCK)))


async def plan_order(tx: Tx, needs: OrderNeeds, reason: Reason | None = None) -> Outcome:
    """Cover what an order wants now, and give back what it wants no more.

    Raises PermanentError when an item is not defined.
    """
    store = Store(tx)
    demands = await store.load_demands(demand.c.order_id == needs.order_id)
    items = {d.item for d in demands} | {item for item, _ in needs.lines.values()}
    await store.load_stock(items)
    kept: set[int] = set()
    for known in demands:
        line = known.line or 0
        item, quantity = needs.lines.get(line, ("", Decimal(0)))
        if item == known.item:
            kept.add(line)
            known.priority, known.need = needs.priority, needs.need
            store.book.resize(known, quantity)
        else:
            store.book.resize(known, Decimal(0))
    for line, (item, quantity) in needs.lines.items():
        if line not in kept and quantity > 0:
            new = Demand(new_id(), item, quantity, needs.priority, needs.need)
            new.order_id, new.order, new.line = needs.order_id, needs.order, line
            store.book.add_demand(new)
    return await replan(store, items, {}, reason)


async def issue_order(tx: Tx, order_id: UUID, quantities: Mapping[int, Decimal]) -> None:
    """Quantities reserved for order lines left the house; their lots must have been issued already."""
    store = Store(tx)
    demands = await store.load_demands(and_(demand.c.order_id == order_id, demand.c.line.in_(quantities)))
    await store.load_stock({d.item for d in demands})
    for shipped in demands:
        if shipped.reserved > 0 and shipped.line is not None:
            store.book.issue(shipped, quantities[shipped.line])
    await store.save()


async def settle(tx: Tx, items: Collection[str], reason: Reason | None = None) -> Outcome:
    """Make reservations fit the stock of these items after it changed: give to those who wait, or take back."""
    return await replan(Store(tx), items, {}, reason)


async def receive_supply(tx: Tx, received: Mapping[UUID, Decimal]) -> Outcome:
    """Bought goods came into stock, per supply: those who waited for them are served first."""
    store = Store(tx)
    await store.load_supplies(received.keys())
    items = {store.book.supplies[supply_id].item for supply_id in received}
    await store.load_stock(items)
    for supply_id, quantity in received.items():
        store.book.receive(store.book.supplies[supply_id], quantity)
    return await replan(store, items, {}, None)


async def replan(store: Store, items: Collection[str], plans: Mapping[UUID, Plan], reason: Reason | None) -> Outcome:
    """Settle the stock of items, cover whatever is uncovered down all levels, publish and save.

    `plans` are plans the caller locked and may have changed. Raises PermanentError when an item is not defined.
    """
    book = store.book
    await store.load_stock(items)
    short = [item for item, stock in book.stock.items() if stock.available < 0]
    plenty = [item for item, stock in book.stock.items() if stock.available > 0]
    if short or plenty:
        reserved = and_(demand.c.item.in_(short), demand.c.reserved > 0)
        waiting = and_(demand.c.item.in_(plenty), demand.c.pegged > 0)
        await store.load_demands(or_(reserved, waiting))
    for item in sorted(book.stock):
        book.settle(item)
    if uncovered := book.uncovered():
        definitions = await items_queries.closure(store.tx, {d.item for d in uncovered})
        if unknown := {d.item for d in uncovered} - definitions.keys():
            raise PermanentError(f"items not defined: {sorted(unknown)}")
        await store.load_stock(definitions)
        await store.load_free_supplies(definitions)
        book.cover(definitions, store.tx.now)
    return await publish(store, plans, reason)

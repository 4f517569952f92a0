"""Stock moves, reservations, holds and picks.

Every function here expects the item's balance to be locked by `lock_balances` in the same transaction. None knows
why stock is wanted: whoever changes what is available lets planning settle the demands afterwards.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from sqlalchemy import RowMapping, case, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx
from chassis.http.problems import invalid, wrong_state
from erp.finance.commands import post_adjustment, post_scrap
from erp.inventory import rules
from erp.inventory.booking import book, pairs
from erp.inventory.queries import find_lots, lots_in_stock
from erp.inventory.rules import UNKNOWN_ORIGIN, Balance, Move, Origin, Pick, StockReason
from erp.inventory.tables import balance, lot_number, stock_lot

_ZERO = Decimal(0)


async def lock_balances(tx: Tx, items: Iterable[str]) -> dict[str, Balance]:
    """Lock the balances of these items in code order, creating missing ones, and return them."""
    wanted = sorted(set(items))
    query = select(balance).where(balance.c.item.in_(wanted)).order_by(balance.c.item).with_for_update()
    rows = await tx.all(query)
    if missing := sorted(set(wanted) - {row["item"] for row in rows}):
        new = [{"item": item, "updated_at": tx.now} for item in missing]
        await tx.execute(upsert(balance).values(new).on_conflict_do_nothing())
        rows = await tx.all(query)
    return {
        row["item"]: Balance(row["item"], row["on_hand"], row["reserved"], row["held"], row["version"]) for row in rows
    }


async def receive(
    tx: Tx,
    item: str,
    lot: str | None,
    quantity: Decimal,
    reason: StockReason,
    *,
    origin: Origin = UNKNOWN_ORIGIN,
    held: bool = False,
    source_event: UUID | str | None = None,
    note: str | None = None,
) -> str:
    """Put a quantity into a lot (a new one when None) and return the lot.

    A lot already known keeps its status: what enters a held lot is held, what enters a scrapped lot is scrapped at
    once. `held` is the status of a lot not known before. Raises Problem 422 when the lot is another item's.
    """
    lot = lot or await tx.number(lot_number, "R")
    owed = await _owed(tx, lot) if reason == "production_receipt" else _ZERO
    quantity -= owed
    entry = upsert(stock_lot).values(
        lot=lot,
        id=new_id(),
        item=item,
        quantity=quantity,
        status="held" if held else "released",
        supplier=origin.supplier,
        supplier_lot=origin.supplier_lot,
        purchase_order=origin.purchase_order,
        received_at=tx.now,
    )
    added = case((stock_lot.c.status == "scrapped", 0), else_=entry.excluded.quantity)
    entry = entry.on_conflict_do_update(
        index_elements=[stock_lot.c.lot],
        set_={
            "quantity": stock_lot.c.quantity + added,
            "owed": stock_lot.c.owed - owed,
            "received_at": func.coalesce(stock_lot.c.received_at, entry.excluded.received_at),
        },
    )
    row = await tx.first(entry.returning(stock_lot.c.item, stock_lot.c.status))
    if row is None or row["item"] != item:
        raise invalid("/lot", "lot_of_other_item", f"lot {lot!r} is not a lot of item {item!r}")
    if quantity == 0:
        return lot
    into_held = quantity if row["status"] == "held" else _ZERO
    move = Move(item, lot, quantity)
    await book(tx, [move], reason, held={item: into_held}, origin=origin, source_event=source_event, note=note)
    if row["status"] == "scrapped":
        await book(tx, [Move(item, lot, -quantity)], "scrap", held={}, source_event=source_event, note=note)
        await post_scrap(tx, source_event or tx.cause.causation_id or lot, {item: quantity})
    return lot


async def receive_ahead(tx: Tx, item: str, lot: str, quantity: Decimal, *, source_event: UUID | str) -> None:
    """Put in what was already taken out of a produced lot whose receipt is still on its way; it brings less then."""
    entry = upsert(stock_lot).values(
        lot=lot, id=new_id(), item=item, quantity=quantity, owed=quantity, status="released"
    )
    entry = entry.on_conflict_do_update(
        index_elements=[stock_lot.c.lot],
        set_={"quantity": stock_lot.c.quantity + quantity, "owed": stock_lot.c.owed + quantity},
    )
    status = await tx.scalar(entry.returning(stock_lot.c.status))
    held = {item: quantity if status == "held" else _ZERO}
    await book(tx, [Move(item, lot, quantity)], "production_receipt", held=held, source_event=source_event, note=None)


async def _owed(tx: Tx, lot: str) -> Decimal:
    return Decimal(await tx.scalar(select(stock_lot.c.owed).where(stock_lot.c.lot == lot)) or 0)


async def issue(
    tx: Tx,
    item: str,
    lot: str,
    quantity: Decimal,
    reason: StockReason,
    *,
    shipment: str | None = None,
    source_event: UUID | str | None = None,
    note: str | None = None,
) -> None:
    """Take a quantity out of one lot; see `issue_many`."""
    await issue_many(tx, [Move(item, lot, quantity)], reason, shipment=shipment, source_event=source_event, note=note)


async def issue_many(
    tx: Tx,
    moves: Sequence[Move],
    reason: StockReason,
    *,
    shipment: str | None = None,
    source_event: UUID | str | None = None,
    note: str | None = None,
) -> None:
    """Take (positive) quantities out of lots, held ones too; a shipment takes what was picked in them.

    Raises IntegrityError when a lot holds less; reservations are the caller's to lower.
    """
    taken: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for move in moves:
        taken[move.item, move.lot] += move.quantity
    if not taken:
        return
    lots = pairs({lot: quantity for (_, lot), quantity in taken.items()}, "taken")
    picked = stock_lot.c.picked - lots.c.quantity if reason == "shipment" else stock_lot.c.picked
    change = (
        update(stock_lot)
        .values(quantity=stock_lot.c.quantity - lots.c.quantity, picked=picked)
        .where(stock_lot.c.lot == lots.c.key)
        .returning(stock_lot.c.lot, stock_lot.c.status)
    )
    status = {row["lot"]: row["status"] for row in await tx.all(change)}
    held: dict[str, Decimal] = defaultdict(Decimal)
    for (item, lot), quantity in taken.items():
        if status[lot] == "held":
            held[item] -= quantity
    out = [Move(item, lot, -quantity) for (item, lot), quantity in taken.items()]
    await book(tx, out, reason, held=held, origin=Origin(shipment=shipment), source_event=source_event, note=note)


async def reserve(tx: Tx, item: str, quantity: Decimal) -> bool:
    """Reserve a quantity if that much is available; returns whether it was."""
    return item in await reserve_many(tx, {item: quantity})


async def reserve_many(tx: Tx, quantities: Mapping[str, Decimal]) -> set[str]:
    """Reserve each item's quantity where that much is available; returns the items it was done for."""
    wanted = pairs(quantities, "wanted")
    change = (
        update(balance)
        .values(reserved=balance.c.reserved + wanted.c.quantity, updated_at=tx.now)
        .where(
            balance.c.item == wanted.c.key,
            balance.c.on_hand - balance.c.held - balance.c.reserved >= wanted.c.quantity,
        )
        .returning(balance.c.item)
    )
    return {row["item"] for row in await tx.all(change)}


async def unreserve(tx: Tx, item: str, quantity: Decimal) -> None:
    """Give back a reserved quantity."""
    await unreserve_many(tx, {item: quantity})


async def unreserve_many(tx: Tx, quantities: Mapping[str, Decimal]) -> None:
    """Give back each item's reserved quantity. Raises IntegrityError when less is reserved."""
    back = pairs(quantities, "back")
    change = update(balance).values(reserved=balance.c.reserved - back.c.quantity, updated_at=tx.now)
    await tx.execute(change.where(balance.c.item == back.c.key))


async def hold(tx: Tx, item: str, lot: str) -> bool:
    """Hold a lot, or remember it as held before it arrives; returns whether anything changed."""
    return await _set_status(tx, item, lot, "held", ("released",))


async def release(tx: Tx, item: str, lot: str) -> bool:
    """Release a held lot; returns whether anything changed."""
    return await _set_status(tx, item, lot, "released", ("held",))


async def scrap(tx: Tx, item: str, lot: str, *, source_event: UUID | str | None = None) -> Decimal:
    """Write off what is left of a lot, or remember it as scrapped before it arrives; returns the quantity lost."""
    row = await tx.first(select(stock_lot.c.quantity).where(stock_lot.c.lot == lot))
    quantity = row["quantity"] if row else _ZERO
    if quantity:
        await issue(tx, item, lot, quantity, "scrap", source_event=source_event)
        await post_scrap(tx, source_event or tx.cause.causation_id or lot, {item: quantity})
    await _set_status(tx, item, lot, "scrapped", ("released", "held"))
    return quantity


async def pick(tx: Tx, item: str, quantity: Decimal) -> list[Pick]:
    """Set a quantity aside in released lots, oldest first: as much as is not picked yet."""
    return (await pick_many(tx, {item: quantity}))[item]


async def pick_many(tx: Tx, quantities: Mapping[str, Decimal]) -> dict[str, list[Pick]]:
    """`pick` for several items at once."""
    query = (
        select(stock_lot.c.item, stock_lot.c.lot, (stock_lot.c.quantity - stock_lot.c.picked).label("free"))
        .where(
            stock_lot.c.item.in_(list(quantities)),
            stock_lot.c.status == "released",
            stock_lot.c.quantity > stock_lot.c.picked,
        )
        .order_by(stock_lot.c.item, stock_lot.c.received_at, stock_lot.c.id)
    )
    free: dict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    for row in await tx.all(query):
        free[row["item"]].append((row["lot"], row["free"]))
    picks = {item: rules.first_in_first_out(free[item], wanted) for item, wanted in quantities.items()}
    await _change_picked(tx, {p.lot: p.quantity for found in picks.values() for p in found})
    return picks


async def unpick(tx: Tx, picks: Iterable[Pick]) -> None:
    """Undo picks."""
    back: dict[str, Decimal] = defaultdict(Decimal)
    for done in picks:
        back[done.lot] -= done.quantity
    await _change_picked(tx, back)


async def _change_picked(tx: Tx, change: Mapping[str, Decimal]) -> None:
    if change:
        by = pairs(change, "by")
        picked = update(stock_lot).values(picked=stock_lot.c.picked + by.c.quantity)
        await tx.execute(picked.where(stock_lot.c.lot == by.c.key))


async def _set_status(tx: Tx, item: str, lot: str, status: str, earlier: Collection[str]) -> bool:
    unknown = upsert(stock_lot).values(lot=lot, id=new_id(), item=item, quantity=0, status=status)
    if (await tx.execute(unknown.on_conflict_do_nothing())).rowcount:
        return True
    change = (
        update(stock_lot)
        .values(status=status)
        .where(stock_lot.c.lot == lot, stock_lot.c.item == item, stock_lot.c.status.in_(earlier))
        .returning(stock_lot.c.quantity)
    )
    quantity = await tx.scalar(change)
    if quantity is None:
        return False
    into_held = {"held": quantity, "released": -quantity, "scrapped": _ZERO}[status]
    held = update(balance).values(held=balance.c.held + into_held, updated_at=tx.now)
    await tx.execute(held.where(balance.c.item == item))
    return True


async def count(tx: Tx, item: str, counted: Decimal, lot: str | None = None, note: str | None = None) -> Decimal:
    """Set a lot, or without one the whole item, to the counted quantity; returns the difference booked.

    Without a lot, what is missing is taken from the oldest lots (held ones last) and what is found becomes a new lot.
    Raises 422 when the lot is another item's, 409 when it was scrapped.
    """
    if lot is None:
        present = await lots_in_stock(tx, item)
        difference = counted - sum((row["quantity"] for row in present), _ZERO)
    else:
        present = [row] if (row := await _open_lot(tx, item, lot)) else []
        difference = counted - (present[0]["quantity"] if present else _ZERO)
    if difference > 0:
        await receive(tx, item, lot, difference, "count", note=note)
    elif difference < 0:
        picks = rules.first_in_first_out([(row["lot"], row["quantity"]) for row in present], -difference)
        await issue_many(tx, [Move(item, pick.lot, pick.quantity) for pick in picks], "count", note=note)
    if difference:
        await post_adjustment(tx, tx.event_ids[-1], {item: difference})
    return difference


async def take_in(tx: Tx, item: str, lot: str | None, quantity: Decimal, note: str | None = None) -> None:
    """Receive goods nobody ordered; raises 422 when the lot is another item's, 409 when it was scrapped."""
    if lot is not None:
        await _open_lot(tx, item, lot)
    await receive(tx, item, lot, quantity, "receipt", note=note)
    await post_adjustment(tx, tx.event_ids[-1], {item: quantity})


async def _open_lot(tx: Tx, item: str, lot: str) -> RowMapping | None:
    row = (await find_lots(tx, [lot])).get(lot)
    if row is not None and row["item"] != item:
        raise invalid("/lot", "lot_of_other_item", f"lot {lot!r} is not a lot of item {item!r}")
    if row is not None and row["status"] == "scrapped":
        raise wrong_state(f"lot {lot!r} was scrapped", "lot_scrapped")
    return row

"""Use cases of lots: consume, produce, hold, release, scrap, and folding ERP's receipts and shipments."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, bindparam, func, insert, literal, or_, select, update
from sqlalchemy.dialects import postgresql

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.events import EventMeta
from chassis.http.problems import FieldError, broken_rules, not_found, wrong_state
from chassis.messaging.handlers import PermanentError
from contracts.envelope import Reason
from contracts.erp import ShipmentShipped, StockMoved
from contracts.mes import ConsumedLot, LotEvent, LotHeld, LotReleased, LotScrapped
from contracts.values import plain
from mes.traceability import queries, rules
from mes.traceability.tables import LOT_NUMBER, batch_input, consumption, lot, lot_receipt, lot_shipment

_DISPOSED: Mapping[rules.Disposition, type[LotEvent]] = MappingProxyType(
    {"hold": LotHeld, "release": LotReleased, "scrap": LotScrapped}
)
_PAST: Mapping[rules.Disposition, str] = MappingProxyType({"hold": "held", "release": "released", "scrap": "scrapped"})


async def consume(
    tx: Tx, work_order: Mapping[str, Any], operation_id: UUID, consumed: Sequence[ConsumedLot], backflushed: bool
) -> None:
    """Take quantities of lots into a work order (its `id` and `number`), whose row the caller has locked.

    The caller checks that the items are components and appends MaterialConsumed. Raises 422 with pointers
    ``/consumed/<i>/…`` (unknown_lot, lot_of_another_item, exceeds_lot) and 409 ``lot_held`` when a lot is not released.
    """
    if not consumed:
        return
    locked = await lock_lots(tx, {entry.lot for entry in consumed})
    _check_consumption(locked, consumed)
    await tx.execute(
        update(lot)
        .where(lot.c.lot == bindparam("name"))
        .values(consumed=lot.c.consumed + bindparam("taken"), updated_at=tx.now),
        [{"name": name, "taken": quantity} for name, quantity in sorted(_by_lot(consumed).items())],
    )
    await tx.execute(
        insert(consumption),
        [
            {
                "id": new_id(),
                "work_order_id": work_order["id"],
                "work_order": work_order["number"],
                "operation_id": operation_id,
                "item": entry.item,
                "lot": entry.lot,
                "quantity": entry.quantity,
                "backflushed": backflushed,
                "shared": False,
                "consumed_at": tx.now,
            }
            for entry in consumed
        ],
    )


async def backflush(tx: Tx, requirements: Mapping[str, Decimal]) -> list[ConsumedLot]:
    """Choose released lots, oldest first, for quantities required by item; locks them until the transaction ends.

    Give the choice to `consume`. It is less than required where stock on record is: what was made cannot be refused.
    """
    chosen = []
    for item, required in sorted(requirements.items()):
        tried: set[str] = set()
        open_quantity = required
        while open_quantity > 0 and (names := await _oldest_lots(tx, item, open_quantity, tried)):
            tried.update(names)
            locked = await lock_lots(tx, names)
            released = [
                rules.Available(name, locked[name]["quantity"])
                for name in names
                if locked[name]["status"] == "released"
            ]
            for taken in rules.take(released, open_quantity):
                chosen.append(ConsumedLot(item=item, lot=taken.lot, quantity=taken.quantity))
                open_quantity -= taken.quantity
    return chosen


async def produce(
    tx: Tx, work_order: Mapping[str, Any], batch_id: UUID, batch_number: str, quantity: Decimal
) -> tuple[str, list[ConsumedLot]]:
    """Make the lot of a finished batch of a work order (its `id`, `number`, `item`), whose row the caller has locked.

    Returns the new lot and what was consumed since the previous batch, summed per lot.
    """
    inputs = await _link_inputs(tx, work_order["id"], batch_id)
    row = {
        "item": work_order["item"],
        "status": "released",
        "origin": "produced",
        "received": quantity,
        "work_order_id": work_order["id"],
        "work_order": work_order["number"],
        "batch_id": batch_id,
        "batch": batch_number,
    }
    # A number may be taken: receipts name their lots as they like.
    while not await insert_lot(tx, name := await tx.number(LOT_NUMBER, "L"), row):
        pass
    return name, inputs


async def dispose(tx: Tx, reference: str, disposition: rules.Disposition, text: str) -> RowMapping:
    """Hold, release or scrap a lot on somebody's decision; returns its record.

    Raises 404 when it is unknown, 409 when its status does not allow the disposition.
    """
    row = await tx.first(select(lot).where(matches(lot, reference, "lot")).with_for_update())
    if row is None:
        raise not_found("lot", reference)
    if rules.next_status(row["status"], disposition) is None:
        raise wrong_state(f"lot {row['lot']!r} is {row['status']}; it cannot be {_PAST[disposition]}")
    await _change_status(tx, row, disposition, Reason(code=disposition.upper(), text=text))
    return await queries.lot_record(tx, row["lot"])


async def hold_locked(tx: Tx, locked: Iterable[RowMapping], reason: Reason, correlation_id: str | None) -> None:
    """Hold those of the locked lots that are released."""
    for row in locked:
        if row["status"] == "released":
            await _change_status(tx, row, "hold", reason, correlation_id)


async def fold_stock_move(tx: Tx, moved: StockMoved, meta: EventMeta) -> None:
    """Take over a row of ERP's stock ledger; a lot unknown so far begins with it.

    Raises PermanentError when the lot is known as another item's.
    """
    tally = rules.tally_of(moved.reason, moved.quantity)
    if tally is None:
        return
    name, change = tally
    column = lot.c[name]
    statement = (
        update(lot)
        .where(lot.c.lot == moved.lot, lot.c.item == moved.item)
        .values({column: column + change, lot.c.updated_at: tx.now})
    )
    if (await tx.execute(statement)).rowcount == 0:
        values = {
            "item": moved.item,
            "status": "released",
            "origin": "purchased" if moved.reason == "purchase_receipt" else "received",
            "supplier": moved.supplier,
            "supplier_lot": moved.supplier_lot,
            "purchase_order": moved.purchase_order,
            name: change,
        }
        # A lot of this name made meanwhile by another transaction is found by the second update.
        if not await insert_lot(tx, moved.lot, values) and (await tx.execute(statement)).rowcount == 0:
            raise PermanentError(f"lot {moved.lot!r} is not of item {moved.item!r}")
    if moved.reason == "purchase_receipt":
        await tx.execute(
            insert(lot_receipt).values(
                id=meta.event_id,
                lot=moved.lot,
                item=moved.item,
                supplier=moved.supplier,
                supplier_lot=moved.supplier_lot,
                purchase_order=moved.purchase_order,
                quantity=moved.quantity,
                received_at=meta.time,
            )
        )


async def record_shipment(tx: Tx, shipped: ShipmentShipped) -> None:
    """Remember which lots left with a shipment, for whom."""
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in shipped.lines:
        for picked in line.lots:
            totals[picked.lot, line.item] += picked.quantity
    if not totals:
        return
    rows = [
        {
            "shipment_id": shipped.shipment_id,
            "lot": name,
            "shipment": shipped.shipment,
            "order_id": shipped.order_id,
            "order": shipped.order,
            "customer": shipped.customer,
            "item": item,
            "quantity": quantity,
            "shipped_at": shipped.shipped_at,
        }
        for (name, item), quantity in totals.items()
    ]
    await tx.execute(postgresql.insert(lot_shipment).on_conflict_do_nothing(), rows)


async def insert_lot(tx: Tx, name: str, values: Mapping[str, Any]) -> bool:
    """Insert a lot unless one of this name exists; returns whether it was inserted."""
    statement = (
        postgresql.insert(lot)
        .values(id=new_id(), version=0, lot=name, created_at=tx.now, updated_at=tx.now, **values)
        .on_conflict_do_nothing(index_elements=[lot.c.lot])
        .returning(lot.c.lot)
    )
    return await tx.scalar(statement) is not None


async def lock_lots(tx: Tx, names: Iterable[str]) -> dict[str, RowMapping]:
    """The named lots that exist, locked in the order of their names."""
    query = select(lot).where(lot.c.lot.in_(sorted(set(names)))).order_by(lot.c.lot).with_for_update()
    return {row["lot"]: row for row in await tx.all(query)}


async def _change_status(
    tx: Tx, row: RowMapping, disposition: rules.Disposition, reason: Reason, correlation_id: str | None = None
) -> None:
    version = row["version"] + 1
    await tx.execute(
        update(lot)
        .where(lot.c.id == row["id"])
        .values(
            status=rules.next_status(row["status"], disposition),
            reason=reason.text,
            version=version,
            updated_at=tx.now,
        )
    )
    event = _DISPOSED[disposition](aggregate_version=version, lot=row["lot"], item=row["item"], reason=reason)
    tx.append(event, correlation_id)


def _check_consumption(locked: Mapping[str, RowMapping], consumed: Sequence[ConsumedLot]) -> None:
    wanted = _by_lot(consumed)
    errors = []
    for index, entry in enumerate(consumed):
        row = locked.get(entry.lot)
        if row is None:
            errors.append(_error(index, "lot", "unknown_lot", f"lot {entry.lot!r} is unknown"))
        elif row["item"] != entry.item:
            errors.append(_error(index, "item", "lot_of_another_item", f"lot {entry.lot!r} is of item {row['item']!r}"))
        elif refusal := rules.consumption_refusal(row["status"], row["quantity"], wanted[entry.lot]):
            if refusal == "not_released":
                raise wrong_state(f"lot {entry.lot!r} is {row['status']} and must not be used", "lot_held")
            left = f"lot {entry.lot!r} has {plain(row['quantity'])} left"
            errors.append(_error(index, "quantity", "exceeds_lot", left))
    if errors:
        raise broken_rules(errors)


def _error(index: int, name: str, rule: str, message: str) -> FieldError:
    return FieldError(field=f"/consumed/{index}/{name}", rule=rule, message=message)


def _by_lot(consumed: Iterable[ConsumedLot]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for entry in consumed:
        totals[entry.lot] += entry.quantity
    return totals


async def _oldest_lots(tx: Tx, item: str, required: Decimal, tried: set[str]) -> list[str]:
    """As many of the oldest released lots, not tried yet, as together hold `required`."""
    oldest_first = (lot.c.created_at, lot.c.id)
    candidates = (
        select(
            lot.c.lot,
            *oldest_first,
            (func.sum(lot.c.quantity).over(order_by=oldest_first) - lot.c.quantity).label("before"),
        )
        .where(lot.c.item == item, lot.c.status == "released", lot.c.quantity > 0, lot.c.lot.not_in(tried))
        .subquery()
    )
    query = select(candidates.c.lot).where(candidates.c.before < required)
    rows = await tx.all(query.order_by(candidates.c.created_at, candidates.c.id))
    return [row["lot"] for row in rows]


async def _link_inputs(tx: Tx, work_order_id: UUID, batch_id: UUID) -> list[ConsumedLot]:
    """Record which consumption this batch may contain; returns what no earlier batch contained, summed per lot.

    Consumption reported together with the batch is in this batch alone. What was reported ahead of it, at an earlier
    operation or report, may be in this and every later batch. An item nothing of which was reported since the
    previous batch comes from what that batch had of it.
    """
    pending = and_(consumption.c.work_order_id == work_order_id, consumption.c.batch_id.is_(None))
    new = await tx.all(
        update(consumption)
        .where(pending)
        .values(batch_id=batch_id, shared=consumption.c.consumed_at != tx.now)
        .returning(consumption.c.id, consumption.c.item, consumption.c.lot, consumption.c.quantity)
    )
    if new:
        await tx.execute(insert(batch_input), [{"batch_id": batch_id, "consumption_id": row["id"]} for row in new])
    previous = (
        select(lot.c.batch_id)
        .where(lot.c.work_order_id == work_order_id)
        .order_by(lot.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    shared_items = (
        select(consumption.c.item)
        .join(batch_input, batch_input.c.consumption_id == consumption.c.id)
        .where(batch_input.c.batch_id == previous, consumption.c.shared)
    )
    inherited = (
        select(literal(batch_id), consumption.c.id)
        .join(batch_input, batch_input.c.consumption_id == consumption.c.id)
        .where(
            batch_input.c.batch_id == previous,
            or_(
                consumption.c.shared,
                and_(consumption.c.item.not_in({row["item"] for row in new}), consumption.c.item.not_in(shared_items)),
            ),
        )
    )
    await tx.execute(insert(batch_input).from_select(["batch_id", "consumption_id"], inherited))
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in new:
        totals[row["item"], row["lot"]] += row["quantity"]
    return [ConsumedLot(item=item, lot=name, quantity=quantity) for (item, name), quantity in sorted(totals.items())]

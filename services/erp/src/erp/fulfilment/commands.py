"""Driving each customer order from placing to delivery, and the tail of every planning transaction."""

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select

from chassis.db import Tx, matches
from chassis.http.problems import not_found, wrong_state
from contracts.crm import OrderAmended, OrderCancelled, OrderPlaced, OrderState
from contracts.envelope import Reason
from contracts.erp import ShipmentDelivered, ShipmentShipped
from erp.finance.commands import InvoiceLine, create_invoice, post_shipment
from erp.fulfilment import processes
from erp.fulfilment.processes import Line, Process, published_lots
from erp.fulfilment.queries import get_shipment
from erp.fulfilment.rules import Command, Event, PickedLine, State, allocated, transition
from erp.fulfilment.shipments import Shipment, Wanted, load_lines, mark, orders_with_broken_picks, pick_anew
from erp.fulfilment.tables import shipment
from erp.inventory.commands import issue_many, lock_balances
from erp.inventory.queries import find_lots
from erp.inventory.rules import Move
from erp.planning import commands as planning
from erp.planning.commands import OrderNeeds, Outcome
from erp.planning.queries import Coverage, coverage_of_orders
from erp.procurement.commands import place
from erp.promising.queries import arrivals
from erp.promising.rules import AMENDED, Ready, Why, first_promise, revised

_ZERO = Decimal(0)
_COVERABLE = (State.OPEN, State.ALLOCATED)


async def order_placed(tx: Tx, event: OrderPlaced) -> None:
    """Cover a new order and promise it. Raises PermanentError when an item is not defined."""
    if await processes.load(tx, [event.order_id]):
        return
    process = Process(
        event.order_id, event.number, 0, State.OPEN, event.aggregate_version, event.customer, event.currency
    )
    process.lines = {o.line: Line(o.line, o.item, o.quantity, o.unit_price) for o in event.lines}
    await processes.store(tx, process)
    await _follow_order(tx, event.order_id, await planning.plan_order(tx, _needs(event)))


async def order_amended(tx: Tx, event: OrderAmended, event_id: UUID) -> None:
    """Cover what the order wants now; once it has shipped, it stays as it was shipped."""
    process = (await processes.load(tx, [event.order_id])).get(event.order_id)
    if process is None or event.aggregate_version <= process.order_version:
        return
    process.state, commands = transition(process.state, Event.AMENDED)
    if Command.PLAN_DEMANDS not in commands:
        return
    process.order_version = event.aggregate_version
    process.currency = event.currency
    wanted = {o.line: o for o in event.lines}
    for line in process.lines.values():
        now_wanted = wanted[line.line].quantity if line.line in wanted else _ZERO
        line.cancelled += max(line.quantity - now_wanted, _ZERO)
        line.quantity = now_wanted
    for o in event.lines:
        known = process.lines.setdefault(o.line, Line(o.line, o.item, o.quantity, o.unit_price))
        known.item, known.unit_price = o.item, o.unit_price
    await processes.store(tx, process)
    reason = Reason(code=AMENDED, text=f"the order was amended: {', '.join(event.changed)}", event_id=str(event_id))
    outcome = await planning.plan_order(tx, _needs(event), reason)
    outcome.causes[event.order_id] = reason
    await _follow_order(tx, event.order_id, outcome)


async def order_cancelled(tx: Tx, event: OrderCancelled, event_id: UUID) -> None:
    """Give back everything the order had; once it has shipped, nothing is left to cancel."""
    process = (await processes.load(tx, [event.order_id])).get(event.order_id)
    if process is None or event.aggregate_version <= process.order_version:
        return
    process.state, commands = transition(process.state, Event.CANCELLED)
    if Command.WITHDRAW_DEMANDS not in commands:
        return
    process.order_version = event.aggregate_version
    for line in process.lines.values():
        line.cancelled += line.quantity
        line.quantity = _ZERO
    await processes.store(tx, process)
    needs = OrderNeeds(event.order_id, event.number, 0, tx.now, {})
    reason = Reason(code="CANCELLED", text=f"order {event.number} was cancelled", event_id=str(event_id))
    await _follow_order(tx, event.order_id, await planning.plan_order(tx, needs, reason))


async def settle(tx: Tx, items: Collection[str], reason: Reason | None = None) -> None:
    """Bring demands, promises and shipments up to stock that changed; under the planning lock."""
    await follow_up(tx, await planning.settle(tx, items, reason))


async def follow_up(tx: Tx, outcome: Outcome) -> None:
    """The tail of every planning transaction: order what is short, then move each touched order on, once."""
    await place(tx, outcome.purchases)
    touched = outcome.orders | await orders_with_broken_picks(tx, outcome.items)
    if not touched:
        return
    known = await processes.load(tx, touched)
    coverage = await coverage_of_orders(tx, known)
    shippable = [process for process in known.values() if process.state in (*_COVERABLE, State.CANCELLED)]
    lots = await pick_anew(tx, [_advance(process, coverage) for process in shippable])
    waiting = [process.order_id for process in known.values() if process.state in _COVERABLE]
    expected = await arrivals(tx, waiting, tx.now)
    for process in known.values():
        of_lines = published_lots(process)
        if process in shippable:
            of_lines = {line: lots.get((process.order_id, line), []) for line in process.lines}
        process.publish(tx, coverage, of_lines)
        if process.order_id in expected:
            _promise(tx, process, expected[process.order_id], outcome.causes.get(process.order_id))
    await processes.save(tx, known.values())


async def promise_anew(tx: Tx, order_ids: set[UUID]) -> None:
    """Promise orders anew whose supplies are expected at another time; under the planning lock."""
    if not order_ids:
        return
    known = await processes.load(tx, order_ids)
    expected = await arrivals(tx, [i for i, process in known.items() if process.state in _COVERABLE], tx.now)
    moved = [known[order_id] for order_id, ready in expected.items() if _promise(tx, known[order_id], ready, None)]
    await processes.save(tx, moved)


async def ship(tx: Tx, reference: str) -> dict[str, Any]:
    """The goods leave the house: stock, books, invoice and order follow; the shipment's record.

    Raises Problem 404, 409 wrong_state unless planned, 409 lot_held while a picked lot is held, 409 not_allocated
    while a replacement is still to come.
    """
    await planning.lock(tx)
    planned = await _shipment(tx, reference)
    if planned["state"] != "planned":
        raise wrong_state(f"shipment {planned['number']} is {planned['state']}")
    lines = (await load_lines(tx, [planned["id"]]))[planned["id"]]
    await lock_balances(tx, {line.item for line in lines})
    await _check_lots(tx, lines)
    process = (await processes.load(tx, [planned["order_id"]]))[planned["order_id"]]
    process.state, commands = transition(process.state, Event.SHIPPED)
    if Command.INVOICE not in commands or any(line.missing for line in lines):
        raise wrong_state(f"order {process.order} is not fully allocated", "not_allocated")
    event_id = await _post_shipped(tx, planned, lines, process)
    for line in lines:
        process.lines[line.line].shipped = line.quantity
    await _publish_shipped(tx, process)
    await _invoice(tx, event_id, planned["id"], process)
    return await get_shipment(tx, str(planned["id"]))


async def deliver(tx: Tx, reference: str) -> dict[str, Any]:
    """The carrier confirms delivery: the order is delivered and, invoiced as it is, closed; the shipment's record.

    Raises Problem 404, 409 wrong_state unless shipped.
    """
    await planning.lock(tx)
    shipped = await _shipment(tx, reference)
    if shipped["state"] != "shipped":
        raise wrong_state(f"shipment {shipped['number']} is {shipped['state']}")
    process = (await processes.load(tx, [shipped["order_id"]]))[shipped["order_id"]]
    lines = (await load_lines(tx, [shipped["id"]]))[shipped["id"]]
    record = _record(shipped, lines)
    await mark(tx, record.id, record.version, "delivered", tx.now)
    tx.append(ShipmentDelivered(**record.facts(), delivered_at=tx.now), str(process.order_id))
    for line in process.lines.values():
        line.delivered = line.shipped
    process.state, _ = transition(process.state, Event.DELIVERED)
    await _publish_shipped(tx, process)
    process.state, _ = transition(process.state, Event.INVOICED)
    await _publish_shipped(tx, process)
    return await get_shipment(tx, str(record.id))


def _needs(event: OrderState) -> OrderNeeds:
    # Goods must leave the day before they are wanted, so be there when that day ends.
    need = datetime.combine(event.requested_date, time.min, UTC)
    lines = {line.line: (line.item, line.quantity) for line in event.lines}
    return OrderNeeds(event.order_id, event.number, event.priority, need, lines)


async def _follow_order(tx: Tx, order_id: UUID, outcome: Outcome) -> None:
    outcome.orders.add(order_id)
    await follow_up(tx, outcome)


def _advance(process: Process, coverage: dict[tuple[UUID, int, str], Coverage]) -> Wanted:
    """Tell the process whether everything is reserved; what its shipment should hold then."""
    lines = []
    for line in process.lines.values():
        covered = coverage.get((process.order_id, line.line, line.item))
        reserved = covered.reserved if covered else _ZERO
        lines.append(PickedLine(line.line, line.item, line.quantity - line.shipped, reserved))
    complete = allocated((line.quantity, line.reserved) for line in lines)
    process.state, commands = transition(process.state, Event.ALLOCATED if complete else Event.ALLOCATION_LOST)
    return Wanted(
        process.order_id,
        process.order,
        process.customer,
        lines,
        allocated=Command.PICK in commands,
        cancelled=process.state is State.CANCELLED,
    )


def _promise(tx: Tx, process: Process, expected: Ready, cause: Reason | None) -> bool:
    """Promise an order first or anew, and tell whether that was called for; `cause` is what just happened to it."""
    told = process.promise
    if told is None:
        process.promise_first(tx, first_promise(expected))
        return True
    why = Why(cause.code, cause.text, cause.event_id) if cause else None
    promise = revised(told, expected, cause=why, amended=cause is not None and cause.code == AMENDED)
    if promise is not None:
        process.promise_again(tx, told, promise)
    return promise is not None


async def _shipment(tx: Tx, reference: str) -> RowMapping:
    row = await tx.first(select(shipment).where(matches(shipment, reference)).with_for_update())
    if row is None:
        raise not_found("shipment", reference)
    return row


async def _check_lots(tx: Tx, lines: list[PickedLine]) -> None:
    lots = await find_lots(tx, {lot for line in lines for lot in line.picks})
    held = sorted(lot for lot, row in lots.items() if row["status"] == "held")
    if held:
        raise wrong_state(f"picked lots are held: {', '.join(held)}", "lot_held")


def _record(row: RowMapping, lines: list[PickedLine]) -> Shipment:
    return Shipment(row["id"], row["number"], row["version"] + 1, row["order_id"], row["order"], row["customer"], lines)


async def _post_shipped(tx: Tx, planned: RowMapping, lines: list[PickedLine], process: Process) -> UUID:
    """Issue the picked lots to the shipment and book them out; the id of ShipmentShipped."""
    record = _record(planned, lines)
    await mark(tx, record.id, record.version, "shipped", tx.now)
    event_id = tx.append(ShipmentShipped(**record.facts(), shipped_at=tx.now), str(process.order_id))
    moves = [Move(line.item, lot, quantity) for line in lines for lot, quantity in line.picks.items()]
    await issue_many(tx, moves, "shipment", shipment=record.number, source_event=event_id)
    await planning.issue_order(tx, process.order_id, {line.line: line.quantity for line in lines})
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        quantities[line.item] += line.quantity
    await post_shipment(tx, event_id, process.order_id, quantities)
    return event_id


async def _invoice(tx: Tx, event_id: UUID, shipment_id: UUID, process: Process) -> None:
    shipped = [line for line in process.lines.values() if line.shipped > 0]
    await create_invoice(
        tx,
        event_id,
        order_id=process.order_id,
        order=process.order,
        customer=process.customer,
        shipment_id=shipment_id,
        currency=process.currency,
        lines=[InvoiceLine(line.line, line.item, line.shipped, line.unit_price) for line in shipped],
    )


async def _publish_shipped(tx: Tx, process: Process) -> None:
    coverage = await coverage_of_orders(tx, [process.order_id])
    process.publish(tx, coverage, published_lots(process))
    await processes.save(tx, [process])
    await processes.store_lines(tx, [process])

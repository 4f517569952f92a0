"""Picks of planned shipments: kept in step with what is reserved for their orders and the lots it lies in."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, select, update

from chassis.clock import new_id
from chassis.db import Tx
from contracts.erp import PickedLot, ShipmentCancelled, ShipmentLine, ShipmentPlanned
from erp.fulfilment.rules import Lot, PickedLine, drop_broken
from erp.fulfilment.tables import shipment, shipment_line, shipment_lot, shipment_number
from erp.inventory.commands import pick_many, unpick
from erp.inventory.queries import broken_picks, find_lots
from erp.inventory.rules import Pick


@dataclass
class Shipment:
    """A planned shipment and what is picked for it."""

    id: UUID
    number: str
    version: int
    order_id: UUID
    order: str
    customer: str
    lines: list[PickedLine]

    def facts(self) -> dict[str, Any]:
        """What every shipment event carries."""
        return {
            "aggregate_version": self.version,
            "shipment_id": self.id,
            "shipment": self.number,
            "order_id": self.order_id,
            "order": self.order,
            "customer": self.customer,
            "lines": [
                ShipmentLine(
                    line=line.line,
                    item=line.item,
                    quantity=line.quantity,
                    lots=[PickedLot(lot=lot, quantity=quantity) for lot, quantity in sorted(line.picks.items())],
                )
                for line in self.lines
            ],
        }


@dataclass(frozen=True)
class Wanted:
    """What an order's shipment should hold: per line item, open quantity and what is reserved of it."""

    order_id: UUID
    order: str
    customer: str
    lines: Sequence[PickedLine]
    # Whether everything is reserved; whether the shipment is off for good.
    allocated: bool
    cancelled: bool


async def orders_with_broken_picks(tx: Tx, items: Collection[str]) -> set[UUID]:
    """Orders whose planned shipments count on lots of these items that cannot give what was picked in them."""
    broken = await broken_picks(tx, items) if items else []
    if not broken:
        return set()
    query = (
        select(shipment.c.order_id)
        .join(shipment_lot, shipment_lot.c.shipment_id == shipment.c.id)
        .where(shipment.c.state == "planned", shipment_lot.c.lot.in_([row["lot"] for row in broken]))
    )
    return {row["order_id"] for row in await tx.all(query)}


async def load_planned(tx: Tx, order_ids: Collection[UUID]) -> dict[UUID, Shipment]:
    """Lock and load the planned shipments of orders, by order."""
    query = select(shipment).where(shipment.c.order_id.in_(order_ids), shipment.c.state == "planned")
    rows = await tx.all(query.order_by(shipment.c.id).with_for_update())
    if not rows:
        return {}
    lines = await load_lines(tx, [row["id"] for row in rows])
    return {
        row["order_id"]: Shipment(
            row["id"], row["number"], row["version"], row["order_id"], row["order"], row["customer"], lines[row["id"]]
        )
        for row in rows
    }


async def load_lines(tx: Tx, shipment_ids: Collection[UUID]) -> dict[UUID, list[PickedLine]]:
    """Lines of shipments with their picks."""
    picks: dict[tuple[UUID, int], dict[str, Decimal]] = defaultdict(dict)
    for row in await tx.all(select(shipment_lot).where(shipment_lot.c.shipment_id.in_(shipment_ids))):
        picks[row["shipment_id"], row["line"]][row["lot"]] = row["quantity"]
    lines: dict[UUID, list[PickedLine]] = defaultdict(list)
    query = select(shipment_line).where(shipment_line.c.shipment_id.in_(shipment_ids))
    for row in await tx.all(query.order_by(shipment_line.c.shipment_id, shipment_line.c.line)):
        picked = picks[row["shipment_id"], row["line"]]
        lines[row["shipment_id"]].append(PickedLine(row["line"], row["item"], row["quantity"], row["quantity"], picked))
    return lines


async def pick_anew(tx: Tx, wanted: Iterable[Wanted]) -> dict[tuple[UUID, int], list[str]]:
    """Bring planned shipments up to what their orders want: pick, drop picks, plan or cancel; the lots per line.

    Raises RuntimeError when released lots hold less than is reserved.
    """
    orders = {order.order_id: order for order in wanted}
    planned = await load_planned(tx, orders)
    if not planned and not any(order.allocated for order in orders.values()):
        return {}
    before = {order_id: _picked(known.lines) for order_id, known in planned.items()}
    lines = {order_id: _wanted_lines(order, planned.get(order_id)) for order_id, order in orders.items()}
    await _drop(tx, orders, lines)
    back = [
        Pick(lot, quantity - kept)
        for order_id, picked in before.items()
        for (line, lot), quantity in picked.items()
        if (kept := _picked(lines[order_id]).get((line, lot), Decimal(0))) < quantity
    ]
    if back:
        await unpick(tx, back)
    await _fill(tx, [line for order_id, order in orders.items() if order.allocated for line in lines[order_id]])
    await _save(tx, orders, planned, lines, before)
    return {
        (order_id, line.line): sorted(line.picks) for order_id, known in lines.items() for line in known if line.picks
    }


async def mark(tx: Tx, shipment_id: UUID, version: int, state: str, at: datetime) -> None:
    """Write a shipment's new state: shipped or delivered at a time, or cancelled."""
    values: dict[str, Any] = {"state": state, "version": version, "updated_at": at}
    if state in ("shipped", "delivered"):
        values[f"{state}_at"] = at
    await tx.execute(update(shipment).where(shipment.c.id == shipment_id).values(values))


def _wanted_lines(order: Wanted, planned: Shipment | None) -> list[PickedLine]:
    picks = {(line.line, line.item): line.picks for line in planned.lines} if planned else {}
    return [
        PickedLine(line.line, line.item, line.quantity, line.reserved, dict(picks.get((line.line, line.item), {})))
        for line in order.lines
        if line.quantity > 0
    ]


async def _drop(tx: Tx, orders: Mapping[UUID, Wanted], lines: Mapping[UUID, list[PickedLine]]) -> None:
    used = {lot for known in lines.values() for line in known for lot in line.picks}
    rows = await find_lots(tx, used) if used else {}
    lots = {
        lot: Lot(row["status"] == "released", row["status"] == "held", row["quantity"], row["picked"])
        for lot, row in rows.items()
    }
    excess = {lot: known.picked - known.quantity for lot, known in lots.items() if known.picked > known.quantity}
    for order_id, known in lines.items():
        order = orders[order_id]
        for line in known:
            if order.cancelled:
                line.picks.clear()
            else:
                drop_broken(line, lots, excess, keep_held=not order.allocated)
        # Without a held lot to wait for, picks of an order that cannot be shipped only keep goods from others.
        if not order.allocated and not any(lots[lot].held for line in known for lot in line.picks):
            for line in known:
                line.picks.clear()


async def _fill(tx: Tx, lines: Iterable[PickedLine]) -> None:
    missing = [line for line in lines if line.missing > 0]
    if not missing:
        return
    total: dict[str, Decimal] = defaultdict(Decimal)
    for line in missing:
        total[line.item] += line.missing
    found = {item: list(picks) for item, picks in (await pick_many(tx, total)).items()}
    for line in missing:
        while line.missing > 0:
            if not found[line.item]:
                raise RuntimeError(f"released lots of {line.item} hold less than is reserved")
            pick = found[line.item].pop(0)
            taken = min(pick.quantity, line.missing)
            line.picks[pick.lot] = line.picks.get(pick.lot, Decimal(0)) + taken
            if taken < pick.quantity:
                found[line.item].insert(0, Pick(pick.lot, pick.quantity - taken))


async def _save(
    tx: Tx,
    orders: Mapping[UUID, Wanted],
    planned: Mapping[UUID, Shipment],
    lines: Mapping[UUID, list[PickedLine]],
    before: Mapping[UUID, dict[tuple[int, str], Decimal]],
) -> None:
    """Write and publish what changed: shipments new, picked anew or cancelled."""
    new: list[Shipment] = []
    changed: list[Shipment] = []
    for order_id, order in orders.items():
        known = planned.get(order_id)
        picked = _picked(lines[order_id])
        if known is None and picked:
            number = await tx.number(shipment_number, "SH")
            new.append(Shipment(new_id(), number, 1, order_id, order.order, order.customer, lines[order_id]))
        elif known is not None and not picked:
            known.version += 1
            tx.append(ShipmentCancelled(**known.facts()), str(order_id))
            await mark(tx, known.id, known.version, "cancelled", tx.now)
        elif known is not None and (picked != before[order_id] or _sizes(known.lines) != _sizes(lines[order_id])):
            known.version += 1
            known.lines = lines[order_id]
            changed.append(known)
    for made in (*new, *changed):
        tx.append(ShipmentPlanned(**made.facts()), str(made.order_id))
    if new:
        rows = [_row(made, tx) for made in new]
        await tx.execute(insert(shipment), rows)
    if changed:
        ids = [made.id for made in changed]
        await tx.execute(delete(shipment_lot).where(shipment_lot.c.shipment_id.in_(ids)))
        await tx.execute(delete(shipment_line).where(shipment_line.c.shipment_id.in_(ids)))
        step = update(shipment).where(shipment.c.id == bindparam("of_id"))
        step = step.values(version=bindparam("new_version"), updated_at=tx.now)
        await tx.execute(step, [{"of_id": made.id, "new_version": made.version} for made in changed])
    await _save_lines(tx, [*new, *changed])


async def _save_lines(tx: Tx, shipments: Sequence[Shipment]) -> None:
    lines = [
        {"shipment_id": made.id, "line": line.line, "item": line.item, "quantity": line.quantity}
        for made in shipments
        for line in made.lines
    ]
    lots = [
        {"shipment_id": made.id, "line": line.line, "lot": lot, "quantity": quantity}
        for made in shipments
        for line in made.lines
        for lot, quantity in line.picks.items()
    ]
    if lines:
        await tx.execute(insert(shipment_line), lines)
    if lots:
        await tx.execute(insert(shipment_lot), lots)


def _row(made: Shipment, tx: Tx) -> dict[str, Any]:
    return {
        "id": made.id,
        "number": made.number,
        "version": made.version,
        "order_id": made.order_id,
        "order": made.order,
        "customer": made.customer,
        "state": "planned",
        "created_at": tx.now,
        "updated_at": tx.now,
    }


def _picked(lines: Iterable[PickedLine]) -> dict[tuple[int, str], Decimal]:
    return {(line.line, lot): quantity for line in lines for lot, quantity in line.picks.items()}


def _sizes(lines: Iterable[PickedLine]) -> dict[int, tuple[str, Decimal]]:
    return {line.line: (line.item, line.quantity) for line in lines}

"""Ordering what planning requires, receiving it, and checking suppliers whose lots are suspected."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.http.problems import FieldError, broken_rules, not_found
from contracts.envelope import Reason
from contracts.erp import (
    GoodsReceived,
    PurchaseOrderLine,
    PurchaseOrderPlaced,
    ReceivedLine,
    SupplierQualityCheckOpened,
)
from contracts.mes import DefectDetected
from erp.bulk import insert_rows, update_rows
from erp.finance.commands import Received, post_purchase_receipt
from erp.inventory.commands import lock_balances, receive
from erp.inventory.queries import find_lots
from erp.inventory.rules import Origin
from erp.items.queries import closure
from erp.planning.commands import Outcome, Purchase, receive_supply
from erp.procurement import rules
from erp.procurement.queries import get_purchase_order
from erp.procurement.rules import Delivered, Ordered, PurchaseOrderState
from erp.procurement.tables import (
    purchase_order,
    purchase_order_line,
    purchase_order_number,
    supplier_check,
    supplier_check_number,
)
from erp.settings import house_currency


async def place(tx: Tx, purchases: Sequence[Purchase]) -> None:
    """Order what planning requires: one purchase order per supplier, at standard cost where there is one."""
    if not purchases:
        return
    by_supplier: dict[str | None, list[Purchase]] = defaultdict(list)
    for purchase in purchases:
        by_supplier[purchase.requisition.definition.supplier].append(purchase)
    drawing = select(purchase_order_number.next_value()).select_from(func.generate_series(1, literal(len(by_supplier))))
    numbers = sorted((await tx.execute(drawing)).scalars())
    orders, lines = [], []
    for (supplier, group), number in zip(by_supplier.items(), numbers, strict=True):
        order = {
            "id": new_id(),
            "number": f"PO-{number:06d}",
            "version": 1,
            "supplier": supplier,
            "state": PurchaseOrderState.SENT.value,
            "currency": house_currency(),
            "created_at": tx.now,
            "updated_at": tx.now,
        }
        placed = [_line(purchase, position) for position, purchase in enumerate(group, start=1)]
        orders.append(order)
        lines += [{**line, "purchase_order_id": order["id"]} for line in placed]
        shares = [share for purchase in group for share in purchase.shares]
        event = PurchaseOrderPlaced(
            aggregate_version=1,
            purchase_order_id=order["id"],
            purchase_order=order["number"],
            supplier=supplier,
            currency=order["currency"],
            lines=[PurchaseOrderLine(**line) for line in placed],
            orders=sorted({share.order for share in shares}),
        )
        tx.append(event, str(shares[0].order_id) if shares else None)
    await insert_rows(tx, purchase_order, orders)
    await insert_rows(tx, purchase_order_line, lines)


async def receive_goods(tx: Tx, reference: str, delivered: Sequence[Delivered]) -> tuple[dict[str, Any], Outcome]:
    """Put a delivery into stock; the order's record and what planning made of it, to be followed up.

    Under the planning lock. Raises Problem 404, or 422 for a line not ordered, more than ordered or another item's lot.
    """
    order = await tx.first(select(purchase_order).where(matches(purchase_order, reference)).with_for_update())
    if order is None:
        raise not_found("purchase order", reference)
    stored = await tx.all(select(purchase_order_line).where(purchase_order_line.c.purchase_order_id == order["id"]))
    rows = {row["line"]: row for row in stored}
    ordered = {line: Ordered(row["item"], row["quantity"], row["received"]) for line, row in rows.items()}
    lots = await find_lots(tx, [part.lot for part in delivered if part.lot is not None])
    refused = rules.refusals(ordered, delivered, {lot: row["item"] for lot, row in lots.items()})
    if refused:
        raise broken_rules(
            [FieldError(field=f"/lines/{r.index}/{r.field}", rule=r.rule, message=r.message) for r in refused]
        )
    await lock_balances(tx, {ordered[part.line].item for part in delivered})
    received = [await _put_away(tx, order, ordered[part.line].item, part) for part in delivered]
    after = rules.received(ordered, delivered)
    state = rules.state_of(after.values())
    changed = {"state": state.value, "version": order["version"] + 1, "updated_at": tx.now}
    await tx.execute(update(purchase_order).where(purchase_order.c.id == order["id"]).values(changed))
    stock = [{"id": rows[line]["id"], "received": known.received} for line, known in after.items()]
    await update_rows(tx, purchase_order_line, stock, ["id"])
    event_id = tx.append(
        GoodsReceived(
            aggregate_version=changed["version"],
            purchase_order_id=order["id"],
            purchase_order=order["number"],
            supplier=order["supplier"],
            receipt_id=new_id(),
            lines=received,
            complete=state is PurchaseOrderState.RECEIVED,
        )
    )
    valued = [Received(part.item, part.quantity, rows[part.line]["price"]) for part in received]
    await post_purchase_receipt(tx, event_id, valued)
    came = {rows[line]["id"]: known.received - ordered[line].received for line, known in after.items()}
    outcome = await receive_supply(tx, {supply_id: quantity for supply_id, quantity in came.items() if quantity > 0})
    return await get_purchase_order(tx, str(order["id"])), outcome


@dataclass(frozen=True)
class _Suspicion:
    supplier: str
    item: str
    lot: str


async def open_supplier_checks(tx: Tx, event: DefectDetected, event_id: UUID) -> None:
    """Open one quality check per supplier whose lots are suspected; one that is open already stays as it is."""
    by_supplier: dict[str, list[_Suspicion]] = defaultdict(list)
    for suspicion in await _suspicions(tx, event):
        by_supplier[suspicion.supplier].append(suspicion)
    cause = Reason(
        code="DEFECT",
        text=f"{event.defect}: {event.characteristic} of {event.item} lot {event.lot} is bad",
        event_id=str(event_id),
    )
    for supplier, suspicions in sorted(by_supplier.items()):
        check = {
            "id": new_id(),
            "number": await tx.number(supplier_check_number, "SQC"),
            "version": 1,
            "supplier": supplier,
            "item": suspicions[0].item,
            "lots": sorted({suspicion.lot for suspicion in suspicions}),
            "state": "opened",
            "defect_id": event.defect_id,
            "cause": cause.model_dump(),
            "created_at": tx.now,
            "updated_at": tx.now,
        }
        if (await tx.execute(upsert(supplier_check).values(check).on_conflict_do_nothing())).rowcount:
            tx.append(
                SupplierQualityCheckOpened(
                    aggregate_version=1,
                    supplier_check_id=check["id"],
                    supplier_check=check["number"],
                    supplier=supplier,
                    item=check["item"],
                    lots=check["lots"],
                    defect_id=event.defect_id,
                    cause=cause,
                )
            )


def _line(purchase: Purchase, position: int) -> dict[str, Any]:
    required = purchase.requisition
    return {
        "id": required.supply.id,
        "line": position,
        "item": required.supply.item,
        "quantity": required.supply.quantity,
        "price": required.definition.standard_cost or required.definition.price,
        "due": required.due,
    }


async def _put_away(tx: Tx, order: Any, item: str, part: Delivered) -> ReceivedLine:
    origin = Origin(order["supplier"], part.supplier_lot, order["number"])
    lot = await receive(tx, item, part.lot, part.quantity, "purchase_receipt", origin=origin)
    return ReceivedLine(line=part.line, item=item, quantity=part.quantity, lot=lot, supplier_lot=part.supplier_lot)


async def _suspicions(tx: Tx, event: DefectDetected) -> list[_Suspicion]:
    """Suspected lots with their suppliers: whoever delivered the lot, else whom the item is bought from."""
    lots = await find_lots(tx, [suspect.lot for suspect in event.suspected_inputs])
    items = await closure(tx, [suspect.item for suspect in event.suspected_inputs])
    found = []
    for suspect in event.suspected_inputs:
        delivered_by = lots[suspect.lot]["supplier"] if suspect.lot in lots else None
        bought_from = items[suspect.item].supplier if suspect.item in items else None
        supplier = suspect.supplier or delivered_by or bought_from
        if supplier is not None:
            found.append(_Suspicion(supplier, suspect.item, suspect.lot))
    return found

"""What an event means to the orders it touches: whom it is about, and the sentence people read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chassis.events import EventMeta
from contracts import crm, erp, mes
from contracts.envelope import Event
from contracts.values import money_text, plain

# A machine, a lot or a purchase order is nobody's own: its events may be shown to every order that depends on it.
_SHARED = (
    mes.LotEvent,
    mes.MachineStateChanged,
    mes.DefectDetected,
    mes.InspectionCompleted,
    erp.PurchaseOrderEvent,
    erp.SupplierQualityCheckOpened,
)


@dataclass(frozen=True)
class Chapter:
    """One event as a part of stories."""

    event_id: str
    type: str
    time: datetime
    causation_id: str | None
    reason_event_id: str | None
    shared: bool
    text: str
    about: frozenset[str]
    parts: frozenset[tuple[str, str]]


def lot_anchor(lot: str) -> str:
    """What events about a lot are filed under."""
    return f"lot/{lot}"


def lot_of(anchor: str) -> str | None:
    """The lot of such an anchor; None of any other."""
    return anchor.removeprefix("lot/") if anchor.startswith("lot/") else None


def work_order_anchor(work_order_id: object) -> str:
    """What events about a work order are filed under."""
    return f"work-order/{work_order_id}"


def event_anchor(event_id: str) -> str:
    """What a shared event itself is filed under, so that it can be awaited."""
    return f"event/{event_id}"


def chapter(event: Event, meta: EventMeta) -> Chapter:
    """The event as it goes into stories."""
    event_id = str(meta.event_id)
    shared = isinstance(event, _SHARED)
    about, parts = _filed(event)
    if not about:
        about = {meta.correlation_id}
    if shared:
        about = {*about, event_anchor(event_id)}
    reason = getattr(event, "reason", None) or getattr(event, "cause", None)
    return Chapter(
        event_id=event_id,
        type=meta.type,
        time=meta.time,
        causation_id=meta.causation_id,
        reason_event_id=getattr(reason, "event_id", None),
        shared=shared,
        text=_SENTENCES[type(event)](event),
        about=frozenset(about),
        parts=frozenset(parts),
    )


def _filed(event: Any) -> tuple[set[str], set[tuple[str, str]]]:
    """What the event is about, and the (whole, part) pairs it tells; nothing when only its correlation tells."""
    about: set[str] = set()
    parts: set[tuple[str, str]] = set()
    match event:
        case crm.OrderEvent() | crm.CustomerNotified() | erp.ShipmentEvent() | erp.InvoicePosted():
            about = {str(event.order_id)}
        case erp.FulfilmentEvent():
            about = {str(event.order_id)}
            lots = {lot for line in getattr(event, "lines", ()) for lot in line.lots}
            parts = {(str(event.order_id), lot_anchor(lot)) for lot in lots}
        case erp.PlanEvent():
            about, parts = _serving(f"plan/{event.plan_id}", _pegged(event))
        case mes.WorkOrderEvent():
            about, parts = _serving(work_order_anchor(event.work_order_id), _pegged(event))
        case erp.PurchaseOrderEvent():
            about, parts = _serving(f"purchase-order/{event.purchase_order_id}", set(getattr(event, "orders", ())))
        case mes.BatchCompleted():
            anchor = work_order_anchor(event.work_order_id)
            about, parts = {anchor}, {(anchor, lot_anchor(out.lot)) for out in event.lots_out}
        case mes.DefectDetected():
            about = _pegged(event) | {lot_anchor(lot) for lot in (event.lot, *event.held_lots)}
        case mes.InspectionCompleted() | mes.LotEvent():
            about = {lot_anchor(event.lot)}
    return about, parts


def _pegged(event: Any) -> set[str]:
    return {str(peg.order_id) for peg in getattr(event, "pegs", ())}


def _serving(anchor: str, orders: set[str]) -> tuple[set[str], set[tuple[str, str]]]:
    return {anchor, *orders}, {(order, anchor) for order in orders}


def _day(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _because(reason: Any) -> str:
    return f" ({reason.text or reason.code})" if reason else ""


def _amounts(lines: Iterable[Any]) -> str:
    return ", ".join(f"{plain(line.quantity)} {line.item}" for line in lines)


def _fulfilment(event: erp.FulfilmentChanged) -> str:
    said = {
        "open": "waits for goods",
        "allocated": "has all its goods",
        "shipped": "is shipped",
        "delivered": "is delivered",
        "closed": "is delivered and invoiced",
        "cancelled": "is cancelled",
    }[event.state]
    reserved = _amounts(_Amount(line.item, line.reserved) for line in event.lines if line.reserved)
    return f"Order {event.order} {said}{f'; reserved: {reserved}' if reserved else ''}"


@dataclass(frozen=True)
class _Amount:
    item: str
    quantity: Any


def _scheduled(event: mes.WorkOrderScheduled) -> str:
    end = f"to finish {_day(event.planned_end)}" if event.planned_end else "without an end in sight"
    return f"Work order {event.work_order} is scheduled {end}{_because(event.reason)}"


def _reported(event: mes.ProductionProgressed) -> str:
    counts = {"good": event.reported_good, "scrap": event.reported_scrap, "to rework": event.reported_rework}
    said = ", ".join(f"{plain(count)} {name}" for name, count in counts.items() if count) or "nothing yet"
    why = f" ({event.reason})" if event.reason else ""
    return f"Work order {event.work_order} reported {said} at operation {event.operation}{why}"


def _machine(event: mes.MachineStateChanged) -> str:
    why = f": {event.reason}" if event.reason else ""
    return f"Machine {event.machine} is {event.state} since {_day(event.since)}{why}"


def _on(event: Any) -> str:
    return f" on {event.machine}" if event.machine else ""


_SENTENCES: Mapping[type[Event], Callable[[Any], str]] = {
    crm.OrderPlaced: lambda e: f"Order {e.number} placed: {_amounts(e.lines)}, wanted by {e.requested_date}",
    crm.OrderAmended: lambda e: (
        f"Order {e.number} amended ({', '.join(e.changed)}): {_amounts(e.lines)}, wanted by {e.requested_date}"
    ),
    crm.OrderCancelled: lambda e: f"Order {e.number} cancelled: {e.reason}",
    crm.CustomerNotified: lambda e: f"Customer told: {e.text}",
    erp.FulfilmentChanged: _fulfilment,
    erp.OrderPromised: lambda e: f"Promised for {e.promised_date}{_because(e.reason)}",
    erp.PromiseRevised: lambda e: f"Expected {_day(e.eta)}, promised for {e.promised_date}{_because(e.reason)}",
    erp.PlanReleased: lambda e: f"Plan {e.plan} released: make {plain(e.quantity)} {e.item}{_because(e.reason)}",
    erp.PlanChanged: lambda e: f"Plan {e.plan} changed: make {plain(e.quantity)} {e.item}{_because(e.reason)}",
    erp.PlanCancelled: lambda e: f"Plan {e.plan} for {e.item} cancelled{_because(e.reason)}",
    erp.PlanClosed: lambda e: f"Plan {e.plan} closed: {plain(e.received)} of {plain(e.quantity)} {e.item} received",
    erp.PurchaseOrderPlaced: lambda e: (
        f"Purchase order {e.purchase_order} placed: {_amounts(e.lines)}, "
        f"due {max((line.due for line in e.lines), default='unknown')}"
    ),
    erp.GoodsReceived: lambda e: f"Purchase order {e.purchase_order} received: {_amounts(e.lines)}",
    erp.ShipmentPlanned: lambda e: f"Shipment {e.shipment} picked: {_amounts(e.lines)}",
    erp.ShipmentShipped: lambda e: f"Shipment {e.shipment} left the house on {_day(e.shipped_at)}",
    erp.ShipmentDelivered: lambda e: f"Shipment {e.shipment} delivered on {_day(e.delivered_at)}",
    erp.ShipmentCancelled: lambda e: f"Shipment {e.shipment} cancelled",
    erp.InvoicePosted: lambda e: f"Invoice {e.invoice} posted: {money_text(e.amount)} {e.currency}",
    erp.SupplierQualityCheckOpened: lambda e: (
        f"Supplier check {e.supplier_check} opened for {e.item} from {e.supplier}{_because(e.cause)}"
    ),
    mes.WorkOrderCreated: lambda e: f"Work order {e.work_order} created: {plain(e.quantity)} {e.item}",
    mes.WorkOrderScheduled: _scheduled,
    mes.WorkOrderChanged: lambda e: f"Work order {e.work_order} {e.outcome}: {plain(e.quantity)} {e.item}",
    mes.WorkOrderCancelled: lambda e: f"Work order {e.work_order} cancelled{_because(e.reason)}",
    mes.OperationStarted: lambda e: f"Work order {e.work_order} started operation {e.operation}{_on(e)}",
    mes.OperationPaused: lambda e: (
        f"Work order {e.work_order} paused at operation {e.operation}{_on(e)}{_because(e.reason)}"
    ),
    mes.ProductionProgressed: _reported,
    mes.OperationCompleted: lambda e: (
        f"Work order {e.work_order} finished operation {e.operation}: "
        f"{plain(e.operation_good)} good, {plain(e.operation_scrap)} scrap"
    ),
    mes.MaterialConsumed: lambda e: (
        f"Work order {e.work_order} used "
        + ", ".join(f"{plain(c.quantity)} {c.item} of lot {c.lot}" for c in e.consumed)
    ),
    mes.WorkOrderCompleted: lambda e: (
        f"Work order {e.work_order} completed: {plain(e.good)} good, {plain(e.scrap)} scrap"
    ),
    mes.BatchCompleted: lambda e: (
        f"Batch {e.batch} completed: {plain(e.good)} {e.item}, lot " + ", ".join(out.lot for out in e.lots_out)
    ),
    mes.InspectionCompleted: lambda e: f"Inspection {e.inspection} of lot {e.lot}: {e.characteristic} {e.result}",
    mes.DefectDetected: lambda e: (
        f"Defect {e.defect} ({e.severity}) found in lot {e.lot}: {e.description or e.characteristic}"
    ),
    mes.LotHeld: lambda e: f"Lot {e.lot} of {e.item} held{_because(e.reason)}",
    mes.LotReleased: lambda e: f"Lot {e.lot} of {e.item} released{_because(e.reason)}",
    mes.LotScrapped: lambda e: f"Lot {e.lot} of {e.item} scrapped{_because(e.reason)}",
    mes.MachineStateChanged: _machine,
}
STORY_EVENTS = tuple(_SENTENCES)
"""Every event type that is told in stories."""

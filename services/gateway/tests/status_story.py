"""A made-up order from placing to closing, as the services would tell it, with everything that can go wrong."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from chassis.clock import new_id
from chassis.events import EventMeta
from chassis.messaging.inbox import Delivery
from contracts import crm, erp, mes
from contracts.envelope import Event, Reason

START = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)


@dataclass
class OrderStory:
    """Tells events of one order, each a minute after the one before; counts versions per aggregate."""

    number: str = "SO-000001"
    customer: str = "C-77"
    order_id: UUID = field(default_factory=new_id)
    plan_id: UUID = field(default_factory=new_id)
    work_order_id: UUID = field(default_factory=new_id)
    shipment_id: UUID = field(default_factory=new_id)
    told: list[Delivery] = field(default_factory=list)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    # Its own lots, so that two stories do not meet.
    lot: str = ""
    machine: str = "CUT-1"

    def __post_init__(self) -> None:
        self.lot = self.lot or f"L-{self.number}"

    def tell(
        self, model: type[Event], *, cause: Delivery | None = None, correlation: str | None = None, **fields: Any
    ) -> Delivery:
        """Append an event."""
        key = str(fields[model.KEY])
        version = self.versions[model.TOPIC, key] = self.versions.get((model.TOPIC, key), 0) + 1
        event = model(aggregate_version=version, **fields)
        meta = EventMeta(
            event_id=new_id(),
            type=model.TYPE,
            source="test",
            time=START + timedelta(minutes=len(self.told)),
            subject=key,
            correlation_id=correlation or str(self.order_id),
            causation_id=str(cause.meta.event_id) if cause else None,
        )
        self.told.append(Delivery(meta, event))
        return self.told[-1]

    def order(self, model: type[crm.OrderState], quantity: str = "4", **fields: Any) -> Delivery:
        """The customer's order: one line of a made item."""
        line = crm.OrderLine(line=1, item="SOFA-3S", quantity=Decimal(quantity), unit_price=Decimal(900))
        state: dict[str, Any] = {
            "order_id": self.order_id,
            "number": self.number,
            "customer_id": self.order_id,
            "customer": self.customer,
            "requested_date": date(2026, 12, 10),
            "priority": 50,
            "currency": "EUR",
            "lines": [line],
            **fields,
        }
        return self.tell(model, **state)

    def place(self) -> Delivery:
        """The customer orders."""
        return self.order(crm.OrderPlaced, placed_at=START)

    def amend(self, quantity: str) -> Delivery:
        """The customer wants another quantity."""
        return self.order(crm.OrderAmended, quantity, changed=["lines/1"])

    def cancel(self) -> Delivery:
        """The customer withdraws the order."""
        return self.tell(crm.OrderCancelled, order_id=self.order_id, number=self.number, reason="no longer needed")

    def promise(self, day: int, **fields: Any) -> Delivery:
        """ERP promises or revises the arrival."""
        known = {"order_id": self.order_id, "order": self.number, "customer": self.customer}
        eta = datetime(2026, 12, day, 16, 0, tzinfo=UTC)
        reason = fields.pop("reason", Reason(code="PLAN", text="made to order"))
        if not any(isinstance(d.event, erp.OrderPromised) for d in self.told):
            known |= {"basis": "plan"}
            model: type[Event] = erp.OrderPromised
        else:
            known |= {"old_promised_date": date(2026, 12, 1), "old_eta": START}
            model = erp.PromiseRevised
        return self.tell(model, **known, promised_date=date(2026, 12, day), eta=eta, reason=reason, **fields)

    def fulfilment(self, state: str, quantity: str = "4", **amounts: Any) -> Delivery:
        """ERP tells where the line stands."""
        none = dict.fromkeys(("reserved", "planned", "produced", "shipped", "delivered", "cancelled"), "0")
        lots = amounts.pop("lots", [])
        line = erp.LineFulfilment(line=1, item="SOFA-3S", quantity=quantity, lots=lots, **{**none, **amounts})
        return self.tell(
            erp.FulfilmentChanged,
            order_id=self.order_id,
            order=self.number,
            customer=self.customer,
            order_version=1,
            state=state,
            lines=[line],
        )

    def pegs(self, quantity: str = "4") -> list[erp.OrderPeg]:
        """What the plan serves."""
        return [erp.OrderPeg(order_id=self.order_id, order=self.number, line=1, quantity=quantity)]

    def plan(self, model: type[Event] = erp.PlanReleased, **fields: Any) -> Delivery:
        """ERP decides to make it."""
        state: dict[str, Any] = {"plan_id": self.plan_id, "plan": "PL-000001", "item": "SOFA-3S"}
        if issubclass(model, erp.PlanState):
            state |= {
                "quantity": 4,
                "unit": "pcs",
                "due": START,
                "priority": 50,
                "pegs": self.pegs(),
                "material_status": "ready",
            }
        if model is erp.PlanReleased:
            step = erp.RoutingStep(operation=10, work_center="CUT", setup_minutes=10, minutes_per_unit=30)
            state |= {"bom_version": 1, "routing_version": 1, "components": [], "routing": [step]}
        return self.tell(model, **{**state, **fields})

    def work(self, model: type[mes.WorkOrderEvent], percent: float = 0, **fields: Any) -> Delivery:
        """MES works on it."""
        state: dict[str, Any] = {
            "work_order_id": self.work_order_id,
            "work_order": f"WO-{self.number}",
            "plan_id": self.plan_id,
            "item": "SOFA-3S",
            "quantity": 4,
            "good": 0,
            "scrap": 0,
            "percent": percent,
            "pegs": self.pegs(),
        }
        if "operation_id" in model.model_fields:
            state |= {"operation_id": self.work_order_id}
        if "operation" in model.model_fields:
            state |= {"operation": 10}
        if "work_center" in model.model_fields:
            state |= {"work_center": "CUT", "machine": self.machine}
        return self.tell(model, **{**state, **fields})

    def machine_state(self, state: str, reason: str | None = None) -> Delivery:
        """A machine changes its state; nothing in the event names an order."""
        return self.tell(
            mes.MachineStateChanged,
            correlation=self.machine,
            machine=self.machine,
            work_center="CUT",
            old_state="running",
            state=state,
            reason=reason,
            since=START,
        )

    def lot_state(self, model: type[mes.LotEvent], lot: str | None = None, cause: Delivery | None = None) -> Delivery:
        """A lot is held, released or scrapped; nothing in the event names an order."""
        name = lot or self.lot
        reason = Reason(code="DEFECT", text="stitching", event_id=str(cause.meta.event_id) if cause else None)
        return self.tell(model, correlation=name, cause=cause, lot=name, item="SOFA-3S", reason=reason)

    def batch(self, good: int = 3) -> Delivery:
        """Goods are finished."""
        return self.tell(
            mes.BatchCompleted,
            batch_id=new_id(),
            batch="B-000001",
            plan_id=self.plan_id,
            work_order_id=self.work_order_id,
            work_order=f"WO-{self.number}",
            item="SOFA-3S",
            good=good,
            scrap=0,
            lots_out=[mes.ProducedLot(lot=self.lot, quantity=good)],
            inputs=[],
            bom_version=1,
            qc_state="released",
            pegs=self.pegs(),
        )

    def shipment(self, model: type[erp.ShipmentEvent], **fields: Any) -> Delivery:
        """The goods travel."""
        picked = erp.PickedLot(lot=self.lot, quantity=4)
        return self.tell(
            model,
            shipment_id=self.shipment_id,
            shipment="SH-000001",
            order_id=self.order_id,
            order=self.number,
            customer=self.customer,
            lines=[erp.ShipmentLine(line=1, item="SOFA-3S", quantity=4, lots=[picked])],
            **fields,
        )


def whole_life(number: str = "SO-000001") -> OrderStory:
    """Placed, amended, made on a machine that breaks down, found defective, replaced, shipped, delivered, closed."""
    story = OrderStory(number=number, lot=f"L-{number}", machine=f"CUT-{number[-1]}")
    placed = story.place()
    story.fulfilment("open", planned="4")
    story.promise(9)
    story.plan()
    story.work(mes.WorkOrderCreated)
    story.work(mes.WorkOrderScheduled, operations=[], reason=Reason(code="SCHEDULE", text="scheduled"))
    story.work(mes.OperationStarted, started_at=START)
    down = story.machine_state("down", "blade broken")
    because = Reason(code="MACHINE_DOWN", text=f"{story.machine} down since 08:07", event_id=str(down.meta.event_id))
    story.work(mes.OperationPaused, reason=because)
    moved = story.work(mes.WorkOrderScheduled, operations=[], reason=because)
    story.promise(11, reason=because, cause=moved)
    story.machine_state("running")
    story.order(crm.OrderAmended, "4", requested_date=date(2026, 12, 12), changed=["requested_date"])
    story.work(
        mes.ProductionProgressed,
        62.5,
        scrap=1,
        reported_good=3,
        reported_scrap=1,
        reported_rework=0,
        reason="cut too short",
    )
    story.batch()
    story.work(mes.WorkOrderCompleted, 100, good=3, scrap=1, batches=1)
    story.plan(erp.PlanChanged, pegs=story.pegs("1"))
    story.fulfilment("open", reserved="3", planned="4", produced="3")
    defect = story.tell(
        mes.DefectDetected,
        correlation=story.lot,
        defect_id=new_id(),
        defect="D-000001",
        lot=story.lot,
        item="SOFA-3S",
        severity="minor",
        characteristic="stitching",
        held_lots=[story.lot],
        suspected_inputs=[],
        pegs=story.pegs(),
    )
    story.lot_state(mes.LotHeld, cause=defect)
    story.fulfilment("open", reserved="0", planned="4", produced="3")
    story.lot_state(mes.LotReleased, cause=defect)
    story.fulfilment("allocated", reserved="4", planned="4", produced="4", lots=[story.lot])
    story.shipment(erp.ShipmentPlanned)
    story.fulfilment("open", reserved="3", planned="4", produced="4")
    story.fulfilment("allocated", reserved="4", planned="4", produced="4", lots=[story.lot])
    story.plan(erp.PlanClosed, quantity=4, received=4)
    story.shipment(erp.ShipmentShipped, shipped_at=START)
    story.fulfilment("shipped", shipped="4", planned="4", produced="4", lots=[story.lot])
    story.shipment(erp.ShipmentDelivered, delivered_at=START)
    story.fulfilment("delivered", shipped="4", delivered="4", planned="4", produced="4", lots=[story.lot])
    story.fulfilment("closed", shipped="4", delivered="4", planned="4", produced="4", lots=[story.lot])
    story.tell(
        crm.CustomerNotified,
        cause=placed,
        notification_id=new_id(),
        order_id=story.order_id,
        order=story.number,
        customer=story.customer,
        milestone="delivered",
        text="Your order has arrived.",
        cause_event_id=str(placed.meta.event_id),
    )
    return story

"""Events published by ERP."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from contracts.envelope import Event, Part, Reason
from contracts.values import Code, Currency, Day, Money, Percent, PositiveQuantity, Quantity, SignedQuantity, UtcTime


class Component(Part):
    item: Code
    quantity: PositiveQuantity = Field(description="per unit of the parent item")
    scrap_percent: Percent = Field(
        default=0, validate_default=True, description="planned loss; requirement × (1 + p/100)"
    )


class RoutingStep(Part):
    operation: int = Field(ge=1, description="sequence number, e.g. 10, 20, 30")
    work_center: Code
    setup_minutes: Quantity
    minutes_per_unit: Quantity


class ItemDefined(Event):
    """An item, or a new version of its bill of materials and routing, is effective from now on."""

    TYPE: ClassVar[str] = "erp.ItemDefined.v1"
    TOPIC: ClassVar[str] = "erp.item.events.v1"
    KEY: ClassVar[str] = "item"

    item: Code
    name: str
    unit: str
    source: Literal["make", "buy"]
    price: Money
    standard_cost: Money
    lead_time_days: int
    supplier: str | None = None
    components: list[Component] = Field(default_factory=list)
    routing: list[RoutingStep] = Field(default_factory=list)


class StockMoved(Event):
    """One row of the append-only stock ledger."""

    TYPE: ClassVar[str] = "erp.StockMoved.v1"
    TOPIC: ClassVar[str] = "erp.stock.events.v1"
    KEY: ClassVar[str] = "item"

    item: Code
    lot: str
    quantity: SignedQuantity = Field(description="in the item's unit; negative leaves stock")
    reason: Literal[
        "purchase_receipt", "receipt", "count", "production_receipt", "issue", "shipment", "scrap", "correction"
    ]
    balance: Quantity = Field(description="on hand of the item after this row")
    supplier: str | None = None
    supplier_lot: str | None = None
    purchase_order: str | None = None
    shipment: str | None = None


class LineFulfilment(Part):
    line: int
    item: Code
    quantity: Quantity = Field(description="ordered now; zero for a withdrawn line")
    reserved: Quantity = Field(description="from stock for this line, not yet shipped")
    planned: Quantity = Field(description="total quantity of made or bought supply ever pegged and still wanted")
    produced: Quantity = Field(description="received from pegged production")
    shipped: Quantity
    delivered: Quantity
    cancelled: Quantity
    plans: list[UUID] = Field(default_factory=list)
    lots: list[str] = Field(default_factory=list, description="lots picked or shipped for this line")


class FulfilmentEvent(Event):
    TOPIC: ClassVar[str] = "erp.fulfilment.events.v1"
    KEY: ClassVar[str] = "order_id"

    order_id: UUID
    order: str = Field(description="the order's number")
    customer: str


class FulfilmentChanged(FulfilmentEvent):
    """Where each line of an order stands; carries the whole state, the highest version wins.

    ``state`` moves open → allocated (every open quantity is reserved from stock) → shipped → delivered → closed
    (delivered and invoiced), or cancelled.
    """

    TYPE: ClassVar[str] = "erp.FulfilmentChanged.v1"

    order_version: int = Field(description="version of the customer order this reflects")
    state: Literal["open", "allocated", "shipped", "delivered", "closed", "cancelled"]
    lines: list[LineFulfilment]


class OrderPromised(FulfilmentEvent):
    """The first promise of an order: a day the customer may rely on, and why that day."""

    TYPE: ClassVar[str] = "erp.OrderPromised.v1"

    promised_date: Day
    eta: UtcTime
    basis: Literal["stock", "plan", "purchase"]
    reason: Reason


class PromiseRevised(FulfilmentEvent):
    """The expected arrival moved; the promised day moves with it only when it would be missed or the order changed."""

    TYPE: ClassVar[str] = "erp.PromiseRevised.v1"

    old_promised_date: Day
    promised_date: Day
    old_eta: UtcTime
    eta: UtcTime
    reason: Reason


class OrderPeg(Part):
    """How much of a plan serves which customer order line (directly, or through the plans above it)."""

    order_id: UUID
    order: str
    line: int
    quantity: Quantity = Field(description="of the plan's own item")


class PlannedComponent(Part):
    item: Code
    quantity_per: PositiveQuantity = Field(description="per good unit of the plan's item, planned scrap included")
    quantity: Quantity = Field(description="required for the whole plan")


class PlanEvent(Event):
    TOPIC: ClassVar[str] = "erp.plan.events.v1"
    KEY: ClassVar[str] = "plan_id"

    plan_id: UUID
    plan: str = Field(description="the plan's number")
    item: Code


class PlanState(PlanEvent):
    quantity: PositiveQuantity
    unit: str
    due: UtcTime
    priority: int = Field(ge=0, le=99)
    pegs: list[OrderPeg] = Field(default_factory=list)
    material_status: Literal["ready", "waiting"]
    material_date: UtcTime | None = Field(default=None, description="when the last bought component is expected")
    predecessor_plans: list[UUID] = Field(default_factory=list, description="plans that make components of this one")
    reason: Reason | None = None


class PlanReleased(PlanState):
    """Make this: the frozen BOM and routing snapshot travel with the plan."""

    TYPE: ClassVar[str] = "erp.PlanReleased.v1"

    bom_version: int
    routing_version: int
    components: list[PlannedComponent]
    routing: list[RoutingStep] = Field(min_length=1)


class PlanChanged(PlanState):
    """Quantity, date, priority, pegs or material situation changed; the highest version wins.

    MES shrinks or cancels unstarted work (``quantity`` zero is PlanCancelled) and answers with WorkOrderChanged.
    """

    TYPE: ClassVar[str] = "erp.PlanChanged.v1"


class PlanCancelled(PlanEvent):
    """Nobody needs this plan any more; started work finishes into stock."""

    TYPE: ClassVar[str] = "erp.PlanCancelled.v1"

    reason: Reason


class PlanClosed(PlanEvent):
    """All output is received and the residual WIP is settled to variances."""

    TYPE: ClassVar[str] = "erp.PlanClosed.v1"

    quantity: Quantity
    received: Quantity


class PurchaseOrderLine(Part):
    line: int
    item: Code
    quantity: PositiveQuantity
    price: Money
    due: Day


class PurchaseOrderEvent(Event):
    TOPIC: ClassVar[str] = "erp.purchase-order.events.v1"
    KEY: ClassVar[str] = "purchase_order_id"

    purchase_order_id: UUID
    purchase_order: str = Field(description="the purchase order's number")
    supplier: str | None = None


class PurchaseOrderPlaced(PurchaseOrderEvent):
    """Bought shortages were ordered from a supplier."""

    TYPE: ClassVar[str] = "erp.PurchaseOrderPlaced.v1"

    currency: Currency
    lines: list[PurchaseOrderLine]
    orders: list[str] = Field(default_factory=list, description="numbers of the customer orders that wait for it")


class ReceivedLine(Part):
    line: int
    item: Code
    quantity: PositiveQuantity
    lot: str
    supplier_lot: str | None = None


class GoodsReceived(PurchaseOrderEvent):
    """A delivery against a purchase order was put into stock."""

    TYPE: ClassVar[str] = "erp.GoodsReceived.v1"

    receipt_id: UUID
    lines: list[ReceivedLine]
    complete: bool


class PickedLot(Part):
    lot: str
    quantity: PositiveQuantity


class ShipmentLine(Part):
    line: int
    item: Code
    quantity: PositiveQuantity
    lots: list[PickedLot]


class ShipmentEvent(Event):
    TOPIC: ClassVar[str] = "erp.shipment.events.v1"
    KEY: ClassVar[str] = "shipment_id"

    shipment_id: UUID
    shipment: str = Field(description="the shipment's number")
    order_id: UUID
    order: str
    customer: str
    lines: list[ShipmentLine]


class ShipmentPlanned(ShipmentEvent):
    """Goods are picked for a customer order; also sent again when lots are picked anew."""

    TYPE: ClassVar[str] = "erp.ShipmentPlanned.v1"


class ShipmentShipped(ShipmentEvent):
    """The goods left the house."""

    TYPE: ClassVar[str] = "erp.ShipmentShipped.v1"

    shipped_at: UtcTime


class ShipmentDelivered(ShipmentEvent):
    """The carrier confirmed delivery."""

    TYPE: ClassVar[str] = "erp.ShipmentDelivered.v1"

    delivered_at: UtcTime


class ShipmentCancelled(ShipmentEvent):
    """The planned shipment will not happen; its picks are released."""

    TYPE: ClassVar[str] = "erp.ShipmentCancelled.v1"


class InvoicePosted(Event):
    """Revenue and receivable of one shipment are booked."""

    TYPE: ClassVar[str] = "erp.InvoicePosted.v1"
    TOPIC: ClassVar[str] = "erp.invoice.events.v1"
    KEY: ClassVar[str] = "invoice_id"

    invoice_id: UUID
    invoice: str
    order_id: UUID
    order: str
    customer: str
    shipment_id: UUID
    amount: Money
    currency: Currency


class SupplierQualityCheckOpened(Event):
    """A defect points at bought lots: the supplier's quality is being checked."""

    TYPE: ClassVar[str] = "erp.SupplierQualityCheckOpened.v1"
    TOPIC: ClassVar[str] = "erp.supplier-check.events.v1"
    KEY: ClassVar[str] = "supplier_check_id"

    supplier_check_id: UUID
    supplier_check: str
    supplier: str
    item: Code
    lots: list[str]
    defect_id: UUID
    cause: Reason

"""Events published by MES."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from contracts.envelope import Event, Part, Reason
from contracts.erp import OrderPeg
from contracts.values import Code, PositiveQuantity, Quantity, Text, UtcTime

MachineState = Literal["running", "idle", "setup", "down", "maintenance", "off"]
Severity = Literal["minor", "major", "critical"]


class ScheduledOperation(Part):
    operation_id: UUID
    operation: int
    work_center: Code
    machine: str | None = None
    planned_start: UtcTime | None = None
    planned_end: UtcTime | None = None
    state: str


class WorkOrderEvent(Event):
    TOPIC: ClassVar[str] = "mes.work-order.events.v1"
    KEY: ClassVar[str] = "work_order_id"

    work_order_id: UUID
    work_order: str = Field(description="the work order's number")
    plan_id: UUID
    item: Code
    quantity: Quantity = Field(description="to make now, after shrinking")
    good: Quantity = Field(description="good at the last operation so far")
    scrap: Quantity = Field(description="scrapped at any operation so far")
    percent: float = Field(ge=0, le=100, description="share of the standard minutes done, 0 to 100")
    pegs: list[OrderPeg] = Field(default_factory=list)


class WorkOrderCreated(WorkOrderEvent):
    """A plan became work on the shop floor."""

    TYPE: ClassVar[str] = "mes.WorkOrderCreated.v1"


class WorkOrderScheduled(WorkOrderEvent):
    """The finite schedule of this work order is new or moved; carries all its operations."""

    TYPE: ClassVar[str] = "mes.WorkOrderScheduled.v1"

    planned_start: UtcTime | None = None
    planned_end: UtcTime | None = Field(default=None, description="None: no capacity in sight")
    old_planned_end: UtcTime | None = None
    operations: list[ScheduledOperation]
    reason: Reason


class WorkOrderChanged(WorkOrderEvent):
    """MES's answer to a changed plan: ``quantity`` is what will really be made."""

    TYPE: ClassVar[str] = "mes.WorkOrderChanged.v1"

    plan_version: int = Field(description="aggregate_version of the plan event answered")
    outcome: Literal["changed", "kept"] = Field(description="kept: work had started, so the quantity stays")


class WorkOrderCancelled(WorkOrderEvent):
    """Unstarted work was withdrawn."""

    TYPE: ClassVar[str] = "mes.WorkOrderCancelled.v1"

    reason: Reason


class OperationStarted(WorkOrderEvent):
    """An operation runs on a machine (again, after a pause)."""

    TYPE: ClassVar[str] = "mes.OperationStarted.v1"

    operation_id: UUID
    operation: int
    work_center: Code
    machine: str | None = None
    operator: str | None = None
    started_at: UtcTime


class OperationPaused(WorkOrderEvent):
    """An operation stopped before it was done."""

    TYPE: ClassVar[str] = "mes.OperationPaused.v1"

    operation_id: UUID
    operation: int
    work_center: Code
    machine: str | None = None
    reason: Reason


class ProductionProgressed(WorkOrderEvent):
    """Quantities were reported at an operation."""

    TYPE: ClassVar[str] = "mes.ProductionProgressed.v1"

    operation_id: UUID
    operation: int
    reported_good: Quantity
    reported_scrap: Quantity
    reported_rework: Quantity
    reason: str | None = None


class OperationCompleted(WorkOrderEvent):
    """An operation is done for this work order."""

    TYPE: ClassVar[str] = "mes.OperationCompleted.v1"

    operation_id: UUID
    operation: int
    work_center: Code
    machine: str | None = None
    operation_good: Quantity
    operation_scrap: Quantity
    operation_rework: Quantity


class ConsumedLot(Part):
    item: Code
    lot: str
    quantity: PositiveQuantity


class MaterialConsumed(WorkOrderEvent):
    """Lots went into this work order, as reported by the operator or backflushed at standard."""

    TYPE: ClassVar[str] = "mes.MaterialConsumed.v1"

    operation_id: UUID
    consumed: list[ConsumedLot]
    backflushed: bool


class WorkOrderCompleted(WorkOrderEvent):
    """The last operation is done. ``good`` may be less than ``quantity``; nothing more will come."""

    TYPE: ClassVar[str] = "mes.WorkOrderCompleted.v1"

    batches: int = Field(description="how many batches were completed in all")


class ProducedLot(Part):
    lot: str
    quantity: PositiveQuantity


class BatchCompleted(Event):
    """A quantity was reported good at the last operation and is a finished lot."""

    TYPE: ClassVar[str] = "mes.BatchCompleted.v1"
    TOPIC: ClassVar[str] = "mes.batch.events.v1"
    KEY: ClassVar[str] = "batch_id"

    batch_id: UUID
    batch: str
    plan_id: UUID
    work_order_id: UUID
    work_order: str
    item: Code
    good: PositiveQuantity
    scrap: Quantity
    lots_out: list[ProducedLot]
    inputs: list[ConsumedLot] = Field(description="lots consumed since the previous batch of this work order")
    bom_version: int
    qc_state: Literal["released", "held"]
    pegs: list[OrderPeg] = Field(default_factory=list)


class InspectionCompleted(Event):
    """A lot was judged."""

    TYPE: ClassVar[str] = "mes.InspectionCompleted.v1"
    TOPIC: ClassVar[str] = "mes.inspection.events.v1"
    KEY: ClassVar[str] = "inspection_id"

    inspection_id: UUID
    inspection: str
    lot: str
    item: Code
    characteristic: str
    result: Literal["accepted", "rejected"]
    sample_size: int | None = None
    nonconforming: int | None = None


class SuspectedInput(Part):
    item: Code
    lot: str
    supplier: str | None = None
    supplier_lot: str | None = None


class DefectDetected(Event):
    """A lot is bad: it and its siblings are held, and these bought input lots are suspected."""

    TYPE: ClassVar[str] = "mes.DefectDetected.v1"
    TOPIC: ClassVar[str] = "mes.defect.events.v1"
    KEY: ClassVar[str] = "defect_id"

    defect_id: UUID
    defect: str
    lot: str
    item: Code
    severity: Severity
    characteristic: str
    value: str | None = None
    lower_limit: str | None = None
    upper_limit: str | None = None
    description: Text = ""
    batch_id: UUID | None = None
    work_order_id: UUID | None = None
    held_lots: list[str]
    suspected_inputs: list[SuspectedInput]
    pegs: list[OrderPeg] = Field(default_factory=list)


class LotEvent(Event):
    TOPIC: ClassVar[str] = "mes.lot.events.v1"
    KEY: ClassVar[str] = "lot"

    lot: str
    item: Code
    reason: Reason


class LotHeld(LotEvent):
    """The lot must not be used or shipped."""

    TYPE: ClassVar[str] = "mes.LotHeld.v1"


class LotReleased(LotEvent):
    """The lot may be used and shipped again."""

    TYPE: ClassVar[str] = "mes.LotReleased.v1"


class LotScrapped(LotEvent):
    """What was left of the lot is waste."""

    TYPE: ClassVar[str] = "mes.LotScrapped.v1"


class MachineStateChanged(Event):
    """A machine entered a state (ISA-95 work unit; states as in the public API)."""

    TYPE: ClassVar[str] = "mes.MachineStateChanged.v1"
    TOPIC: ClassVar[str] = "mes.machine.events.v1"
    KEY: ClassVar[str] = "machine"

    machine: Code
    work_center: Code
    old_state: MachineState | None = None
    state: MachineState
    reason: str | None = None
    since: UtcTime


class MaintenanceOrderOpened(Event):
    """A machine stopped: maintenance is called."""

    TYPE: ClassVar[str] = "mes.MaintenanceOrderOpened.v1"
    TOPIC: ClassVar[str] = "mes.maintenance.events.v1"
    KEY: ClassVar[str] = "maintenance_order_id"

    maintenance_order_id: UUID
    maintenance_order: str
    machine: Code
    reason: str | None = None
    notified: str = Field(description="who was told")


class MaintenanceOrderCompleted(Event):
    """The machine is back."""

    TYPE: ClassVar[str] = "mes.MaintenanceOrderCompleted.v1"
    TOPIC: ClassVar[str] = "mes.maintenance.events.v1"
    KEY: ClassVar[str] = "maintenance_order_id"

    maintenance_order_id: UUID
    maintenance_order: str
    machine: Code
    downtime_minutes: Quantity


# What CRM and the gateway show of a work order, by type: the latest version of any of these is the whole story.
WORK_ORDER_EVENTS: tuple[type[WorkOrderEvent], ...] = (
    WorkOrderCreated,
    WorkOrderScheduled,
    WorkOrderChanged,
    WorkOrderCancelled,
    OperationStarted,
    OperationPaused,
    ProductionProgressed,
    OperationCompleted,
    MaterialConsumed,
    WorkOrderCompleted,
)

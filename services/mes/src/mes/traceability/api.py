"""HTTP: lots, their trace, and what quality decides about them."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.values import Code, Quantity, SignedQuantity, UtcTime
from mes.records import Record
from mes.texts import Reason
from mes.traceability import commands, queries
from mes.traceability.rules import Status

router = APIRouter(prefix="/v1/lots", tags=["lots"])

Origin = Literal["purchased", "produced", "received"]


class LotFacts(BaseModel):
    """What a lot is and where it comes from."""

    lot: str
    item: str
    status: Status
    origin: Origin
    quantity: Quantity = Field(description="left")
    supplier: str | None
    supplier_lot: str | None
    purchase_order: str | None
    work_order: str | None
    batch: str | None


class Lot(LotFacts, Record):
    """A lot. received + adjusted = consumed + shipped + scrapped + quantity."""

    received: Quantity
    adjusted: SignedQuantity = Field(description="by counts and corrections")
    consumed: Quantity
    shipped: Quantity
    scrapped: Quantity
    reason: str | None = Field(description="why it has its status")


class LotQuery(ListQuery):
    """Filters of the list of lots."""

    item: Code | None = None
    status: Status | None = None


class Disposition(BaseModel):
    """Why a lot is held, released or scrapped."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class LotResult(BaseModel):
    """How an inspection judged a lot."""

    inspection: str
    characteristic: str
    result: Literal["accepted", "rejected"]


class LotNode(LotFacts):
    """A lot; its id is its name."""

    id: str
    kind: Literal["lot"]
    received_at: UtcTime = Field(description="when it was received or made")
    inspections: list[LotResult]


class BatchNode(BaseModel):
    """A quantity a work order completed at once."""

    id: str
    kind: Literal["batch"]
    batch: str
    item: str
    quantity: Quantity
    work_order: str
    completed_at: UtcTime


class WorkOrderNode(BaseModel):
    """A work order."""

    id: str
    kind: Literal["work_order"]
    work_order: str


class SupplierLotNode(BaseModel):
    """A lot as its supplier names it."""

    id: str
    kind: Literal["supplier_lot"]
    supplier_lot: str
    supplier: str | None
    item: str


class PurchaseOrderNode(BaseModel):
    """A purchase order goods came with."""

    id: str
    kind: Literal["purchase_order"]
    purchase_order: str
    supplier: str | None


class ShipmentNode(BaseModel):
    """Goods that left for a customer."""

    id: str
    kind: Literal["shipment"]
    shipment: str
    order_id: UUID
    order: str
    customer: str
    shipped_at: UtcTime


Node = Annotated[
    LotNode | BatchNode | WorkOrderNode | SupplierLotNode | PurchaseOrderNode | ShipmentNode,
    Field(discriminator="kind"),
]


class Edge(BaseModel):
    """Material that went from one node to another."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    kind: Literal["purchase", "receipt", "consumption", "carry_over", "completion", "production", "shipment"] = Field(
        description="carry_over: a later batch may contain of what an earlier one already counts"
    )
    quantity: Quantity
    item: str


class Trace(BaseModel):
    """The genealogy of a lot; edges point the way the material went."""

    lot: str
    direction: queries.Direction
    nodes: list[Node]
    edges: list[Edge]
    truncated: bool = Field(description="true when the graph has more lots than one answer holds")


class TraceQuery(BaseModel):
    """Which way to trace."""

    model_config = ConfigDict(extra="forbid")

    direction: queries.Direction = "both"


@router.get("", response_model=Page[Lot])
async def list_lots(call: Annotated[Call, requires("quality:read")], query: Annotated[LotQuery, Query()]) -> Response:
    """Lots, oldest first."""
    async with call.read() as reader:
        items, next_cursor = await queries.listed(reader, query, query.item, query.status)
    return answer({"items": items, "next_cursor": next_cursor}, Page[Lot])


@router.get("/{reference}", response_model=Lot)
async def get_lot(call: Annotated[Call, requires("quality:read")], reference: str) -> Response:
    """A lot with its mass balance."""
    async with call.read() as reader:
        return answer(await queries.lot_record(reader, reference), Lot)


@router.get("/{reference}/trace", response_model=Trace)
async def trace_lot(
    call: Annotated[Call, requires("quality:read")], reference: str, query: Annotated[TraceQuery, Query()]
) -> Response:
    """Where a lot comes from, down to supplier lots, and where it went, up to shipments."""
    async with call.read() as reader:
        name = (await queries.lot_record(reader, reference))["lot"]
        graph = await queries.trace(reader, name, query.direction)
    body: dict[str, Any] = {"lot": name, "direction": query.direction, **vars(graph)}
    return answer(body, Trace)


@router.post("/{reference}/hold", response_model=Lot)
async def hold_lot(call: Annotated[Call, requires("quality:write")], reference: str, body: Disposition) -> Response:
    """The lot must not be used or shipped; 409 unless it is released."""
    return await call.write(lambda tx: commands.dispose(tx, reference, "hold", body.reason), Lot)


@router.post("/{reference}/release", response_model=Lot)
async def release_lot(call: Annotated[Call, requires("quality:write")], reference: str, body: Disposition) -> Response:
    """The lot may be used and shipped again; 409 unless it is held."""
    return await call.write(lambda tx: commands.dispose(tx, reference, "release", body.reason), Lot)


@router.post("/{reference}/scrap", response_model=Lot)
async def scrap_lot(call: Annotated[Call, requires("quality:write")], reference: str, body: Disposition) -> Response:
    """What is left of the lot is waste; 409 when it already is."""
    return await call.write(lambda tx: commands.dispose(tx, reference, "scrap", body.reason), Lot)

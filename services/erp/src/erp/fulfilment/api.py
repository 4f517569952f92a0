"""HTTP: shipments."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.values import Quantity, UtcTime
from erp.fulfilment import commands, queries

router = APIRouter(prefix="/v1", tags=["shipping"])

ShipmentState = Literal["planned", "shipped", "delivered", "cancelled"]


class PickedLot(BaseModel):
    """A quantity set aside in a lot."""

    lot: str
    quantity: Quantity


class ShipmentLine(BaseModel):
    """What is shipped for one order line, in its item's unit."""

    line: int
    item: str
    quantity: Quantity
    lots: list[PickedLot]


class Shipment(BaseModel):
    """Goods for one customer order."""

    id: UUID
    number: str
    version: int
    order_id: UUID
    order: str
    customer: str
    state: ShipmentState
    lines: list[ShipmentLine]
    shipped_at: UtcTime | None
    delivered_at: UtcTime | None
    created_at: UtcTime
    updated_at: UtcTime


class Confirmation(BaseModel):
    """A confirmation says nothing but that it happened."""

    model_config = ConfigDict(extra="forbid")


class ShipmentQuery(ListQuery):
    """Filters of shipments."""

    order: str | None = Field(default=None, max_length=64, description="id or number")
    state: ShipmentState | None = None


@router.get("/shipments", response_model=Page[Shipment])
async def list_shipments(
    query: Annotated[ShipmentQuery, Query()], call: Annotated[Call, requires("shipping:read")]
) -> Response:
    """Shipments, oldest first."""
    async with call.read() as reader:
        items, cursor = await queries.list_shipments(
            reader, query, call.principal.customer, order=query.order, state=query.state
        )
    return answer({"items": items, "next_cursor": cursor}, Page[Shipment])


@router.get("/shipments/{shipment}", response_model=Shipment)
async def get_shipment(shipment: str, call: Annotated[Call, requires("shipping:read")]) -> Response:
    """One shipment."""
    async with call.read() as reader:
        return answer(await queries.get_shipment(reader, shipment, call.principal.customer), Shipment)


@router.get("/orders/{order}/shipments", response_model=Page[Shipment])
async def list_shipments_of_order(
    order: str, query: Annotated[ListQuery, Query()], call: Annotated[Call, requires("orders:read")]
) -> Response:
    """Shipments of one order, oldest first."""
    async with call.read() as reader:
        items, cursor = await queries.shipments_of_order(reader, call.principal, order, query)
    return answer({"items": items, "next_cursor": cursor}, Page[Shipment])


@router.post("/shipments/{shipment}/ship", response_model=Shipment)
async def ship(
    shipment: str, call: Annotated[Call, requires("shipping:write")], _: Confirmation | None = None
) -> Response:
    """The goods left the house; the order is invoiced."""
    return await call.write(lambda tx: commands.ship(tx, shipment), Shipment)


@router.post("/shipments/{shipment}/deliver", response_model=Shipment)
async def deliver(
    shipment: str, call: Annotated[Call, requires("shipping:write")], _: Confirmation | None = None
) -> Response:
    """The carrier confirmed delivery."""
    return await call.write(lambda tx: commands.deliver(tx, shipment), Shipment)

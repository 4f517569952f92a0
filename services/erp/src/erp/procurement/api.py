"""HTTP: purchase orders, their receipts, and supplier checks."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from chassis.db import Tx
from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.envelope import Reason
from contracts.values import Code, Currency, Money, PositiveQuantity, Quantity, UtcTime
from erp.fulfilment.commands import follow_up
from erp.planning.commands import lock
from erp.procurement import commands, queries
from erp.procurement.rules import Delivered, PurchaseOrderState

router = APIRouter(prefix="/v1", tags=["purchasing"])


class Line(BaseModel):
    """A line of a purchase order, in the item's unit."""

    line: int
    item: str
    quantity: Quantity
    received: Quantity
    price: Money
    due: date
    orders: list[str] = Field(description="numbers of the customer orders that wait for what is still to come")


class PurchaseOrder(BaseModel):
    """A purchase order."""

    id: UUID
    number: str
    version: int
    supplier: str | None
    state: PurchaseOrderState
    currency: Currency
    lines: list[Line]
    orders: list[str] = Field(description="numbers of the customer orders that wait for any line")
    created_at: UtcTime
    updated_at: UtcTime


class ReceiptLine(BaseModel):
    """Part of a delivery, in one lot."""

    model_config = ConfigDict(extra="forbid")

    line: int = Field(ge=1)
    quantity: PositiveQuantity
    lot: Code | None = Field(default=None, description="a new lot when left out")
    supplier_lot: Code | None = None


class ReceiptBody(BaseModel):
    """A delivery against a purchase order."""

    model_config = ConfigDict(extra="forbid")

    lines: list[ReceiptLine] = Field(min_length=1, max_length=200)


class PurchaseOrderQuery(ListQuery):
    """Filters of purchase orders."""

    supplier: str | None = Field(default=None, max_length=64)
    state: PurchaseOrderState | None = None
    item: str | None = Field(default=None, max_length=64)


class SupplierCheck(BaseModel):
    """A supplier's quality is being checked because of a defect."""

    id: UUID
    number: str
    version: int
    supplier: str
    item: str
    lots: list[str]
    state: str
    defect_id: UUID
    cause: Reason
    created_at: UtcTime
    updated_at: UtcTime


class SupplierCheckQuery(ListQuery):
    """Filters of supplier checks."""

    supplier: str | None = Field(default=None, max_length=64)
    item: str | None = Field(default=None, max_length=64)


@router.get("/purchase-orders", response_model=Page[PurchaseOrder])
async def list_purchase_orders(
    query: Annotated[PurchaseOrderQuery, Query()], call: Annotated[Call, requires("purchasing:read")]
) -> Response:
    """Purchase orders, oldest first."""
    async with call.read() as reader:
        items, cursor = await queries.list_purchase_orders(
            reader, query, supplier=query.supplier, state=query.state, item=query.item
        )
    return answer({"items": items, "next_cursor": cursor}, Page[PurchaseOrder])


@router.get("/purchase-orders/{purchase_order}", response_model=PurchaseOrder)
async def get_purchase_order(purchase_order: str, call: Annotated[Call, requires("purchasing:read")]) -> Response:
    """One purchase order."""
    async with call.read() as reader:
        return answer(await queries.get_purchase_order(reader, purchase_order), PurchaseOrder)


@router.post("/purchase-orders/{purchase_order}/receipts", status_code=201, response_model=PurchaseOrder)
async def receive_goods(
    purchase_order: str, body: ReceiptBody, call: Annotated[Call, requires("purchasing:write")]
) -> Response:
    """Put a delivery into stock; those who wait for it are served first. Answers with the purchase order."""
    delivered = [Delivered(part.line, part.quantity, part.lot, part.supplier_lot) for part in body.lines]

    async def work(tx: Tx) -> dict[str, Any]:
        await lock(tx)
        record, outcome = await commands.receive_goods(tx, purchase_order, delivered)
        await follow_up(tx, outcome)
        return record

    return await call.write(work, PurchaseOrder, 201)


@router.get("/supplier-checks", response_model=Page[SupplierCheck])
async def list_supplier_checks(
    query: Annotated[SupplierCheckQuery, Query()], call: Annotated[Call, requires("quality:read")]
) -> Response:
    """Supplier quality checks, oldest first."""
    async with call.read() as reader:
        items, cursor = await queries.list_supplier_checks(reader, query, supplier=query.supplier, item=query.item)
    return answer({"items": items, "next_cursor": cursor}, Page[SupplierCheck])

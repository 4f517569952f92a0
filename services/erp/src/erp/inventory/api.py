"""HTTP: stock, its ledger, receipts and counts."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from chassis.db import Tx
from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import Problem, invalid
from contracts.envelope import Reason
from contracts.values import MAX_QUANTITY, Code, PositiveQuantity, Quantity, SignedQuantity, UtcTime, plain
from erp.fulfilment.commands import settle
from erp.inventory import commands, queries
from erp.inventory.rules import Balance
from erp.items.queries import get_master
from erp.planning.commands import lock

router = APIRouter(prefix="/v1/stock", tags=["stock"])

Note = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class Lot(BaseModel):
    """What is in stock of one lot."""

    lot: str
    quantity: Quantity
    picked: Quantity = Field(description="set aside for planned shipments")
    status: str
    supplier: str | None
    supplier_lot: str | None
    purchase_order: str | None
    received_at: UtcTime | None = Field(description="empty while the receipt is on its way")


class Stock(BaseModel):
    """Stock of one item, in its unit."""

    id: UUID
    number: str
    item: str
    unit: str
    on_hand: Quantity
    reserved: Quantity = Field(description="for customer order lines and released plans")
    held: Quantity = Field(description="in lots that must not be used")
    available: SignedQuantity = Field(description="on_hand − held − reserved")
    lots: list[Lot]
    version: int = Field(description="grows by one with every ledger row")
    created_at: UtcTime
    updated_at: UtcTime


class LedgerRow(BaseModel):
    """One row of the append-only stock ledger."""

    id: UUID
    item: str
    lot: str
    quantity: SignedQuantity = Field(description="negative leaves stock")
    reason: str
    note: str | None
    source_event: str = Field(description="id of the event that states or caused this move")
    at: UtcTime
    balance: Quantity = Field(description="on hand of the item after this row")
    version: int


class ReceiptBody(BaseModel):
    """Goods that come into stock without a purchase order, e.g. opening stock."""

    model_config = ConfigDict(extra="forbid")

    item: Code
    quantity: PositiveQuantity
    lot: Code | None = Field(default=None, description="a new lot when left out")
    reason: Note | None = None


class CountBody(BaseModel):
    """What was counted of a lot or, without one, of the whole item."""

    model_config = ConfigDict(extra="forbid")

    item: Code
    quantity: Quantity
    lot: Code | None = None
    reason: Note | None = None


class StockPosting(Stock):
    """Stock after a receipt or count, and the ledger rows it made."""

    posted: list[LedgerRow]


class LedgerQuery(ListQuery):
    """Filters of a stock ledger."""

    lot: str | None = Field(default=None, max_length=64)


@router.get("", response_model=Page[Stock])
async def list_stock(query: Annotated[ListQuery, Query()], call: Annotated[Call, requires("stock:read")]) -> Response:
    """Stock of every item, in the order of their codes."""
    async with call.read() as reader:
        items, cursor = await queries.list_stock(reader, query)
    return answer({"items": items, "next_cursor": cursor}, Page[Stock])


@router.get("/{item}", response_model=Stock)
async def get_stock(item: str, call: Annotated[Call, requires("stock:read")]) -> Response:
    """Stock of one item; all zero when it was never moved."""
    async with call.read() as reader:
        return answer(await queries.get_stock(reader, item), Stock)


@router.get("/{item}/ledger", response_model=Page[LedgerRow])
async def get_ledger(
    item: str, query: Annotated[LedgerQuery, Query()], call: Annotated[Call, requires("stock:read")]
) -> Response:
    """Every move of an item, oldest first."""
    async with call.read() as reader:
        master = await get_master(reader, item)
        rows, cursor = await queries.list_ledger(reader, master["item"], query, query.lot)
    return answer({"items": rows, "next_cursor": cursor}, Page[LedgerRow])


@router.post("/receipts", status_code=201, response_model=StockPosting)
async def receive(body: ReceiptBody, call: Annotated[Call, requires("stock:write")]) -> Response:
    """Put goods into stock; they go to waiting orders and plans first."""

    async def work(tx: Tx) -> dict[str, Any]:
        before = await _locked(tx, body.item)
        _check_capacity(before.on_hand + body.quantity)
        await commands.take_in(tx, body.item, body.lot, body.quantity, body.reason)
        await settle(tx, [body.item])
        return await _posted(tx, body.item, before.version)

    return await call.write(work, StockPosting, 201)


@router.post("/counts", status_code=201, response_model=StockPosting)
async def count(body: CountBody, call: Annotated[Call, requires("stock:write")]) -> Response:
    """Set stock to what was counted; the difference is booked against inventory adjustment."""

    async def work(tx: Tx) -> dict[str, Any]:
        before = await _locked(tx, body.item)
        _check_capacity(before.on_hand + body.quantity if body.lot else body.quantity)
        difference = await commands.count(tx, body.item, body.quantity, body.lot, body.reason)
        await settle(tx, [body.item], _shortage(tx, body.item, -difference) if difference < 0 else None)
        return await _posted(tx, body.item, before.version)

    return await call.write(work, StockPosting, 201)


async def _locked(tx: Tx, item: str) -> Balance:
    await lock(tx)
    try:
        await get_master(tx, item)
    except Problem as problem:
        raise invalid("/item", "unknown_item", f"item {item!r} is unknown") from problem
    return (await commands.lock_balances(tx, [item]))[item]


def _check_capacity(on_hand: Decimal) -> None:
    if on_hand > MAX_QUANTITY:
        raise invalid("/quantity", "less_than_equal", f"at most {MAX_QUANTITY} of an item can be in stock")


def _shortage(tx: Tx, item: str, missing: Decimal) -> Reason:
    text = f"MATERIAL_SHORTAGE:{item} a count found {plain(missing)} less"
    return Reason(code="MATERIAL_SHORTAGE", text=text, event_id=str(tx.event_ids[-1]))


async def _posted(tx: Tx, item: str, version: int) -> dict[str, Any]:
    return {**await queries.get_stock(tx, item), "posted": await queries.ledger_since(tx, item, version)}

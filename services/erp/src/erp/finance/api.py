"""HTTP: trial balance, journal entries and invoices."""

from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, PlainSerializer
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.values import Currency, Quantity, UtcTime, money_text
from erp.finance import queries
from erp.fulfilment.queries import visible_order
from erp.settings import house_currency

router = APIRouter(prefix="/v1", tags=["finance"])

Amount = Annotated[Decimal, PlainSerializer(money_text, return_type=str, when_used="json")]


class AccountBalance(BaseModel):
    """The balance of one account, on its debit or its credit side."""

    account: str
    name: str
    debit: Amount
    credit: Amount


class TrialBalance(BaseModel):
    """All accounts of one currency; the books are right when both sides are equal."""

    currency: str
    currencies: list[str] = Field(description="currencies with entries; each has its own trial balance")
    accounts: list[AccountBalance]
    debit: Amount
    credit: Amount
    balanced: bool


class EntryLine(BaseModel):
    """One line of a journal entry."""

    account: str
    name: str
    debit: Amount
    credit: Amount


class Entry(BaseModel):
    """A posted journal entry; it never changes."""

    id: UUID
    number: str
    source_event: str = Field(description="id of the event this entry books")
    rule: str = Field(description="the posting rule; it books an event at most once")
    reference: str | None = Field(description="id of the plan or order it is about")
    currency: str
    lines: list[EntryLine]
    at: UtcTime
    version: int
    created_at: UtcTime
    updated_at: UtcTime


class TrialBalanceQuery(BaseModel):
    """Which currency's books."""

    model_config = {"extra": "forbid"}

    currency: Currency | None = Field(default=None, description="the house currency when left out")


class EntryQuery(ListQuery):
    """Filters of the journal."""

    source_event: str | None = Field(default=None, max_length=64)
    rule: str | None = Field(default=None, max_length=64)
    account: str | None = Field(default=None, max_length=16)
    reference: str | None = Field(default=None, max_length=64)


class InvoiceLine(BaseModel):
    """One invoiced order line."""

    line: int
    item: str
    quantity: Quantity
    unit_price: Amount
    amount: Amount


class Invoice(BaseModel):
    """A customer invoice of one shipment."""

    id: UUID
    number: str
    order_id: UUID
    order: str
    customer: str
    shipment_id: UUID
    state: Literal["posted"] = "posted"
    amount: Amount
    currency: str
    lines: list[InvoiceLine]
    version: int
    created_at: UtcTime
    updated_at: UtcTime


class InvoiceQuery(ListQuery):
    """Filters of the list of invoices."""

    customer: str | None = Field(default=None, max_length=64)


@router.get("/ledger/trial-balance", response_model=TrialBalance)
async def trial_balance(
    query: Annotated[TrialBalanceQuery, Query()], call: Annotated[Call, requires("finance:read")]
) -> Response:
    """The balance of every account in one currency."""
    async with call.read() as reader:
        return answer(await queries.trial_balance(reader, query.currency or house_currency()), TrialBalance)


@router.get("/ledger/entries", response_model=Page[Entry])
async def list_entries(
    query: Annotated[EntryQuery, Query()], call: Annotated[Call, requires("finance:read")]
) -> Response:
    """Journal entries with the event each of them books, oldest first."""
    async with call.read() as reader:
        filters = query.model_dump(exclude={"limit", "cursor"})
        items, cursor = await queries.list_entries(reader, query, **filters)
    return answer({"items": items, "next_cursor": cursor}, Page[Entry])


@router.get("/invoices", response_model=Page[Invoice])
async def list_invoices(
    query: Annotated[InvoiceQuery, Query()], call: Annotated[Call, requires("invoices:read")]
) -> Response:
    """Invoices, oldest first."""
    async with call.read() as reader:
        items, cursor = await queries.list_invoices(reader, query, call.principal.customer, customer=query.customer)
    return answer({"items": items, "next_cursor": cursor}, Page[Invoice])


@router.get("/orders/{order}/invoices", response_model=Page[Invoice])
async def list_invoices_of_order(
    order: str, query: Annotated[ListQuery, Query()], call: Annotated[Call, requires("orders:read")]
) -> Response:
    """Invoices of one order, oldest first."""
    async with call.read() as reader:
        order_id = await visible_order(reader, call.principal, order)
        items, cursor = await queries.list_invoices(reader, query, call.principal.customer, order_id=order_id)
    return answer({"items": items, "next_cursor": cursor}, Page[Invoice])


@router.get("/invoices/{invoice}", response_model=Invoice)
async def get_invoice(invoice: str, call: Annotated[Call, requires("invoices:read")]) -> Response:
    """One invoice."""
    async with call.read() as reader:
        return answer(await queries.get_invoice(reader, invoice, call.principal.customer), Invoice)

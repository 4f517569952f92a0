"""The orders resource."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    StringConstraints,
    TypeAdapter,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from chassis.db import Tx
from chassis.http.calls import AmendedVersion, Call, GivenVersion, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import Problem, ProblemBody
from contracts.values import Code, Currency, Money, PositiveQuantity, UtcTime
from crm import batches
from crm.orders import commands, queries
from crm.orders.rules import State, WantedLine, WantedOrder
from crm.texts import LEFT_OUT, Label, Priority, Reference, Sentence

router = APIRouter(prefix="/v1", tags=["orders"])
Reads = Annotated[Call, requires("orders:read")]
Writes = Annotated[Call, requires("orders:write")]


def _day(value: Any) -> date:
    # Left to pydantic, a number would be read as a Unix timestamp.
    try:
        if isinstance(value, str) and len(value) == 10:
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("date_format", "a day is written YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_day, json_schema_input_type=date)]
OrderedQuantity = Annotated[PositiveQuantity, Field(le=Decimal(1_000_000))]
LineNumber = Annotated[int, Field(strict=True, ge=1, le=100_000)]
OptionName = Annotated[Label, StringConstraints(min_length=1)]
Options = Annotated[dict[OptionName, Label], Field(max_length=50)]


class NewLine(BaseModel):
    """A line; `line` defaults to its position, `unit_price` to the catalogue's."""

    model_config = ConfigDict(extra="forbid")

    line: LineNumber | None = None
    item: Code
    quantity: OrderedQuantity
    unit_price: Money | None = None
    options: Options | None = None

    def wanted(self) -> WantedLine:
        """The line as the rules take it."""
        return WantedLine(self.item, self.quantity, self.line, self.unit_price, self.options)


NewLines = Annotated[list[NewLine], Field(min_length=1, max_length=200)]


class NewOrder(BaseModel):
    """An order to place. `customer` defaults to the caller's own, `priority` to the customer's."""

    model_config = ConfigDict(extra="forbid")

    customer: Reference | None = Field(default=None, description="number or id")
    customer_reference: Label | None = None
    requested_date: Day
    priority: Priority | None = None
    currency: Currency | None = Field(default=None, description="ISO 4217; the house currency when left out")
    lines: NewLines

    def wanted(self, owner: str | None) -> WantedOrder:
        """The order as the rules take it; a caller bound to a customer orders for it."""
        return WantedOrder(
            customer=self.customer or owner,
            requested_date=self.requested_date,
            lines=[line.wanted() for line in self.lines],
            customer_reference=self.customer_reference,
            priority=self.priority,
            currency=self.currency,
        )


class OrderChanges(BaseModel):
    """What to amend; a field left out stays. `lines` are all lines the order is to have: a missing one is withdrawn.

    A line that stays keeps its price and options unless they are given.
    """

    model_config = ConfigDict(extra="forbid")

    customer_reference: Label | None = None
    requested_date: Day = LEFT_OUT
    priority: Priority = LEFT_OUT
    lines: NewLines = LEFT_OUT


class NewOrders(BaseModel):
    """Orders to place together; each succeeds or fails by itself."""

    model_config = ConfigDict(extra="forbid")

    # Each order is validated on its own, so that a bad one does not refuse the others.
    orders: list[SkipValidation[NewOrder]] = Field(min_length=1, max_length=500)


class Cancellation(BaseModel):
    """Why the order is withdrawn."""

    model_config = ConfigDict(extra="forbid")

    reason: Sentence


class OrderLine(BaseModel):
    """A line of an order."""

    model_config = ConfigDict(from_attributes=True)

    line: int
    item: str
    quantity: PositiveQuantity
    unit_price: Money
    options: dict[str, str]


class Order(BaseModel):
    """A customer order. `version` counts the customer's amendments; `state` follows production and shipping."""

    id: UUID
    number: str
    version: int
    customer: str
    customer_reference: str | None
    requested_date: date
    promised_date: date | None
    priority: int
    currency: str
    lines: list[OrderLine]
    total: Money
    state: State
    created_at: UtcTime
    updated_at: UtcTime


class BatchResult(BaseModel):
    """How one order of a batch fared."""

    index: int
    status: Literal[201, 422]
    order: Order | None = None
    problem: ProblemBody | None = None


class BatchAnswer(BaseModel):
    """One result per order, in the order given."""

    items: list[BatchResult]


class OrderQuery(ListQuery):
    """Filters of the list of orders."""

    customer: Reference | None = Field(default=None, description="the customer's number")
    state: State | None = None
    customer_reference: Label | None = None


_NEW_ORDER = TypeAdapter(NewOrder)


@router.get("/orders", response_model=Page[Order])
async def list_orders(call: Reads, query: Annotated[OrderQuery, Query()]) -> Response:
    """Orders, oldest first."""
    filters = query.model_dump(include={"customer", "state", "customer_reference"})
    async with call.read() as reader:
        orders, cursor = await queries.many(reader, query, call.principal.customer, filters)
    return answer({"items": orders, "next_cursor": cursor}, Page[Order])


@router.post("/orders", response_model=Order, status_code=201)
async def place_order(call: Writes, body: NewOrder) -> Response:
    """Place an order."""
    owner = call.principal.customer
    wanted = body.wanted(owner)
    return await call.write(lambda tx: commands.place(tx, wanted, owner, _house_currency(call)), Order, 201)


@router.post("/orders:batch", response_model=BatchAnswer)
async def place_orders(call: Writes, body: NewOrders) -> Response:
    """Place up to 500 orders in one transaction; those that break a rule are refused one by one."""
    owner = call.principal.customer
    read = [_read(order, owner) for order in body.orders]

    async def place(tx: Tx) -> dict[str, Any]:
        return await batches.write_each(
            "order", read, lambda wanted: commands.place_each(tx, wanted, owner, _house_currency(call))
        )

    return await call.write(place, BatchAnswer)


@router.get("/orders/{order}", response_model=Order)
async def get_order(call: Reads, order: str) -> Response:
    """One order, by id or number."""
    async with call.read() as reader:
        return answer(await queries.one(reader, order, call.principal.customer), Order)


@router.patch("/orders/{order}", response_model=Order)
async def amend_order(call: Writes, order: str, expected: AmendedVersion, body: OrderChanges) -> Response:
    """Amend an order before it ships; needs `If-Match` with its ETag."""
    changes = body.model_dump(exclude_unset=True, exclude={"lines"})
    lines = [line.wanted() for line in body.lines] if "lines" in body.model_fields_set else None
    owner, currency = call.principal.customer, _house_currency(call)
    return await call.write(
        lambda tx: commands.amend(tx, order, owner, expected, changes=changes, lines=lines, house_currency=currency),
        Order,
    )


@router.post("/orders/{order}/cancel", response_model=Order)
async def cancel_order(call: Writes, order: str, expected: GivenVersion, body: Cancellation) -> Response:
    """Withdraw an order before it ships; `If-Match` is honored when given."""
    return await call.write(
        lambda tx: commands.cancel(tx, order, call.principal.customer, expected, body.reason), Order
    )


def _house_currency(call: Call) -> str:
    return str(call.request.app.state.context.settings.currency)


def _read(order: Any, owner: str | None) -> WantedOrder | Problem:
    read = batches.read(_NEW_ORDER, order)
    return read if isinstance(read, Problem) else read.wanted(owner)

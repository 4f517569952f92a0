"""HTTP: items with their bills of materials and routings, and suppliers."""

from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from starlette.responses import Response

from chassis.http.calls import Call, GivenVersion, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.values import Code, Money, PositiveQuantity, Quantity, UtcTime, plain
from erp.items import commands, queries, rules

router = APIRouter(prefix="/v1", tags=["items"])

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Unit = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=r"^[^\x00]*$")]
ScrapPercent = Annotated[
    Decimal, Field(ge=0, le=100, decimal_places=4), PlainSerializer(plain, return_type=str, when_used="json")
]
# At most a year: longer is a typing error no schedule should carry.
Minutes = Annotated[
    Decimal, Field(ge=0, le=525_600, decimal_places=6), PlainSerializer(plain, return_type=str, when_used="json")
]
LeadTimeDays = Annotated[int, Field(ge=0, le=3650)]


class ComponentBody(BaseModel):
    """One line of a bill of materials."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    item: Code
    quantity: PositiveQuantity = Field(description="per unit of the made item, before planned scrap")
    scrap_percent: ScrapPercent = Decimal(0)


class RoutingStepBody(BaseModel):
    """One operation of a routing."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    operation: int = Field(ge=1, le=1_000_000, description="sequence number, e.g. 10, 20, 30")
    work_center: Code
    setup_minutes: Minutes = Decimal(0)
    minutes_per_unit: Minutes


Components = Annotated[list[ComponentBody], Field(max_length=500)]
Routing = Annotated[list[RoutingStepBody], Field(max_length=100)]


class ItemBody(BaseModel):
    """A new item."""

    model_config = ConfigDict(extra="forbid")

    item: Code
    name: Name | None = Field(default=None, description="the item's code when left out")
    unit: Unit = "pcs"
    source: Literal["make", "buy"]
    price: Money = Decimal(0)
    standard_cost: Money | None = Field(default=None, description="rolled up from the components when left out")
    lead_time_days: LeadTimeDays = 0
    supplier: Code | None = None
    minimum_order_quantity: Quantity = Decimal(0)
    category: Name | None = None
    components: Components = []
    routing: Routing = []


class ItemChange(BaseModel):
    """A new version of an item; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    item: Code = Field(default="", description="if given, the code in the path")
    name: Name = ""
    unit: Unit = ""
    source: Literal["make", "buy"] = "make"
    price: Money = Decimal(0)
    standard_cost: Money | None = Field(default=None, description="null: rolled up from the components from now on")
    lead_time_days: LeadTimeDays = 0
    supplier: Code | None = None
    minimum_order_quantity: Quantity = Decimal(0)
    category: Name | None = None
    components: Components = []
    routing: Routing = []


class Item(BaseModel):
    """An item as it is defined now."""

    id: UUID
    number: str
    item: str
    name: str
    unit: str
    source: Literal["make", "buy"]
    price: Money
    standard_cost: Money
    lead_time_days: int
    supplier: str | None
    minimum_order_quantity: Quantity
    category: str | None
    low_level_code: int = Field(description="longest way down from an end product; 0 for what is in nothing else")
    components: list[ComponentBody]
    routing: list[RoutingStepBody]
    version: int
    created_at: UtcTime
    updated_at: UtcTime


class ItemQuery(ListQuery):
    """Filters of the list of items."""

    source: Literal["make", "buy"] | None = None
    supplier: str | None = Field(default=None, max_length=64)


class SupplierBody(BaseModel):
    """A new supplier."""

    model_config = ConfigDict(extra="forbid")

    supplier: Code
    name: Name | None = Field(default=None, description="the supplier's code when left out")
    email: Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")] | None = None


class Supplier(BaseModel):
    """A supplier."""

    id: UUID
    number: str
    supplier: str
    name: str
    email: str | None
    version: int
    created_at: UtcTime
    updated_at: UtcTime


@router.post("/items", status_code=201, response_model=Item)
async def create_item(body: ItemBody, call: Annotated[Call, requires("items:write")]) -> Response:
    """Define a new item."""
    definition = rules.Definition(**{**_fields(body.model_dump()), "name": body.name or body.item})
    return await call.write(lambda tx: commands.create_item(tx, definition), Item, 201)


@router.get("/items", response_model=Page[Item])
async def list_items(query: Annotated[ItemQuery, Query()], call: Annotated[Call, requires("items:read")]) -> Response:
    """Items in the order of their codes."""
    async with call.read() as reader:
        items, cursor = await queries.list_items(reader, query, query.source, query.supplier)
    return answer({"items": items, "next_cursor": cursor}, Page[Item])


@router.get("/items/{item}", response_model=Item)
async def get_item(item: str, call: Annotated[Call, requires("items:read")]) -> Response:
    """One item."""
    async with call.read() as reader:
        return answer(await queries.get_item(reader, item), Item)


@router.post("/items/{item}", response_model=Item)
async def change_item(
    item: str, body: ItemChange, call: Annotated[Call, requires("items:write")], expected: GivenVersion
) -> Response:
    """Define a new version of an item; with `If-Match` only if it is still at that version."""
    changes = _fields(body.model_dump(include=body.model_fields_set))
    return await call.write(lambda tx: commands.change_item(tx, item, changes, expected), Item)


@router.post("/suppliers", status_code=201, response_model=Supplier)
async def create_supplier(body: SupplierBody, call: Annotated[Call, requires("items:write")]) -> Response:
    """Register a supplier."""
    name = body.name or body.supplier
    return await call.write(lambda tx: commands.create_supplier(tx, body.supplier, name, body.email), Supplier, 201)


@router.get("/suppliers", response_model=Page[Supplier])
async def list_suppliers(
    query: Annotated[ListQuery, Query()], call: Annotated[Call, requires("items:read")]
) -> Response:
    """Suppliers in the order of their codes."""
    async with call.read() as reader:
        items, cursor = await queries.list_suppliers(reader, query)
    return answer({"items": items, "next_cursor": cursor}, Page[Supplier])


@router.get("/suppliers/{supplier}", response_model=Supplier)
async def get_supplier(supplier: str, call: Annotated[Call, requires("items:read")]) -> Response:
    """One supplier."""
    async with call.read() as reader:
        return answer(await queries.get_supplier(reader, supplier), Supplier)


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    """Request fields with components and routing as the rules know them."""
    if "components" in body:
        body["components"] = tuple(rules.Component(**line) for line in body["components"])
    if "routing" in body:
        body["routing"] = tuple(rules.RoutingStep(**step) for step in body["routing"])
    return body

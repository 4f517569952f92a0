"""The customers resource."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.values import Code, UtcTime
from crm.customers import commands, queries
from crm.texts import LEFT_OUT, Email, Name, Priority, Reference

router = APIRouter(prefix="/v1/customers", tags=["customers"])
Reads = Annotated[Call, requires("customers:read")]
Writes = Annotated[Call, requires("customers:write")]


class Customer(BaseModel):
    """A customer."""

    id: UUID
    number: str
    version: int
    name: str
    email: str | None
    priority: int
    created_at: UtcTime
    updated_at: UtcTime


class NewCustomer(BaseModel):
    """A customer to register; `number` is chosen for you when left out."""

    model_config = ConfigDict(extra="forbid")

    number: Code | None = None
    name: Name
    email: Email | None = None
    priority: Priority = 0


class CustomerChanges(BaseModel):
    """What to change; a field left out stays, `email` null removes it."""

    model_config = ConfigDict(extra="forbid")

    name: Name = LEFT_OUT
    email: Email | None = None
    priority: Priority = LEFT_OUT


class CustomerQuery(ListQuery):
    """Filters of the list of customers."""

    number: Reference | None = None
    name: Name | None = Field(default=None, description="part of the name, in any case")


@router.get("", response_model=Page[Customer])
async def list_customers(call: Reads, query: Annotated[CustomerQuery, Query()]) -> Response:
    """Customers in the order they registered."""
    async with call.read() as reader:
        rows, cursor = await queries.many(reader, query, query.number, query.name, call.principal.customer)
    return answer({"items": [dict(row) for row in rows], "next_cursor": cursor}, Page[Customer])


@router.post("", response_model=Customer, status_code=201)
async def register_customer(call: Writes, body: NewCustomer) -> Response:
    """Register a customer."""
    return await call.write(
        lambda tx: commands.register(tx, body.number, body.name, body.email, body.priority), Customer, 201
    )


@router.get("/{customer}", response_model=Customer)
async def get_customer(call: Reads, customer: str) -> Response:
    """One customer, by id or number."""
    async with call.read() as reader:
        return answer(await queries.one(reader, customer, call.principal.customer), Customer)


@router.patch("/{customer}", response_model=Customer)
async def change_customer(call: Writes, customer: str, body: CustomerChanges) -> Response:
    """Change a customer; needs `If-Match` with its ETag."""
    expected = call.expected_version()
    changes = body.model_dump(exclude_unset=True)
    return await call.write(lambda tx: commands.change(tx, customer, expected, changes), Customer)

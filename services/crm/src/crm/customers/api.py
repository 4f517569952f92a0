"""The customers resource."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, TypeAdapter
from starlette.responses import Response

from chassis.db import Tx
from chassis.http.calls import AmendedVersion, Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import Problem, ProblemBody
from contracts.values import Code, UtcTime
from crm import batches
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


class NewCustomers(BaseModel):
    """Customers to register together; each succeeds or fails by itself."""

    model_config = ConfigDict(extra="forbid")

    # Each customer is validated on its own, so that a bad one does not refuse the others.
    customers: list[SkipValidation[NewCustomer]] = Field(min_length=1, max_length=500)


class CustomerResult(BaseModel):
    """How one customer of a batch fared."""

    index: int
    status: Literal[201, 409, 422]
    customer: Customer | None = None
    problem: ProblemBody | None = None


class CustomerResults(BaseModel):
    """One result per customer, in the order given."""

    items: list[CustomerResult]


class CustomerChanges(BaseModel):
    """What to change; a field left out stays, `email` null removes it."""

    model_config = ConfigDict(extra="forbid")

    name: Name = LEFT_OUT
    email: Email | None = None
    priority: Priority = LEFT_OUT


_NEW_CUSTOMER = TypeAdapter(NewCustomer)


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
    return await call.write(lambda tx: commands.register(tx, body.model_dump()), Customer, 201)


@router.post(":batch", response_model=CustomerResults)
async def register_customers(call: Writes, body: NewCustomers) -> Response:
    """Register up to 500 customers in one transaction; those that break a rule or exist are refused one by one."""
    read = [_read(customer) for customer in body.customers]

    async def register(tx: Tx) -> dict[str, Any]:
        return await batches.write_each(
            "customer", read, lambda wanted: commands.register_each(tx, [customer.model_dump() for customer in wanted])
        )

    return await call.write(register, CustomerResults)


@router.get("/{customer}", response_model=Customer)
async def get_customer(call: Reads, customer: str) -> Response:
    """One customer, by id or number."""
    async with call.read() as reader:
        return answer(await queries.one(reader, customer, call.principal.customer), Customer)


@router.patch("/{customer}", response_model=Customer)
async def change_customer(call: Writes, customer: str, expected: AmendedVersion, body: CustomerChanges) -> Response:
    """Change a customer; needs `If-Match` with its ETag."""
    changes = body.model_dump(exclude_unset=True)
    return await call.write(lambda tx: commands.change(tx, customer, expected, changes), Customer)


def _read(customer: Any) -> NewCustomer | Problem:
    return batches.read(_NEW_CUSTOMER, customer)

"""The work orders and batches resources."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import not_found
from contracts.values import Quantity, UtcTime
from mes.records import OperationRecord, Record
from mes.workorders import queries

router = APIRouter(prefix="/v1", tags=["work orders"])
Reads = Annotated[Call, requires("production:read")]


class WorkOrder(Record):
    """The job for one of ERP's plans."""

    plan: str
    plan_id: UUID
    item: str
    unit: str
    quantity: Quantity
    good: Quantity
    scrap: Quantity
    rework: Quantity
    state: str
    due: UtcTime
    priority: int
    material_status: str
    orders: list[str]
    operations: list[OperationRecord]


class WorkOrderQuery(ListQuery):
    """Filters of the list of work orders."""

    item: str | None = None
    state: Literal["created", "scheduled", "running", "completed", "cancelled"] | None = None
    plan: str | None = Field(default=None, description="number or id")
    order: str | None = Field(default=None, description="a customer order it serves, number or id")


class Batch(Record):
    """A quantity reported good at the last operation; its state is that of its lot."""

    work_order: str
    item: str
    quantity: Quantity
    lot: str
    state: str


class BatchQuery(ListQuery):
    """Filters of the list of batches."""

    work_order: str | None = Field(default=None, description="number or id")
    item: str | None = None


@router.get("/work-orders", response_model=Page[WorkOrder])
async def list_work_orders(call: Reads, query: Annotated[WorkOrderQuery, Query()]) -> Response:
    """Work orders, oldest first."""
    async with call.read() as reader:
        filters = query.model_dump(include={"item", "state", "plan", "order"})
        rows, cursor = await queries.listed(reader, query, **filters)
    return answer({"items": rows, "next_cursor": cursor}, Page[WorkOrder])


@router.get("/work-orders/{work_order}", response_model=WorkOrder)
async def read_work_order(call: Reads, work_order: str) -> Response:
    """One work order, by id or number."""
    async with call.read() as reader:
        row = await queries.find(reader, work_order)
    if row is None:
        raise not_found("work order", work_order)
    return answer(row, WorkOrder)


@router.get("/batches", response_model=Page[Batch])
async def list_batches(call: Reads, query: Annotated[BatchQuery, Query()]) -> Response:
    """Batches, oldest first."""
    async with call.read() as reader:
        rows, cursor = await queries.batches(reader, query, query.work_order, query.item)
    return answer({"items": rows, "next_cursor": cursor}, Page[Batch])


@router.get("/batches/{batch}", response_model=Batch)
async def read_batch(call: Reads, batch: str) -> Response:
    """One batch, by id or number."""
    async with call.read() as reader:
        row = await queries.find_batch(reader, batch)
    if row is None:
        raise not_found("batch", batch)
    return answer(row, Batch)

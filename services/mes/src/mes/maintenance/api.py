"""The maintenance orders resource."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import not_found
from contracts.values import Quantity, UtcTime
from mes.maintenance import queries
from mes.records import Record

router = APIRouter(prefix="/v1/maintenance-orders", tags=["maintenance"])
Reads = Annotated[Call, requires("production:read")]


class MaintenanceOrder(Record):
    """The repair of one stop of a machine."""

    machine: str
    state: str
    reason: str | None
    notified: str
    opened_at: UtcTime
    completed_at: UtcTime | None
    downtime_minutes: Quantity | None


class MaintenanceOrderQuery(ListQuery):
    """Filters of the list of maintenance orders."""

    machine: str | None = None
    state: Literal["open", "completed"] | None = None


@router.get("", response_model=Page[MaintenanceOrder])
async def list_maintenance_orders(call: Reads, query: Annotated[MaintenanceOrderQuery, Query()]) -> Response:
    """Maintenance orders, oldest first."""
    async with call.read() as reader:
        rows, cursor = await queries.listed(reader, query, {"machine": query.machine, "state": query.state})
    return answer({"items": [dict(r) for r in rows], "next_cursor": cursor}, Page[MaintenanceOrder])


@router.get("/{maintenance_order}", response_model=MaintenanceOrder)
async def read_maintenance_order(call: Reads, maintenance_order: str) -> Response:
    """One maintenance order."""
    async with call.read() as reader:
        row = await queries.find(reader, maintenance_order)
    if row is None:
        raise not_found("maintenance order", maintenance_order)
    return answer(dict(row), MaintenanceOrder)

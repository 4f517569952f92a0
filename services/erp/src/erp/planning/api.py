"""HTTP: production plans."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.envelope import Reason
from contracts.values import Quantity, UtcTime
from erp.planning import queries
from erp.planning.rules import PlanState

router = APIRouter(prefix="/v1/plans", tags=["planning"])


class Share(BaseModel):
    """How much of a plan serves an order line, directly or through the plans above it."""

    order_id: UUID
    order: str
    line: int
    quantity: Quantity


class Component(BaseModel):
    """What a plan needs of one component: issued to it, reserved for it, still waited for."""

    item: str
    quantity_per: Quantity
    quantity: Quantity
    issued: Quantity
    reserved: Quantity
    waiting: Quantity


class RoutingStep(BaseModel):
    """One operation; times in minutes."""

    operation: int
    work_center: str
    setup_minutes: Quantity
    minutes_per_unit: Quantity


class Plan(BaseModel):
    """A production plan, in its item's unit."""

    id: UUID
    number: str
    version: int
    item: str
    unit: str
    state: PlanState
    quantity: Quantity
    received: Quantity
    priority: int
    due: UtcTime
    expected: UtcTime = Field(description="when the output is expected: the shop floor's schedule once there is one")
    pegs: list[Share]
    components: list[Component]
    routing: list[RoutingStep]
    material_status: str
    material_date: UtcTime | None
    predecessor_plans: list[UUID]
    reason: Reason | None
    created_at: UtcTime
    updated_at: UtcTime


class PlanQuery(ListQuery):
    """Filters of production plans."""

    item: str | None = Field(default=None, max_length=64)
    state: PlanState | None = None


@router.get("", response_model=Page[Plan])
async def list_plans(
    query: Annotated[PlanQuery, Query()], call: Annotated[Call, requires("production:read")]
) -> Response:
    """Production plans, oldest first."""
    async with call.read() as reader:
        items, cursor = await queries.list_plans(reader, query, item=query.item, state=query.state)
    return answer({"items": items, "next_cursor": cursor}, Page[Plan])


@router.get("/{plan}", response_model=Plan)
async def get_plan(plan: str, call: Annotated[Call, requires("production:read")]) -> Response:
    """One production plan."""
    async with call.read() as reader:
        return answer(await queries.get_plan(reader, plan), Plan)

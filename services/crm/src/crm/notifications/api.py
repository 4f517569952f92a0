"""The notifications resource: read only."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import not_found
from contracts.values import UtcTime
from crm.notifications import queries
from crm.notifications.rules import Milestone
from crm.texts import Reference

router = APIRouter(prefix="/v1", tags=["notifications"])
Reads = Annotated[Call, requires("orders:read")]


class Notification(BaseModel):
    """What a customer was told about an order, and the event that caused it."""

    id: UUID
    number: str
    version: int
    order_id: UUID
    order: str
    customer: str
    milestone: Milestone
    text: str
    cause_event_id: UUID
    created_at: UtcTime
    updated_at: UtcTime


class NotificationQuery(ListQuery):
    """Filters of the list of notifications."""

    order: Reference | None = None
    customer: Reference | None = None
    milestone: Milestone | None = None


@router.get("/notifications", response_model=Page[Notification])
async def list_notifications(call: Reads, query: Annotated[NotificationQuery, Query()]) -> Response:
    """Notifications, oldest first."""
    async with call.read() as reader:
        rows, cursor = await queries.many(
            reader,
            query,
            call.principal.customer,
            order=query.order,
            customer=query.customer,
            milestone=query.milestone,
        )
    return answer({"items": [dict(row) for row in rows], "next_cursor": cursor}, Page[Notification])


@router.get("/orders/{order}/notifications", response_model=Page[Notification])
async def list_order_notifications(call: Reads, order: str, query: Annotated[ListQuery, Query()]) -> Response:
    """What the customer was told about one order, oldest first."""
    async with call.read() as reader:
        # Placing an order confirms it to the customer, so an order nobody was told about does not exist.
        if not await queries.told(reader, order, call.principal.customer):
            raise not_found("order", order)
        rows, cursor = await queries.many(reader, query, call.principal.customer, order=order)
    return answer({"items": [dict(row) for row in rows], "next_cursor": cursor}, Page[Notification])

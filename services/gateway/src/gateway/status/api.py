"""The order-status view, once and as a stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from chassis.db import Database
from chassis.http.calls import Call, requires
from chassis.http.problems import not_found
from contracts.values import Quantity, UtcTime
from gateway.status.feed import StatusFeed
from gateway.status.owner import order_at_owner
from gateway.status.queries import Gathered, gather, order_by, snapshot
from gateway.status.rules import OrderFact, status
from gateway.status.streams import Streams

router = APIRouter(prefix="/v1/orders", tags=["status"])
_WAIT_SECONDS = 2.0
_POLL_SECONDS = 0.05
_STREAM_SECONDS = 600.0
# A client that takes longer than this for one view is dropped; it reconnects when it can keep up.
_SLOW_SECONDS = 30.0
_RECONNECT_MS = 1000


class _Shape(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class StatusReason(_Shape):
    """Why the promise is what it is."""

    code: str
    text: str
    event_id: str | None


class StatusLine(_Shape):
    """Where one line stands."""

    line: int
    item: str
    quantity: Quantity = Field(description="ordered")
    reserved: Quantity = Field(description="from stock, not yet shipped")
    planned: Quantity = Field(description="to be made or bought for this line")
    produced: Quantity
    scrapped: Quantity
    shipped: Quantity
    delivered: Quantity
    open: Quantity = Field(description="still to be shipped")
    cancelled: Quantity = Field(description="will not be shipped; ordered is shipped + open + cancelled")
    work_orders: list[str]
    lots: list[str] = Field(description="made, picked or shipped for this line")


class StatusEvent(_Shape):
    """One event of the order's story."""

    event_id: str
    type: str
    time: UtcTime
    causation_id: str | None
    text: str


class StatusView(_Shape):
    """Where an order stands, why, and what happened."""

    order_id: UUID
    number: str
    customer: str
    version: int = Field(description="of the order, as the customer last changed it")
    stage: str = Field(
        description="placed promised planned in_production completed shipped delivered closed, cancelled"
    )
    progress: float = Field(ge=0, le=100, description="percent of the ordered quantity that is ready")
    requested_date: date
    promised_date: date | None
    eta: UtcTime | None
    reason: StatusReason | None
    flags: list[str] = Field(description="any of late, held, amended, cancelled")
    lines: list[StatusLine]
    trail: list[StatusEvent] = Field(description="the newest 500 events, oldest first")
    as_of: UtcTime | None = Field(description="time of the newest event in this view")


class StatusQuery(BaseModel):
    """What the view must have seen."""

    model_config = ConfigDict(extra="forbid")

    min_version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="wait briefly for this version")


async def _shown(
    request: Request,
    order: str,
    query: Annotated[StatusQuery, Query()],
    call: Annotated[Call, requires("orders:read")],
) -> Gathered:
    """The facts of the order at the wanted version, from the projection or else from CRM.

    Raises 404 unless it is the caller's.
    """
    if not order.isprintable():
        raise not_found("order", order)
    wanted = query.min_version or 1
    async with snapshot(call.database) as reader:
        found = await order_by(reader, order)
        if found and not call.principal.owns(found.customer):
            raise not_found("order", order)
        if found and found.version >= wanted:
            return await gather(reader, found)
    newer = await _newer(request, call, order, found, wanted)
    async with snapshot(call.database) as reader:
        return await gather(reader, newer)


async def _newer(request: Request, call: Call, reference: str, found: OrderFact | None, wanted: int) -> OrderFact:
    async def at_owner(name: str) -> OrderFact | None:
        return await order_at_owner(request.app.state.upstreams, request.headers["authorization"], name)

    if found:
        folded = await _awaited(call.database, found.order_id, wanted)
        return folded or await at_owner(found.order_id) or found
    # Asked before waiting, so that an order that does not exist is refused at once.
    owned = await at_owner(reference)
    if owned is None:
        raise not_found("order", reference)
    return await _awaited(call.database, owned.order_id, wanted) or owned


async def _known(database: Database, reference: str) -> OrderFact | None:
    async with database.read() as reader:
        return await order_by(reader, reference)


async def _awaited(database: Database, order_id: str, version: int) -> OrderFact | None:
    """The order once the projection has this version of it; None after two seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_SECONDS
    while True:
        found = await _known(database, order_id)
        if found and found.version >= version:
            return found
        if loop.time() >= deadline:
            return None
        await asyncio.sleep(_POLL_SECONDS)


def _view(gathered: Gathered) -> str:
    return StatusView.model_validate(status(gathered.facts)).model_dump_json()


@router.get("/{order}/status", response_model=StatusView, summary="Where an order stands")
async def order_status(shown: Annotated[Gathered, Depends(_shown)]) -> Response:
    """The view, computed from the facts known now."""
    return Response(_view(shown), media_type="application/json")


async def _place(
    request: Request, _: Annotated[Gathered, Depends(_shown)], call: Annotated[Call, requires("orders:read")]
) -> AsyncIterator[None]:
    """A place among the open streams until the answer has ended."""
    streams: Streams = request.app.state.streams
    with streams.place(call.principal.client_id):
        yield


@router.get(
    "/{order}/status/stream",
    response_class=EventSourceResponse,
    dependencies=[Depends(_place)],
    summary="Where an order stands, live",
)
async def stream_status(
    request: Request, shown: Annotated[Gathered, Depends(_shown)], last_event_id: Annotated[str | None, Header()] = None
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `status` with the view as data, at once and after each change; `reconnect` after ten minutes.

    The `id` of an event is the number of events in the order's story. Sent back as `Last-Event-ID`, only a newer view
    is sent.
    """
    feed: StatusFeed = request.app.state.feed
    loop = asyncio.get_running_loop()
    end = loop.time() + _STREAM_SECONDS
    async with feed.watch(shown.facts.order) as watched:
        seen = last_event_id
        while feed.open and (left := end - loop.time()) > 0:
            changed = watched.changed
            if seen != str(watched.current.sequence):
                seen = str(watched.current.sequence)
                offered = loop.time()
                yield ServerSentEvent(raw_data=_view(watched.current), event="status", id=seen)
                if loop.time() - offered > _SLOW_SECONDS:
                    return
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await changed.wait()
    yield ServerSentEvent(data={"reason": "the stream ends; connect again"}, event="reconnect", retry=_RECONNECT_MS)

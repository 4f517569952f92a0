"""Sends public requests to the services that own them."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import httpx
import structlog
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from chassis.events import correlation_id
from chassis.http.calls import EVENTS_HEADER, Call, authenticated
from chassis.http.problems import Problem, method_not_allowed, not_found
from gateway.orders.rules import (
    GATEWAY,
    ORDERS,
    Barrier,
    awaited_events,
    barrier_after,
    order_of_part,
    owner_of,
    seconds_for,
)
from gateway.upstreams import Outgoing, Upstreams

router = APIRouter(include_in_schema=False)
# `host`, because a service that redirects names the host it was asked by.
_FORWARDED = (
    "host",
    "authorization",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "traceparent",
    "content-type",
    "accept",
)
# Ours, hop-by-hop (RFC 9110 §7.6.1), or about a body we have decoded.
_NOT_RETURNED = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "keep-alive",
        "server",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-correlation-id",
        EVENTS_HEADER.lower(),
    }
)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY"]
_BARRIER_SECONDS = 5.0
_MAX_AWAITED = 200
NOTHING_YET: dict[str, Any] = {"items": [], "next_cursor": None}
log = structlog.get_logger()


# Whatever the method, so that the owner says which ones it allows.
@router.api_route("/v1/{path:path}", methods=_METHODS)
async def forward(request: Request, call: Annotated[Call, authenticated()]) -> Response:
    """The owner's answer to this request. 404 where nobody owns the path."""
    path: str = request.scope["path"]
    owner = owner_of(path)
    if owner is None:
        raise Problem(404, "not_found", f"{path} is unknown")
    if owner == GATEWAY:
        raise _unanswered(request)
    upstreams: Upstreams = request.app.state.upstreams
    answer = await upstreams[owner].send(await _outgoing(request), seconds_for(path))
    if answer.status_code == HTTPStatus.NOT_FOUND and await _not_heard_of_yet(request, upstreams, owner, path):
        return JSONResponse(NOTHING_YET)
    barrier = barrier_after(request.method, path)
    if barrier and answer.is_success and (header := answer.headers.get(EVENTS_HEADER)):
        await _seen(upstreams, barrier, header)
    return _returned(answer)


def _unanswered(request: Request) -> Problem:
    """405 with what is allowed where a path is our own, else 404."""
    own: list[Route] = request.app.state.own_routes
    if not any(route.matches(request.scope)[0] is Match.PARTIAL for route in own):
        return not_found("path", request.url.path)
    return method_not_allowed(request, own)


async def _not_heard_of_yet(request: Request, upstreams: Upstreams, owner: str, path: str) -> bool:
    """Whether this asks for a part of an order that is the caller's but has not reached the part's owner yet."""
    order = order_of_part(request.method, path)
    if order is None or owner == ORDERS:
        return False
    target = f"/v1/orders/{quote(order, safe='')}".encode()
    ask = Outgoing("GET", target, {"authorization": request.headers["authorization"]})
    return (await upstreams[ORDERS].send(ask, seconds_for(path))).is_success


async def _outgoing(request: Request) -> Outgoing:
    headers = {name: value for name in _FORWARDED if (value := request.headers.get(name)) is not None}
    headers["x-correlation-id"] = correlation_id.get() or ""
    # The path as the caller wrote it: one decoded and encoded again may mean another resource.
    target: bytes = request.scope["raw_path"]
    if query := request.scope["query_string"]:
        target += b"?" + query
    return Outgoing(request.method, target, headers, await request.body())


def _returned(answer: httpx.Response) -> Response:
    reply = Response(answer.content, answer.status_code)
    reply.raw_headers += [
        (name.lower(), value) for name, value in answer.headers.raw if name.lower().decode() not in _NOT_RETURNED
    ]
    return reply


async def _seen(upstreams: Upstreams, barrier: Barrier, header: str) -> None:
    """Wait until the guarding service has applied the events, at most two seconds; the write has succeeded anyway."""
    ids = awaited_events(header, barrier.event_types)[-_MAX_AWAITED:]
    if not ids:
        return
    query = urlencode([*(("event", event_id) for event_id in ids), ("wait_ms", round(_BARRIER_SECONDS * 1000))])
    ask = Outgoing("GET", f"/internal/applied?{query}".encode(), {"x-correlation-id": correlation_id.get() or ""})
    try:
        async with asyncio.timeout(_BARRIER_SECONDS):
            answer = await upstreams[barrier.service].send(ask, _BARRIER_SECONDS)
        applied = answer.is_success and answer.json()["applied"]
    except (TimeoutError, Problem) as error:
        applied = False
        log.info("barrier_unanswered", service=barrier.service, error=repr(error))
    if not applied:
        log.info("barrier_not_reached", service=barrier.service, events=len(ids))

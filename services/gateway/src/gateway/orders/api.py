"""Sends public requests to the services that own them."""

import asyncio
from typing import Annotated
from urllib.parse import urlencode

import httpx
import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response

from chassis.events import correlation_id
from chassis.http.calls import EVENTS_HEADER, Call, authenticated
from chassis.http.problems import Problem
from gateway.orders.rules import GATEWAY, Barrier, awaited_events, barrier_after, owner_of, seconds_for
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
_BARRIER_SECONDS = 2.0
_MAX_AWAITED = 200
log = structlog.get_logger()


@router.api_route("/v1/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(request: Request, call: Annotated[Call, authenticated()]) -> Response:
    """The owner's answer to this request. 404 where nobody owns the path."""
    path: str = request.scope["path"]
    owner = owner_of(path)
    if owner is None:
        raise Problem(404, "not_found", f"{path} is unknown")
    if owner == GATEWAY:
        raise Problem(405, "method_not_allowed", f"{request.method} is not allowed here")
    upstreams: Upstreams = request.app.state.upstreams
    answer = await upstreams[owner].send(await _outgoing(request), seconds_for(path))
    barrier = barrier_after(request.method, path)
    if barrier and answer.is_success and (header := answer.headers.get(EVENTS_HEADER)):
        await _seen(upstreams, barrier, header)
    return _returned(answer)


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
            answer = await upstreams[barrier.service].send(ask, 2 * _BARRIER_SECONDS)
        applied = answer.is_success and answer.json()["applied"]
    except (TimeoutError, Problem) as error:
        applied = False
        log.info("barrier_unanswered", service=barrier.service, error=repr(error))
    if not applied:
        log.info("barrier_not_reached", service=barrier.service, events=len(ids))

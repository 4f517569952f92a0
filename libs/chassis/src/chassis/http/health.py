"""Liveness, readiness, metrics and the applied-event check every service answers without a token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select
from starlette.responses import JSONResponse, Response

from chassis.db import Database
from chassis.tables import inbox

router = APIRouter(include_in_schema=False)
internal = APIRouter(include_in_schema=False)
# A readiness detail: (healthy, text). An optional one degrades but does not fail: without Kafka commands still commit.
Check = Callable[[], Awaitable[tuple[bool, str]]]
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.005, 0.08


@router.get("/livez")
@router.get("/healthz")
async def livez(request: Request) -> JSONResponse:
    """200 while every task of the process runs."""
    failed: list[str] = request.app.state.failed_tasks()
    return JSONResponse({"status": "failed" if failed else "ok", "failed_tasks": failed}, 503 if failed else 200)


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """200 when requests can be served, with the detail of every check."""
    checks: dict[str, Check] = request.app.state.checks
    optional: dict[str, Check] = request.app.state.optional_checks
    details: dict[str, Any] = {}
    ready = not request.app.state.stopping.is_set()
    for name, check in {**checks, **optional}.items():
        try:
            healthy, text = await asyncio.wait_for(check(), timeout=3)
        except Exception as error:
            healthy, text = False, f"{type(error).__name__}: {error}"
        details[name] = {"ok": healthy, "detail": text}
        ready = ready and (healthy or name in optional)
    return JSONResponse({"status": "ready" if ready else "not ready", "checks": details}, 200 if ready else 503)


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus exposition."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@internal.get("/internal/applied")
async def applied(
    request: Request,
    event: Annotated[list[UUID], Query(max_length=200)],
    wait_ms: Annotated[int, Query(ge=0, le=5000)] = 0,
) -> dict[str, bool]:
    """Whether this service has handled these events; waits up to `wait_ms` for it."""
    database: Database = request.app.state.database
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_ms / 1000
    poll = _FIRST_POLL_SECONDS
    wanted = set(event)
    while True:
        async with database.read() as reader:
            count = select(func.count(inbox.c.event_id.distinct())).where(inbox.c.event_id.in_(wanted))
            if await reader.scalar(count) == len(wanted):
                return {"applied": True}
        if loop.time() >= deadline:
            return {"applied": False}
        await asyncio.sleep(poll)
        poll = min(2 * poll, _LAST_POLL_SECONDS)

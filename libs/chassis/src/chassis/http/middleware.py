"""Pure ASGI middleware: correlation, trace context, body limits, access log and metrics."""

import asyncio
import re
import time
from collections.abc import Iterable
from urllib.parse import parse_qsl
from uuid import uuid4

import structlog
from prometheus_client import Counter, Histogram
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import events
from chassis.http.problems import Problem, crashed, cut_off, invalid, response

REQUESTS = Counter("http_requests_total", "Requests answered.", ["service", "method", "route", "status"])
SECONDS = Histogram("http_request_seconds", "Time to answer, in seconds.", ["service", "method", "route"])
log = structlog.get_logger()
_CORRELATION = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_QUIET = ("/livez", "/readyz", "/healthz", "/metrics")


class RequestShell:
    """Wraps every request: sets its correlation id, guards its body, logs and counts its answer."""

    def __init__(self, app: ASGIApp, service: str, max_body_bytes: int, form_paths: Iterable[str] = ()) -> None:
        self.app = app
        self.service = service
        self.max_body_bytes = max_body_bytes
        self.form_paths = frozenset(form_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-correlation-id", "")
        correlation = given if _CORRELATION.match(given) else str(uuid4())
        trace = headers.get("traceparent", "")
        events.correlation_id.set(correlation)
        events.traceparent.set(trace if _TRACEPARENT.match(trace) else None)
        structlog.contextvars.unbind_contextvars("client")
        structlog.contextvars.bind_contextvars(correlation_id=correlation)
        started = time.perf_counter()
        status: int | None = None

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *(h for h in message["headers"] if h[0].lower() != b"x-correlation-id"),
                    (b"x-correlation-id", correlation.encode()),
                ]
            await send(message)

        try:
            if refusal := self._refuse(scope, headers):
                await refusal(scope, receive, send_marked)
            else:
                await self.app(scope, self._limited(receive), send_marked)
        except asyncio.CancelledError:
            # The server cuts off what is not done when it stops; left to it, the answer would be a 500.
            if status is not None:
                raise
            await response(cut_off(scope["method"]))(scope, receive, send_marked)
        except Exception as error:
            if status is not None:
                raise
            await crashed(scope["path"], error)(scope, receive, send_marked)
        finally:
            self._record(scope, status or 500, time.perf_counter() - started)

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        # Nothing we keep is named with a NUL, and PostgreSQL refuses to be asked for it.
        if "\x00" in scope["path"]:
            return response(Problem(404, "not_found", f"{scope['path']!r} is unknown"))
        if b"%00" in scope["query_string"]:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            name = next(name for name, value in query if "\x00" in name + value)
            return response(invalid(name, "no_nul", "a parameter holds no NUL character"))
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.max_body_bytes:
            return response(self._too_large())
        has_body = int(length) > 0 or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = media_type == "application/json" or (
            media_type.startswith("application/") and media_type.endswith("+json")
        )
        if has_body and not is_json and scope["path"] not in self.form_paths:
            return response(Problem(415, "not_json", "send the body as application/json"))
        return None

    def _too_large(self) -> Problem:
        return Problem(413, "body_too_large", f"the body may have at most {self.max_body_bytes} bytes")

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body_bytes:
                raise self._too_large()
            return message

        return limited

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        REQUESTS.labels(self.service, scope["method"], route, status).inc()
        SECONDS.labels(self.service, scope["method"], route).observe(seconds)
        if scope["path"] not in _QUIET:
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))

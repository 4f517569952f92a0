"""Errors a client can act on: problem+json (RFC 9457) that names the field and the rule."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route

from chassis.db import CommitLost, is_unavailable, is_unstorable
from chassis.events import correlation_id

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger()


class FieldError(BaseModel):
    """One broken rule: `field` is a JSON pointer into the body, or the parameter's name."""

    field: str
    rule: str
    message: str


class ProblemBody(BaseModel):
    """The body of every error answer."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    correlation_id: str | None = None
    errors: list[FieldError] | None = None


@dataclass(eq=False)
class Problem(Exception):
    """Raise to refuse a request; nothing is changed."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: dict[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"


def not_found(kind: str, reference: str) -> Problem:
    """404: it does not exist, or is not the caller's."""
    return Problem(404, "not_found", f"{kind} {reference!r} is unknown")


def wrong_state(detail: str, code: str = "wrong_state") -> Problem:
    """409: the record's state does not allow this now."""
    return Problem(409, code, detail)


def invalid(field: str, rule: str, message: str) -> Problem:
    """422: one input breaks one rule. `field` is a JSON pointer such as ``/lines/0/item``."""
    return broken_rules([FieldError(field=field, rule=rule, message=message)])


def broken_rules(errors: Sequence[FieldError]) -> Problem:
    """422: inputs break these rules."""
    return Problem(422, "invalid_input", "; ".join(f"{e.field}: {e.message}" for e in errors), errors)


def method_not_allowed(request: Request, routes: Iterable[BaseRoute]) -> Problem:
    """405 with every method allowed at the request's path; a path written out hides one with a parameter."""
    matching = [r for r in routes if isinstance(r, Route) and r.matches(request.scope)[0] is not Match.NONE]
    written_out = [route for route in matching if not route.param_convertors]
    allowed = ", ".join(sorted({method for route in written_out or matching for method in route.methods or ()}))
    return Problem(405, "method_not_allowed", f"{request.method} is not allowed here", headers={"Allow": allowed})


def response(problem: Problem) -> JSONResponse:
    """The problem as an HTTP answer."""
    body = ProblemBody(
        type=f"urn:orderloop:problem:{problem.code}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        correlation_id=correlation_id.get(),
        errors=list(problem.errors) or None,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def _pointer(location: Sequence[Any]) -> str:
    where, *path = location
    return "/" + "/".join(str(part) for part in path) if where == "body" else str(path[0] if path else where)


def _from_validation(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        return Problem(400, "malformed_json", f"the body is not JSON: {found[0]['ctx']['error']}")
    if any(isinstance(e.get("input"), float) and not math.isfinite(e["input"]) for e in found):
        return Problem(400, "malformed_json", "the body is not JSON: NaN and Infinity are not numbers of JSON")
    return broken_rules([FieldError(field=_pointer(e["loc"]), rule=e["type"], message=e["msg"]) for e in found])


_CODES = {404: "not_found", 400: "bad_request"}

unavailable = Problem(
    503, "unavailable", "a part this request needs is away; try again shortly", headers={"Retry-After": "2"}
)

outcome_unknown = Problem(
    504,
    "outcome_unknown",
    "the database went away as it was asked to commit, so this may have been done; repeat it with its Idempotency-Key",
    headers={"Retry-After": "2"},
)


def cut_off(method: str) -> Problem:
    """503 for a read, 504 for a write: the service stopped before the request was done."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return Problem(503, "stopping", "the service stops; try again shortly", headers={"Retry-After": "2"})
    return Problem(
        504,
        "outcome_unknown",
        "the service stopped before this was finished, so it may have been done; repeat it with its Idempotency-Key",
        headers={"Retry-After": "2"},
    )


def crashed(path: str, error: Exception) -> JSONResponse:
    """500 for an error nobody foresaw; its inside goes to the log, not to the caller."""
    log.error("request_failed", path=path, exc_info=error)
    return response(Problem(500, "internal", "the request failed; nothing was changed"))


def install(app: FastAPI) -> None:
    """Answer every error of the app with problem+json."""

    async def on_problem(_request: Request, error: Any) -> JSONResponse:
        return response(error)

    async def on_validation(_request: Request, error: Any) -> JSONResponse:
        return response(_from_validation(error))

    async def on_http(request: Request, error: Any) -> JSONResponse:
        # FastAPI wraps what goes wrong while it reads the body, also our refusal of a body too large.
        if isinstance(error.__cause__, Problem):
            return response(error.__cause__)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return response(method_not_allowed(request, app.state.routes))
        code = _CODES.get(error.status_code, "refused")
        return response(Problem(error.status_code, code, str(error.detail), headers=dict(error.headers or {})))

    async def on_database(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, CommitLost):
            log.warning("commit_lost", path=request.url.path, error=str(error))
            return response(outcome_unknown)
        if is_unavailable(error):
            log.warning("database_unavailable", path=request.url.path, error=str(error))
            return response(unavailable)
        if is_unstorable(error):
            log.warning("value_not_storable", path=request.url.path, error=str(error))
            return response(Problem(422, "invalid_input", "a value is out of range or holds a character text cannot"))
        return crashed(request.url.path, error)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    for kind in (DBAPIError, PoolTimeout, OSError, TimeoutError):
        app.add_exception_handler(kind, on_database)

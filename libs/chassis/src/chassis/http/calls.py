"""One authenticated request: its scope is checked, its write is one idempotent transaction."""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import structlog
from fastapi import Depends, Header, Request, Response, Security
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import OAuth2
from pydantic import TypeAdapter
from sqlalchemy import func, insert, select

from chassis.db import Database, Reader, Tx
from chassis.http.auth import Principal, TokenVerifier, unauthorized
from chassis.http.problems import FieldError, Problem, wrong_state
from chassis.tables import idempotency_key

EVENTS_HEADER = "X-Event-Ids"
_KEY_HEADER = "Idempotency-Key"
_MAX_KEY_LENGTH = 255
_ETAG = re.compile(r'(?:W/)?"?([0-9]{1,18})"?')
_bearer = OAuth2(
    flows=OAuthFlows(clientCredentials=OAuthFlowClientCredentials(tokenUrl="/oauth/token")),
    scheme_name="client_credentials",
    auto_error=False,
)


class Call:
    """What an endpoint works with: the caller, the database, and the two ways to use it."""

    def __init__(self, request: Request, principal: Principal, database: Database) -> None:
        self.request = request
        self.principal = principal
        self.database = database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """A read-only transaction."""
        async with self.database.read() as reader:
            yield reader

    async def write(self, work: Callable[[Tx], Awaitable[Any]], shape: Any, status: int = 200) -> Response:
        """Run a command in one transaction and answer with its result in `shape`.

        With an ``Idempotency-Key`` the answer is stored in the same transaction and a repeat gets it again. Raises
        Problem 409 while the first is still running, 422 when the key was used with another request.
        """
        key = self.request.headers.get(_KEY_HEADER)
        if key is not None and not 0 < len(key) <= _MAX_KEY_LENGTH:
            raise _refused_key("idempotency_key_invalid", f"it must have 1 to {_MAX_KEY_LENGTH} characters")
        fingerprint = await self._fingerprint() if key else ""

        async def run(tx: Tx) -> Response:
            if key and (stored := await self._replay(tx, key, fingerprint)):
                return stored
            result = await work(tx)
            reply = answer(result, shape, status)
            if tx.appended:
                reply.headers[EVENTS_HEADER] = ",".join(f"{event_id};{type}" for event_id, type in tx.appended)
            if key:
                await self._remember(tx, key, fingerprint, reply)
            return reply

        return await self.database.write(run)

    async def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.request.method} {self.request.url.path}\n".encode())
        digest.update(await self.request.body())
        return digest.hexdigest()

    async def _replay(self, tx: Tx, key: str, fingerprint: str) -> Response | None:
        lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"{self.principal.client_id}\n{key}", 0))
        if not await tx.scalar(select(lock)):
            raise wrong_state("a request with this Idempotency-Key is still running", "idempotency_key_running")
        row = await tx.first(
            select(idempotency_key).where(
                idempotency_key.c.client_id == self.principal.client_id, idempotency_key.c.key == key
            )
        )
        if row is None:
            return None
        if row["fingerprint"] != fingerprint:
            raise _refused_key("idempotency_key_reused", "it was used with another request")
        return Response(row["body"], row["status"], {**row["headers"], "Idempotent-Replay": "true"})

    async def _remember(self, tx: Tx, key: str, fingerprint: str, reply: Response) -> None:
        await tx.execute(
            insert(idempotency_key).values(
                client_id=self.principal.client_id,
                key=key,
                fingerprint=fingerprint,
                status=reply.status_code,
                headers={k: v for k, v in reply.headers.items() if k != "content-length"},
                body=bytes(reply.body),
            )
        )


def _refused_key(code: str, message: str) -> Problem:
    error = FieldError(field=_KEY_HEADER, rule=code, message=message)
    return Problem(422, code, f"{_KEY_HEADER}: {message}", [error])


async def _given_version(
    if_match: Annotated[str | None, Header(description="the record's ETag as last seen")] = None,
) -> int | None:
    """The version the caller saw; raises 412 when the tag is none a record ever has."""
    if if_match is None:
        return None
    tag = _ETAG.fullmatch(if_match.strip())
    if tag is None:
        raise Problem(412, "version_differs", f"If-Match {if_match[:100]!r} is not an ETag of this record")
    return int(tag[1])


async def _amended_version(given: Annotated[int | None, Depends(_given_version)]) -> int:
    """The version the caller amends; raises 428 without ``If-Match``."""
    if given is None:
        raise Problem(428, "if_match_missing", "amending needs If-Match with the record's ETag")
    return given


GivenVersion = Annotated[int | None, Depends(_given_version)]
"""Parameter of an endpoint that honors ``If-Match``: the version the caller saw, None without the header."""
AmendedVersion = Annotated[int, Depends(_amended_version)]
"""Parameter of an endpoint that needs ``If-Match``: the version the caller amends."""


def check_version(actual: int, expected: int) -> None:
    """Raise 412 unless the record is still at the version the caller saw."""
    if actual != expected:
        raise Problem(412, "version_differs", f"the record is at version {actual}, not {expected}")


def answer(result: Any, shape: Any, status: int = 200) -> Response:
    """A result as JSON in `shape`; a record's version becomes its ETag."""
    adapter = TypeAdapter(shape)
    headers = {"content-type": "application/json"}
    if isinstance(result, Mapping) and isinstance(result.get("version"), int):
        headers["ETag"] = f'"{result["version"]}"'
    value = adapter.validate_python(result, from_attributes=True)
    return Response(adapter.dump_json(value), status, headers)


async def _principal(request: Request, authorization: Annotated[str | None, Security(_bearer)]) -> Principal:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("a bearer token is needed")
    verifier: TokenVerifier = request.app.state.verifier
    principal = await verifier.verify(token.strip())
    structlog.contextvars.bind_contextvars(client=principal.client_id)
    return principal


def requires(scope: str) -> Any:
    """Dependency: a `Call` by a caller whose token carries `scope`."""

    async def dependency(request: Request, principal: Annotated[Principal, Depends(_principal)]) -> Call:
        principal.require(scope)
        return Call(request, principal, request.app.state.database)

    return Security(dependency, scopes=[scope])


def authenticated() -> Any:
    """Dependency: a `Call` by any caller with a valid token."""

    async def dependency(request: Request, principal: Annotated[Principal, Depends(_principal)]) -> Call:
        return Call(request, principal, request.app.state.database)

    return Depends(dependency)

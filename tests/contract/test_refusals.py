"""Every refusal a document names can be had, and looks as the document says; found from the documents."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from unittest.mock import patch

import httpx
import pytest
from sqlalchemy import func, select

from chassis.db import CommitLost
from contract.surface import Operation, Surface, running
from devkit.testing import PostgresTestServer, free_port
from gateway.access.rates import Rates
from gateway.access.rules import SCOPES
from gateway.upstreams import Upstreams

Probe = Callable[[Surface, Operation], Awaitable[httpx.Response]]
_NOBODY = "postgresql+asyncpg://nobody:x@127.0.0.1:{}/nothing"


async def malformed(surface: Surface, operation: Operation) -> httpx.Response:
    """400"""
    if operation.scopes is None:
        return await surface.send(operation, data={"grant_type": "password"})
    return await surface.send(operation, headers=surface.bearer(*SCOPES), content=b"{")


async def without_token(surface: Surface, operation: Operation) -> httpx.Response:
    """401"""
    if operation.scopes is None:
        form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"}
        return await surface.send(operation, data=form)
    return await surface.send(operation)


async def without_scope(surface: Surface, operation: Operation) -> httpx.Response:
    """403"""
    return await surface.send(operation, headers=surface.bearer())


async def unknown(surface: Surface, operation: Operation) -> httpx.Response:
    """404"""
    if operation.scopes is not None:
        return await surface.send(operation, headers=surface.bearer(*SCOPES))
    access = surface.apps["gateway"].state.access
    keys, access.keys = access.keys, None
    try:
        return await surface.send(operation)
    finally:
        access.keys = keys


async def still_running(surface: Surface, operation: Operation) -> httpx.Response:
    """409"""
    async with surface.contexts[owner(surface, operation)].database.read() as first:
        await first.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("tester\nsame", 0))))
        return await surface.send(operation, headers={**surface.bearer(*SCOPES), "Idempotency-Key": "same"})


async def another_version(surface: Surface, operation: Operation) -> httpx.Response:
    """412"""
    return await surface.send(operation, headers={**surface.bearer(*SCOPES), "If-Match": "*"})


async def too_large(surface: Surface, operation: Operation) -> httpx.Response:
    """413"""
    return await surface.send(operation, headers=surface.bearer(*SCOPES), content=b" " * (1_048_576 + 1))


async def not_json(surface: Surface, operation: Operation) -> httpx.Response:
    """415"""
    headers = {**surface.bearer(*SCOPES), "Content-Type": "text/plain"}
    return await surface.send(operation, headers=headers, content=b"hello")


async def with_nul(surface: Surface, operation: Operation) -> httpx.Response:
    """422"""
    return await surface.send(operation, headers=surface.bearer(*SCOPES), params={"x": "\x00"})


async def without_version(surface: Surface, operation: Operation) -> httpx.Response:
    """428"""
    request = operation.request(headers=surface.bearer(*SCOPES))
    del request["headers"]["If-Match"]
    return await surface.clients[operation.app].request(**request)


async def too_often(surface: Surface, operation: Operation) -> httpx.Response:
    """429"""
    state = surface.apps["gateway"].state
    counted, key = (state.access, "127.0.0.1") if operation.scopes is None else (state.verifier, "tester")
    rates, counted.rates = counted.rates, Rates(per_second=0.1, burst=1)
    counted.rates.take(key, time.monotonic())
    try:
        return await surface.send(operation, headers=surface.bearer(*SCOPES))
    finally:
        counted.rates = rates


async def lost(surface: Surface, operation: Operation) -> httpx.Response:
    """502"""
    return await through(surface, operation, httpx.ReadError)


async def late(surface: Surface, operation: Operation) -> httpx.Response:
    """504"""
    if operation.app != owner(surface, operation):
        return await through(surface, operation, TimeoutError)
    database = surface.contexts[operation.app].database
    with patch.object(database, "transaction", side_effect=CommitLost("cut while committing")):
        if operation.scopes is None:
            return await without_token(surface, operation)
        return await surface.send(operation, headers=surface.bearer(*SCOPES))


async def through(surface: Surface, operation: Operation, failure: type[Exception]) -> httpx.Response:
    """The answer when the service fails so."""
    state = surface.apps["gateway"].state
    working, state.upstreams = state.upstreams, _failing(failure)
    try:
        return await surface.send(operation, headers=surface.bearer(*SCOPES))
    finally:
        state.upstreams = working


@cache
def _failing(failure: type[Exception]) -> Upstreams:
    def fail(_: httpx.Request) -> httpx.Response:
        raise failure("the service fails")

    names = ("crm", "erp", "mes")
    return Upstreams(dict.fromkeys(names, "http://x"), dict.fromkeys(names, httpx.MockTransport(fail)))


def owner(surface: Surface, operation: Operation) -> str:
    """The service whose document declares an operation."""
    return next(
        name for name, app in surface.apps.items() if operation.method in app.openapi()["paths"].get(operation.path, {})
    )


_PROBES: dict[int, Probe] = {
    400: malformed,
    401: without_token,
    403: without_scope,
    404: unknown,
    409: still_running,
    412: another_version,
    413: too_large,
    415: not_json,
    422: with_nul,
    428: without_version,
    429: too_often,
    502: lost,
    504: late,
}


@pytest.mark.parametrize("status", _PROBES)
async def test_every_documented_refusal_can_be_had(surface: Surface, status: int) -> None:
    operations = [operation for operation in surface.operations() if status in operation.documented]
    wrong = await refused(surface, operations, status, _PROBES[status])
    assert operations
    assert not wrong, "\n".join(wrong)


async def test_each_says_so_when_its_database_is_away(away: Surface) -> None:
    operations = [operation for operation in away.operations() if 503 in operation.documented]
    wrong = await refused(away, operations, 503, database_away)
    assert len(operations) > 100
    assert not wrong, "\n".join(wrong)


def test_every_status_of_the_documents_is_tried(surface: Surface) -> None:
    documented = set().union(*(operation.documented for operation in surface.operations()))
    assert documented == {200, 201, 503, *_PROBES}


async def refused(surface: Surface, operations: list[Operation], status: int, probe: Probe) -> list[str]:
    """What is wrong with the operations' answers to a probe that must be refused with a status."""
    wrong = []
    for operation in operations:
        answer = await probe(surface, operation)
        if answer.status_code != status:
            wrong.append(f"{operation}: {answer.status_code} instead of {status}: {answer.text[:200]}")
        else:
            wrong += [f"{operation}: {finding}" for finding in operation.broken(answer)]
    return wrong


@pytest.fixture
async def away(postgres_server: PostgresTestServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Surface]:
    """All apps while no database answers."""
    folder = tmp_path_factory.mktemp("away")
    async with running(postgres_server, folder, _NOBODY.format(free_port())) as made:
        yield made


async def database_away(surface: Surface, operation: Operation) -> httpx.Response:
    """503"""
    if operation.scopes:
        return await surface.send(operation, headers=surface.bearer(*SCOPES))
    if operation.method == "post":
        form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"}
        return await surface.send(operation, data=form)
    # Who is calling and the key set are not in the database but in the file of keys.
    verifier = surface.apps["gateway"].state.verifier.verifier
    known, verifier._keys = verifier._keys, {}
    (surface.keys / "jwks.json").rename(surface.keys / "elsewhere.json")
    try:
        return await surface.send(operation, headers=surface.bearer(*SCOPES))
    finally:
        (surface.keys / "elsewhere.json").rename(surface.keys / "jwks.json")
        verifier._keys = known

"""Requests to other services' paths, over real sockets."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Response
from gateway_support import Behind, Gateway, MakeGateway, served

from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer, free_port, wait_until
from gateway import upstreams


@pytest.fixture(scope="module")
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """One database for all: nothing is written to it here."""
    with fresh_database(postgres_server, "gateway") as url:
        yield url


def reply(status: int = 200, body: Any = None, **headers: str) -> Callable[[], Response]:
    """What a service answers."""
    return lambda: Response(json.dumps(body), status, {k.replace("_", "-"): v for k, v in headers.items()})


async def test_a_request_reaches_its_owner_as_it_was_sent(make_gateway: MakeGateway, behind: Behind) -> None:
    async with make_gateway(erp=behind.url) as gateway:
        headers = {
            **gateway.bearer("stock:write"),
            "Idempotency-Key": b"k-\xe9",
            "If-Match": '"3"',
            "X-Correlation-Id": "corr-1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        answered = await gateway.client.post("/v1/stock/A%2FB%20C?x=1&x=%2B", json={"quantity": "1.0"}, headers=headers)
    assert answered.json() == {"ok": True}
    (sent,) = behind.requests
    assert (sent["method"], sent["path"], sent["query"]) == ("POST", "/v1/stock/A%2FB%20C", "x=1&x=%2B")
    assert sent["body"] == '{"quantity":"1.0"}'
    assert sent["headers"]["idempotency-key"] == "k-\u00e9"
    for name in ("authorization", "if-match", "x-correlation-id", "traceparent"):
        assert sent["headers"][name] == {k.lower(): v for k, v in headers.items()}[name]
    assert sent["headers"]["content-type"] == "application/json"


async def test_the_answer_comes_back_untouched_but_for_our_own_headers(
    make_gateway: MakeGateway, behind: Behind
) -> None:
    behind.answers["PATCH /v1/orders/SO-1"] = reply(
        412, {"code": "version_differs"}, content_type="application/problem+json", ETag='"4"', X_Event_Ids=str(uuid4())
    )
    async with make_gateway(crm=behind.url) as gateway:
        answered = await gateway.client.patch("/v1/orders/SO-1", json={}, headers=gateway.bearer("orders:write"))
    assert (answered.status_code, answered.json()) == (412, {"code": "version_differs"})
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.headers["etag"] == '"4"'
    assert "x-event-ids" not in answered.headers
    assert len(answered.headers.get_list("x-correlation-id")) == 1
    assert len(answered.headers.get_list("content-length")) == 1


async def test_without_a_good_token_nothing_is_sent_on(make_gateway: MakeGateway, behind: Behind) -> None:
    async with make_gateway(crm=behind.url) as gateway:
        refused = await gateway.client.get("/v1/orders")
        forged = await gateway.client.get("/v1/orders", headers={"Authorization": "Bearer x.y.z"})
    assert (refused.status_code, forged.status_code) == (401, 401)
    assert behind.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/unknown",
        "/v1/",
        "/nowhere",
        "/v1/orders/%2e%2e/%2e%2e/internal/applied",
        "/internal/x",
        "/internal/applied",
    ],
)
async def test_unknown_paths_are_404(make_gateway: MakeGateway, behind: Behind, path: str) -> None:
    async with make_gateway(crm=behind.url, erp=behind.url, mes=behind.url) as gateway:
        refused = await gateway.client.get(path, headers=gateway.bearer("orders:read"))
    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"
    assert behind.requests == []


async def test_a_redirect_names_the_public_host(make_gateway: MakeGateway) -> None:
    upstream = FastAPI()

    @upstream.get("/v1/orders")
    async def orders() -> None: ...

    async with served(upstream) as url, make_gateway(crm=url) as gateway:
        answered = await gateway.client.get("/v1/orders/", headers=gateway.bearer("orders:read"))
    assert answered.headers["location"] == "http://gateway/v1/orders"


@pytest.mark.parametrize(("at_owner", "status"), [(200, 200), (404, 404)])
async def test_parts_of_an_order_that_has_not_arrived_are_none_yet(
    make_gateway: MakeGateway, at_owner: int, status: int
) -> None:
    erp = Behind(answers={"GET /v1/orders/SO-1/shipments": reply(404, {"code": "not_found"})})
    crm = Behind(answers={"GET /v1/orders/SO-1": reply(at_owner, {})})
    async with (
        served(erp.app()) as erp_url,
        served(crm.app()) as crm_url,
        make_gateway(erp=erp_url, crm=crm_url) as gateway,
    ):
        headers = gateway.bearer("orders:read")
        answered = await gateway.client.get("/v1/orders/SO-1/shipments", headers=headers)
    assert answered.status_code == status
    if status == 200:
        assert answered.json() == {"items": [], "next_cursor": None}
    (asked,) = crm.requests
    assert asked["headers"]["authorization"] == headers["Authorization"]


async def test_our_own_paths_are_not_sent_on(make_gateway: MakeGateway, behind: Behind) -> None:
    async with make_gateway(crm=behind.url) as gateway:
        headers = gateway.bearer("orders:write")
        refused = await gateway.client.post("/v1/orders/SO-1/status", json={}, headers=headers)
        unknown = await gateway.client.get("/v1/orders/SO-1/status/nothing", headers=headers)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    assert (unknown.status_code, behind.requests) == (404, [])


async def test_a_service_that_is_away_is_a_clear_503(
    make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_RESTART_SECONDS", 0.2)
    async with make_gateway() as gateway:
        refused = await gateway.client.get("/v1/stock", headers=gateway.bearer("stock:read"))
    assert (refused.status_code, refused.json()["code"]) == (503, "upstream_away")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_service_that_restarts_meanwhile_is_not_seen(make_gateway: MakeGateway, method: str) -> None:
    port, behind = free_port(), Behind()
    async with make_gateway(erp=f"http://127.0.0.1:{port}") as gateway:
        asked = asyncio.create_task(
            gateway.client.request(method, "/v1/stock/receipts", headers=gateway.bearer("stock:write"))
        )
        await wait_until(lambda: gateway.app.state.upstreams["erp"]._refusing_since, what="the first refusal")
        async with served(behind.app(), port):
            answered = await asked
    assert answered.status_code == 200
    assert len(behind.requests) == 1


async def breaking(port_open: asyncio.Event, breaks: int) -> tuple[asyncio.Server, list[bytes]]:
    """A server that drops the first connections after reading a request."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            seen.append(head)
            if len(seen) <= breaks:
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port_open.set()
    return server, seen


@pytest.mark.parametrize(
    ("method", "headers", "status", "sent"),
    [
        ("GET", {}, 200, 2),
        ("POST", {"Idempotency-Key": "k"}, 200, 2),
        ("POST", {}, 502, 1),
    ],
)
async def test_a_request_is_sent_again_only_if_that_does_no_harm(
    make_gateway: MakeGateway, method: str, headers: dict[str, str], status: int, sent: int
) -> None:
    server, seen = await breaking(asyncio.Event(), breaks=1)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with make_gateway(erp=url) as gateway:
        answered = await gateway.client.request(
            method, "/v1/stock/receipts", headers={**gateway.bearer("stock:write"), **headers}
        )
    server.close()
    assert answered.status_code == status
    assert len(seen) == sent


async def test_a_call_has_a_deadline(make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.orders.api.seconds_for", lambda _path: 0.2)
    stuck, released = FastAPI(), asyncio.Event()

    @stuck.get("/{path:path}")
    async def wait() -> None:
        await released.wait()

    async with served(stuck) as url, make_gateway(mes=url) as gateway:
        answered = await gateway.client.get("/v1/machines", headers=gateway.bearer("production:read"))
        released.set()
    assert (answered.status_code, answered.json()["code"]) == (504, "upstream_timeout")
    assert "retry-after" in answered.headers


async def test_the_queue_for_a_service_is_bounded(make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "_MAX_WAITING", 4)
    stuck, released, inside = FastAPI(), asyncio.Event(), []

    @stuck.get("/{path:path}")
    async def wait() -> None:
        inside.append(1)
        await released.wait()

    async with served(stuck) as url, make_gateway(mes=url) as gateway:

        async def ask() -> httpx.Response:
            return await gateway.client.get("/v1/machines", headers=gateway.bearer("production:read"))

        asked = [asyncio.create_task(ask()) for _ in range(30)]
        await wait_until(lambda: sum(task.done() for task in asked) == 10 and len(inside) == 16, what="16 + 4 to wait")
        refused = [task.result() for task in asked if task.done()]
        assert {(r.status_code, r.json()["code"]) for r in refused} == {(503, "overloaded")}
        released.set()
        assert sorted(r.status_code for r in await asyncio.gather(*asked)) == [200] * 20 + [503] * 10


async def test_a_write_is_answered_once_the_service_that_guards_the_next_has_seen_it(
    make_gateway: MakeGateway, behind: Behind
) -> None:
    moved, other = str(uuid4()), str(uuid4())
    behind.answers["POST /v1/stock/receipts"] = reply(
        201, {}, X_Event_Ids=f"{moved};erp.StockMoved.v1,{other};erp.FulfilmentChanged.v1"
    )
    guard = Behind(answers={"GET /internal/applied": reply(200, {"applied": True})})
    async with served(guard.app()) as url, make_gateway(erp=behind.url, mes=url) as gateway:
        answered = await gateway.client.post("/v1/stock/receipts", json={}, headers=gateway.bearer("stock:write"))
    assert answered.status_code == 201
    (asked,) = guard.requests
    assert asked["query"] == f"event={moved}&wait_ms=5000"
    assert "authorization" not in asked["headers"]


async def test_a_guard_that_is_away_does_not_fail_the_write(
    make_gateway: MakeGateway, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.orders.api._BARRIER_SECONDS", 0.2)
    behind.answers["POST /v1/lots/L-1/hold"] = reply(200, {}, X_Event_Ids=f"{uuid4()};mes.LotHeld.v1")
    async with make_gateway(mes=behind.url) as gateway:
        answered = await gateway.client.post("/v1/lots/L-1/hold", json={}, headers=gateway.bearer("quality:write"))
    assert answered.status_code == 200


def service_document(path: str, shape: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI of a small service."""
    ref = {"$ref": "#/components/schemas/Thing"}
    answer = {"200": {"description": "ok", "content": {"application/json": {"schema": ref}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {path: {"get": {"responses": answer}}, "/internal/secret": {"get": {"responses": answer}}},
        "components": {"schemas": {"Thing": shape}},
    }


async def test_the_document_has_every_public_path(make_gateway: MakeGateway) -> None:
    crm = Behind(answers={"GET /openapi.json": reply(200, service_document("/v1/orders", {"type": "object"}))})
    mes = Behind(answers={"GET /openapi.json": reply(200, service_document("/v1/lots/{lot}", {"type": "string"}))})
    async with (
        served(crm.app()) as crm_url,
        served(mes.app()) as mes_url,
        make_gateway(crm=crm_url, mes=mes_url, erp=mes_url) as gateway,
    ):
        document = (await gateway.client.get("/openapi.json")).json()
        page = await gateway.client.get("/docs")
    paths = document["paths"]
    assert {"/v1/orders", "/v1/lots/{lot}", "/oauth/token", "/v1/me", "/v1/orders/{order}/status"} <= set(paths)
    assert "/internal/secret" not in paths
    assert "/v1/{path}" not in paths

    def shape_of(path: str) -> Any:
        name = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        return document["components"]["schemas"][name]

    assert shape_of("/v1/orders") == {"type": "object"}
    assert shape_of("/v1/lots/{lot}") == {"type": "string"}
    assert page.status_code == 200


async def test_many_requests_at_once_are_all_answered(make_gateway: MakeGateway, behind: Behind) -> None:
    async with make_gateway(crm=behind.url) as gateway:
        headers = gateway.bearer("orders:read")

        async def ask(gateway: Gateway) -> int:
            return (await gateway.client.get("/v1/orders", headers=headers)).status_code

        assert await asyncio.gather(*(ask(gateway) for _ in range(100))) == [200] * 100
    assert len(behind.requests) == 100

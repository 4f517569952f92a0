"""The HTTP shell: every refusal is a problem that says what to change, and a write happens once."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable

import httpx
import jwt
import pytest
import structlog
from sqlalchemy import text
from structlog.testing import LogCapture
from tally.events import Counted
from tally.service import SERVICE

from chassis.db import Database
from chassis.http import middleware
from chassis.testing import TestIssuer, client_of, published

Client = Callable[..., httpx.AsyncClient]
WRITE = ("counters:read", "counters:write")
CUT_AT_COMMIT = (
    """CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON counter DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION cut()""",
)


@pytest.fixture
async def client(database_url: str, issuer: TestIssuer) -> AsyncIterator[Client]:
    """Makes clients of the tally service with given scopes or a given token."""
    made = []

    def make(*scopes: str, token: str | None = None, name: str = "tester") -> httpx.AsyncClient:
        made.append(client_of(SERVICE, database_url, issuer, token or issuer.token(*scopes, client=name)))
        return made[-1][0]

    yield make
    for http, context in made:
        await http.aclose()
        await context.database.dispose()


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    """An RFC 9457 body with our fields; returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"].endswith(code)
    assert body["title"]
    assert body["detail"]
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    return dict(body)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "malformed_json"),
        (b'{"value": NaN}', {"content-type": "application/json"}, 400, "malformed_json"),
        (b'{"value": Infinity}', {"content-type": "application/json"}, 400, "malformed_json"),
        (b"\xff\xfe", {"content-type": "application/json"}, 400, "malformed_json"),
        (b'{"value": 1}', {"content-type": "text/plain"}, 415, "not_json"),
        (b'{"value": 1}', {}, 415, "not_json"),
        (b'"' + b"x" * 1_100_000 + b'"', {"content-type": "application/json"}, 413, "body_too_large"),
        (b'{"value": "a word"}', {"content-type": "application/json"}, 422, "invalid_input"),
        (b'{"value": 1, "colour": "red"}', {"content-type": "application/json"}, 422, "invalid_input"),
        (b"[]", {"content-type": "application/json"}, 422, "invalid_input"),
        (b"", {}, 422, "invalid_input"),
        (b'{"value": 99999999999999}', {"content-type": "application/json"}, 422, "invalid_input"),
    ],
)
async def test_a_bad_body_is_refused(
    client: Client, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    http = client(*WRITE)
    check_problem(await http.post("/v1/counters", content=content, headers=headers), status, code)
    assert (await http.get("/v1/counters")).json()["items"] == []


async def test_a_body_streamed_past_the_limit_is_refused(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    answer = await client(*WRITE).post("/v1/counters", content=endless(), headers={"content-type": "application/json"})
    check_problem(answer, 413, "body_too_large")


async def test_a_broken_rule_names_its_field(client: Client) -> None:
    body = check_problem(await client(*WRITE).post("/v1/counters", json={"value": "x"}), 422, "invalid_input")
    assert body["errors"] == [
        {"field": "/value", "rule": "int_parsing", "message": body["errors"][0]["message"]}  # type: ignore[index]
    ]


async def test_query_parameters_are_checked(client: Client) -> None:
    http = client(*WRITE)
    for query in (
        "colour=red",
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=nonsense",
        "cursor=bnVsbA",
        "cursor=WzEsMV0",
        "limit=%00",
    ):
        body = check_problem(await http.get(f"/v1/counters?{query}"), 422, "invalid_input")
        assert body["errors"][0]["field"] == query.partition("=")[0]  # type: ignore[index]


async def test_only_a_valid_token_with_the_scope_gets_in(client: Client, issuer: TestIssuer) -> None:
    foreign = jwt.encode({"sub": "x"}, "secret-of-somebody-else-0123456789", algorithm="HS256", headers={"kid": "test"})
    other_kid = jwt.encode({"sub": "x"}, issuer.key.key, algorithm="EdDSA", headers={"kid": "other"})
    for token in (issuer.token(*WRITE, seconds=-1), foreign, other_kid, "nonsense", issuer.token(*WRITE) + "x"):
        answer = await client(token=token).get("/v1/counters")
        check_problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = await client(*WRITE).get("/v1/counters", headers={"Authorization": "Basic eDp5"})
    check_problem(answer, 401, "unauthorized")
    check_problem(await client("counters:read").post("/v1/counters", json={}), 403, "scope_missing")
    assert (await client("counters:read").get("/v1/counters")).status_code == 200


async def test_paths_methods_and_states_are_checked(client: Client) -> None:
    http = client(*WRITE)
    check_problem(await http.get("/v1/nothing"), 404, "not_found")
    check_problem(await http.delete("/v1/counters"), 405, "method_not_allowed")
    check_problem(await http.post(f"/v1/counters/{uuid.uuid4()}/count"), 404, "not_found")
    check_problem(await http.post("/v1/counters/C-999999/count"), 404, "not_found")
    check_problem(await http.post("/v1/counters/%00/count"), 404, "not_found")
    made = (await http.post("/v1/counters", json={"value": -1})).json()
    check_problem(await http.post(f"/v1/counters/{made['number']}/count"), 409, "wrong_state")


async def test_a_bug_is_a_problem_without_its_inside(client: Client) -> None:
    body = check_problem(await client(*WRITE).get("/v1/fail"), 500, "internal")
    assert "a bug" not in json.dumps(body)


async def test_amending_needs_the_version_seen(client: Client) -> None:
    http = client(*WRITE)
    made = await http.post("/v1/counters", json={"value": 1})
    path, tag = f"/v1/counters/{made.json()['id']}", made.headers["etag"]
    assert tag == '"1"'
    check_problem(await http.patch(path), 428, "if_match_missing")
    for other in ("tomorrow", '"2"', "\u00b2", "9" * 5000):
        answer = await http.patch(path, headers={"If-Match": other.encode("latin-1")})
        check_problem(answer, 412, "version_differs")
    changed = await http.patch(path, headers={"If-Match": tag})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    check_problem(await http.patch(path, headers={"If-Match": tag}), 412, "version_differs")


async def test_the_log_says_who_asked(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    said = LogCapture()
    processors = [structlog.contextvars.merge_contextvars, said]
    monkeypatch.setattr(middleware, "log", structlog.wrap_logger(None, processors, structlog.BoundLogger))
    await client(*WRITE).get("/v1/counters", headers={"X-Correlation-Id": "one"})
    await client(token="none").get("/v1/counters", headers={"X-Correlation-Id": "two"})
    told = [(line["correlation_id"], line.get("client"), line["status"]) for line in said.entries]
    assert told == [("one", "tester", 200), ("two", None, 401)]


async def test_the_document_says_what_every_answer_has(client: Client) -> None:
    document = (await client(token="none").get("/openapi.json")).json()
    counters, one = document["paths"]["/v1/counters"], document["paths"]["/v1/counters/{ref}"]["patch"]
    assert counters["post"]["security"] == [{"client_credentials": ["counters:write"]}]
    assert "client_credentials" in document["components"]["securitySchemes"]
    assert {"$ref": "#/components/parameters/Idempotency-Key"} in counters["post"]["parameters"]
    assert not any("Idempotency" in str(parameter) for parameter in counters["get"]["parameters"])
    (match,) = [parameter for parameter in one["parameters"] if parameter.get("name") == "if-match"]
    assert match["required"]
    assert {"ETag", "Idempotent-Replay", "X-Correlation-Id"} == set(one["responses"]["200"]["headers"])
    refused = {"401", "403", "404", "409", "412", "413", "415", "422", "428", "503", "504"}
    assert one["responses"].keys() == {"200"} | refused
    assert all(list(one["responses"][status]["content"]) == ["application/problem+json"] for status in refused)
    assert counters["get"]["responses"].keys() == {"200", "401", "403", "422", "503"}
    links = {link["operationId"]: link["parameters"] for link in counters["post"]["responses"]["201"]["links"].values()}
    assert links[one["operationId"]] == {"ref": "$response.body#/id", "if-match": "$response.header.ETag"}
    assert "Retry-After" in one["responses"]["503"]["headers"]


async def test_a_repeated_write_answers_as_the_first_did(client: Client, database_url: str, issuer: TestIssuer) -> None:
    http = client(*WRITE)
    key = {"Idempotency-Key": "order-77"}
    first = await http.post("/v1/counters", json={"value": 5}, headers=key)
    again = await http.post("/v1/counters", json={"value": 5}, headers=key)
    assert again.status_code == first.status_code == 201
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["x-event-ids"] == first.headers["x-event-ids"]
    assert again.headers["idempotent-replay"] == "true"
    assert "idempotent-replay" not in first.headers
    reused = check_problem(
        await http.post("/v1/counters", json={"value": 6}, headers=key), 422, "idempotency_key_reused"
    )
    assert reused["errors"][0]["field"] == "Idempotency-Key"  # type: ignore[index]
    check_problem(
        await http.post("/v1/counters", json={}, headers={"Idempotency-Key": "x" * 256}), 422, "idempotency_key_invalid"
    )
    somebody = client(*WRITE, name="somebody else")
    assert (await somebody.post("/v1/counters", json={"value": 7}, headers=key)).json()["value"] == 7
    assert len((await http.get("/v1/counters")).json()["items"]) == 2
    _, context = client_of(SERVICE, database_url, issuer, "")
    assert len(await published(context.database, Counted)) == 2
    await context.database.dispose()


async def test_the_same_key_at_the_same_time_writes_once(client: Client) -> None:
    http = client(*WRITE)
    answers = await asyncio.gather(
        *(http.post("/v1/counters", json={"value": 5}, headers={"Idempotency-Key": "once"}) for _ in range(8))
    )
    by_status = {answer.status_code: answer for answer in answers}
    assert by_status.keys() <= {201, 409}
    if running := by_status.get(409):
        check_problem(running, 409, "idempotency_key_running")
    assert len((await http.get("/v1/counters")).json()["items"]) == 1


async def test_a_refused_write_leaves_its_key_free(client: Client) -> None:
    http = client(*WRITE)
    made = (await http.post("/v1/counters", json={"value": -1})).json()
    key = {"Idempotency-Key": "later"}
    for _ in range(2):
        check_problem(await http.post(f"/v1/counters/{made['id']}/count", headers=key), 409, "wrong_state")


async def test_pages_cover_a_list_once_in_order(client: Client) -> None:
    http = client(*WRITE)
    for value in range(7):
        await http.post("/v1/counters", json={"value": value})
    seen: list[int] = []
    cursor = ""
    while True:
        answer = (await http.get(f"/v1/counters?limit=3{cursor}")).json()
        seen += [item["value"] for item in answer["items"]]
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert seen == list(range(7))


async def test_correlation_id_and_version_are_in_every_answer(client: Client) -> None:
    http = client(*WRITE)
    given = await http.post("/v1/counters", json={}, headers={"X-Correlation-Id": "story-1"})
    assert given.headers["x-correlation-id"] == "story-1"
    unsafe = await http.get("/v1/counters", headers={"X-Correlation-Id": "a\tb {}"})
    assert uuid.UUID(unsafe.headers["x-correlation-id"])


async def test_health_and_metrics_answer_without_a_token(client: Client) -> None:
    http = client(token="none")
    assert (await http.get("/livez")).json() == {"status": "ok", "failed_tasks": []}
    ready = await http.get("/readyz")
    assert ready.json() == {"status": "ready", "checks": {"database": {"ok": True, "detail": "revision 0001"}}}
    assert "http_requests_total" in (await http.get("/metrics")).text


async def test_a_database_that_is_away_is_503_with_retry_after(
    client: Client, issuer: TestIssuer, database_url: str
) -> None:
    gone, context = client_of(SERVICE, database_url + "_gone", issuer, issuer.token(*WRITE))
    async with gone:
        answer = await gone.get("/v1/counters")
        check_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"
        assert (await gone.get("/readyz")).status_code == 503
        assert (await gone.get("/livez")).status_code == 200
    await context.database.dispose()


async def test_a_commit_nobody_confirmed_is_504_and_its_repeat_happens_once(client: Client, database_url: str) -> None:
    http, key = client(*WRITE), {"Idempotency-Key": "one-counter"}
    database = Database(database_url, "test")
    async with database.engine.begin() as connection:
        for statement in CUT_AT_COMMIT:
            await connection.execute(text(statement))
    answer = await http.post("/v1/counters", json={}, headers=key)
    check_problem(answer, 504, "outcome_unknown")
    assert answer.headers["retry-after"] == "2"
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TRIGGER cut ON counter"))
    await database.dispose()
    assert (await http.post("/v1/counters", json={}, headers=key)).status_code == 201
    assert len((await http.get("/v1/counters")).json()["items"]) == 1

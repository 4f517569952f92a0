"""Access tokens and clients, as their users see them."""

import asyncio
import json
import os
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
from gateway_support import SECRETS, Gateway, MakeGateway
from sqlalchemy import text

from gateway.access.rules import FREE_FAILURES, ROLES, secret_digest


def form(role: str = "sales", **changes: str) -> dict[str, str]:
    """A token request of a demo client."""
    return {
        "grant_type": "client_credentials",
        "client_id": f"demo-{role}",
        "client_secret": SECRETS[role],
        **changes,
    }


async def ask(gateway: Gateway, data: dict[str, str], **kwargs: dict[str, str]) -> httpx.Response:
    """Ask for a token."""
    return await gateway.client.post("/oauth/token", data=data, **kwargs)


async def me(gateway: Gateway, token: str) -> httpx.Response:
    """Who the token is."""
    return await gateway.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})


async def test_a_client_gets_a_token_that_says_who_it_is(gateway: Gateway) -> None:
    granted = await ask(gateway, form("customer"))
    assert granted.status_code == 200
    assert granted.headers["cache-control"] == "no-store"
    body = granted.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert body["scope"] == "invoices:read orders:read orders:write shipping:read"
    assert (await me(gateway, body["access_token"])).json() == {
        "client": "demo-customer",
        "role": "customer",
        "scopes": ["invoices:read", "orders:read", "orders:write", "shipping:read"],
        "customer": "C-77",
    }


async def test_basic_authentication_works_too(gateway: Gateway) -> None:
    basic = b64encode(f"demo-sales:{SECRETS['sales']}".encode()).decode()
    granted = await ask(gateway, {"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"})
    assert granted.status_code == 200
    assert set(granted.json()["scope"].split()) == ROLES["sales"]


async def test_a_token_can_be_narrowed(gateway: Gateway) -> None:
    granted = (await ask(gateway, form("admin", scope="orders:read stock:read"))).json()
    assert granted["scope"] == "orders:read stock:read"
    assert (await me(gateway, granted["access_token"])).json()["scopes"] == ["orders:read", "stock:read"]


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": "\x00"}, 401, "invalid_client"),
        ({"client_id": "\u00e9" * 255}, 401, "invalid_client"),
        ({"scope": "finance:read"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"client_secret": ""}, 400, "invalid_request"),
    ],
)
async def test_a_bad_request_is_refused_in_both_languages(
    gateway: Gateway, changes: dict[str, str], status: int, error: str
) -> None:
    refused = await ask(gateway, form(**changes))
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert body["error"] == body["code"] == error
    assert body["status"] == status
    assert body["error_description"] == body["detail"]


@pytest.mark.parametrize("header", ["Basic !!!", "Basic bm9jb2xvbg==", "Basic /w=="])
async def test_a_malformed_basic_header_is_refused(gateway: Gateway, header: str) -> None:
    refused = await ask(gateway, {"grant_type": "client_credentials"}, headers={"Authorization": header})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")


async def test_guessing_a_secret_is_slowed_whichever_process_answers(make_gateway: MakeGateway) -> None:
    async with make_gateway() as one, make_gateway() as other:
        for turn in range(FREE_FAILURES):
            assert (await ask((one, other)[turn % 2], form(client_secret="guess"))).status_code == 401
        for process in (one, other):
            slowed = await ask(process, form())
            assert (slowed.status_code, slowed.json()["error"]) == (429, "slow_down")
            assert int(slowed.headers["retry-after"]) >= 1
            assert (await ask(process, form("admin"))).status_code == 200


async def test_a_stranger_elsewhere_does_not_lock_a_client_out(gateway: Gateway) -> None:
    elsewhere = httpx.ASGITransport(gateway.app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://gateway") as stranger:
        for _ in range(FREE_FAILURES + 1):
            answer = await stranger.post("/oauth/token", data=form(client_secret="guess"))
        assert answer.status_code == 429
    assert (await ask(gateway, form())).status_code == 200


async def test_after_the_pause_the_right_secret_ends_the_slowing(gateway: Gateway) -> None:
    for _ in range(FREE_FAILURES):
        await ask(gateway, form(client_secret="guess"))
    assert (await ask(gateway, form())).status_code == 429
    await time_passes(gateway, "6 seconds")
    assert (await ask(gateway, form())).status_code == 200
    for _ in range(FREE_FAILURES):
        assert (await ask(gateway, form(client_secret="guess"))).status_code == 401


async def test_failures_long_ago_are_forgotten(gateway: Gateway) -> None:
    for name in ("gone", "demo-sales"):
        for _ in range(FREE_FAILURES):
            await ask(gateway, form(client_id=name, client_secret="guess"))
    await time_passes(gateway, "1 hour")
    assert (await ask(gateway, form(client_secret="guess"))).status_code == 401
    async with gateway.context.database.read() as reader:
        rows = await reader.all(text("SELECT client_id, failures FROM token_failure"))
    assert [tuple(row.values()) for row in rows] == [("demo-sales", 1)]


async def time_passes(gateway: Gateway, interval: str) -> None:
    """As if the failures so far had been longer ago."""
    await gateway.context.database.write(
        lambda tx: tx.execute(text(f"UPDATE token_failure SET last_at = last_at - interval '{interval}'"))
    )


async def test_the_key_set_is_the_one_that_verifies(gateway: Gateway, keys: Path) -> None:
    assert (await gateway.client.get("/.well-known/jwks.json")).json() == json.loads((keys / "jwks.json").read_text())


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic Zm9v"}])
async def test_no_or_a_bad_token_is_401(gateway: Gateway, header: dict[str, str]) -> None:
    refused = await gateway.client.get("/v1/me", headers=header)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["www-authenticate"].startswith("Bearer")


def add_client(clients_file: Path, entry: dict[str, str]) -> None:
    """Put one more client into the file."""
    clients_file.write_text(json.dumps([*json.loads(clients_file.read_text()), entry]))
    os.utime(clients_file, (1, 1))


async def test_clients_added_to_the_file_are_known_without_a_restart(gateway: Gateway, clients_file: Path) -> None:
    assert (await ask(gateway, form())).status_code == 200
    add_client(clients_file, {"client_id": "new", "client_secret_sha256": secret_digest("s" * 32), "role": "planner"})
    granted = await ask(gateway, form(client_id="new", client_secret="s" * 32))
    assert set(granted.json()["scope"].split()) == ROLES["planner"]


async def test_an_admin_makes_a_client_and_its_secret_works(gateway: Gateway) -> None:
    admin = gateway.bearer("clients:write")
    made = await gateway.client.post("/v1/clients", json={"role": "customer", "customer": "C-1"}, headers=admin)
    assert made.status_code == 201
    body = made.json()
    granted = await ask(gateway, form(client_id=body["client_id"], client_secret=body["client_secret"]))
    assert (await me(gateway, granted.json()["access_token"])).json()["customer"] == "C-1"
    listed = (await gateway.client.get("/v1/clients", headers=admin)).json()["items"]
    assert all(client["number"] == client["client_id"] for client in listed)
    assert [row["client_id"] for row in listed if row["role"] == "customer"] == ["demo-customer", body["client_id"]]
    assert all("secret" not in name for row in listed for name in row)


async def test_repeating_the_request_shows_the_same_secret_but_never_stores_it(gateway: Gateway) -> None:
    headers = {**gateway.bearer("clients:write"), "Idempotency-Key": "make-one"}
    first = await gateway.client.post("/v1/clients", json={"client_id": "app", "role": "sales"}, headers=headers)
    again = await gateway.client.post("/v1/clients", json={"client_id": "app", "role": "sales"}, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replay"] == "true"
    async with gateway.context.database.read() as reader:
        stored = await reader.scalar(text("SELECT string_agg(encode(body, 'escape'), '') FROM idempotency_key"))
    assert "app" in stored
    assert first.json()["client_secret"] not in stored


async def test_a_disabled_client_gets_no_token_even_if_the_file_is_read_again(
    gateway: Gateway, clients_file: Path
) -> None:
    disabled = await gateway.client.delete("/v1/clients/demo-sales", headers=gateway.bearer("clients:write"))
    assert disabled.json()["disabled"] is True
    os.utime(clients_file, (1, 1))
    assert (await ask(gateway, form("sales"))).status_code == 401
    again = await gateway.client.delete("/v1/clients/demo-sales", headers=gateway.bearer("clients:write"))
    assert again.json()["version"] == disabled.json()["version"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"role": "king"}, 422, "/role"),
        ({"role": "customer"}, 422, "/customer"),
        ({"role": "sales", "customer": "C-1"}, 422, "/customer"),
        ({"role": "sales", "client_id": ""}, 422, "/client_id"),
        ({"role": "sales", "extra": 1}, 422, "/extra"),
    ],
)
async def test_a_client_that_breaks_a_rule_is_refused(
    gateway: Gateway, body: dict[str, object], status: int, field: str
) -> None:
    refused = await gateway.client.post("/v1/clients", json=body, headers=gateway.bearer("clients:write"))
    assert refused.status_code == status
    assert refused.json()["errors"][0]["field"] == field


async def test_a_client_id_is_used_once(gateway: Gateway) -> None:
    admin = gateway.bearer("clients:write")
    assert (
        await gateway.client.post("/v1/clients", json={"client_id": "a", "role": "sales"}, headers=admin)
    ).is_success
    refused = await gateway.client.post("/v1/clients", json={"client_id": "a", "role": "sales"}, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "client_exists")


async def test_only_an_admin_manages_clients(gateway: Gateway) -> None:
    sales = gateway.bearer(*ROLES["sales"])
    assert (await gateway.client.get("/v1/clients", headers=sales)).status_code == 403
    assert (await gateway.client.post("/v1/clients", json={"role": "admin"}, headers=sales)).status_code == 403
    assert (await gateway.client.delete("/v1/clients/demo-admin", headers=sales)).status_code == 403
    admin = gateway.bearer("clients:write")
    for unknown in ("nobody", "%00"):
        assert (await gateway.client.delete(f"/v1/clients/{unknown}", headers=admin)).status_code == 404


async def test_an_admin_cannot_lock_everybody_out(gateway: Gateway) -> None:
    async def disable(client: str, caller: str) -> httpx.Response:
        token = gateway.issuer.token("clients:write", client=caller, role="admin")
        return await gateway.client.delete(f"/v1/clients/{client}", headers={"Authorization": f"Bearer {token}"})

    admin = gateway.bearer("clients:write")
    assert (
        await gateway.client.post("/v1/clients", json={"client_id": "two", "role": "admin"}, headers=admin)
    ).is_success
    itself = await disable("demo-admin", "demo-admin")
    assert (itself.status_code, itself.json()["code"]) == (409, "own_client")
    assert (await disable("demo-admin", "two")).status_code == 200
    # Its token lives on, and it would disable the last one left.
    last = await disable("two", "demo-admin")
    assert (last.status_code, last.json()["code"]) == (409, "last_admin")


async def test_two_admins_cannot_disable_one_another_at_once(gateway: Gateway) -> None:
    admin = gateway.bearer("clients:write")
    assert (
        await gateway.client.post("/v1/clients", json={"client_id": "two", "role": "admin"}, headers=admin)
    ).is_success
    tokens = {name: gateway.issuer.token("clients:write", client=name, role="admin") for name in ("demo-admin", "two")}
    answers = await asyncio.gather(
        *(
            gateway.client.delete(f"/v1/clients/{other}", headers={"Authorization": f"Bearer {tokens[name]}"})
            for name, other in (("demo-admin", "two"), ("two", "demo-admin"))
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]

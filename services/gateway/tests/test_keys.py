"""The key that signs access tokens changes while everything runs."""

import json
from pathlib import Path

import httpx
import pytest
from gateway_support import SECRETS, Gateway

from chassis.http import auth
from devkit.platform.errors import PlatformError
from devkit.platform.signing import KeyRing


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys of this test's own; a changed key set is seen at once."""
    monkeypatch.setattr(auth, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(auth, "_REFETCH_SECONDS", 0.0)
    KeyRing(tmp_path).ensure()
    return tmp_path


async def token(gateway: Gateway) -> str:
    """A fresh token of the demo's sales client."""
    form = {"grant_type": "client_credentials", "client_id": "demo-sales", "client_secret": SECRETS["sales"]}
    return str((await gateway.client.post("/oauth/token", data=form)).json()["access_token"])


async def me(gateway: Gateway, token: str) -> httpx.Response:
    """Who the token is."""
    return await gateway.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})


async def published(gateway: Gateway) -> set[str]:
    """Ids of the published keys."""
    return {key["kid"] for key in (await gateway.client.get("/.well-known/jwks.json")).json()["keys"]}


async def test_the_key_changes_without_refusing_anybody(gateway: Gateway, keys: Path) -> None:
    ring = KeyRing(keys)
    (old,) = ring.ids()
    before = await token(gateway)

    new = ring.add()
    assert ring.add() == new
    assert await published(gateway) == {old, new}
    assert (await me(gateway, await token(gateway))).status_code == 200

    assert ring.use() == new
    after = await token(gateway)
    assert [(await me(gateway, one)).status_code for one in (before, after)] == [200, 200]
    assert ring.ids() == {old: "old", new: "signing"}

    assert ring.remove() == [old]
    assert await published(gateway) == {new}
    assert [(await me(gateway, one)).status_code for one in (before, after)] == [401, 200]
    assert ring.remove() == []


async def test_a_token_of_a_key_nobody_published_is_refused(gateway: Gateway, keys: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    KeyRing(foreign).ensure()
    (foreign / "signing-key.pem").replace(keys / "signing-key.pem")
    assert (await me(gateway, await token(gateway))).status_code == 401


async def test_known_keys_stay_good_while_the_set_cannot_be_read(gateway: Gateway, keys: Path) -> None:
    given = await token(gateway)
    assert (await me(gateway, given)).status_code == 200
    (keys / "jwks.json").rename(keys / "elsewhere.json")
    assert (await me(gateway, given)).status_code == 200
    (keys / "jwks.json").write_text('{"keys": [{"kty": "OKP"}]}')
    assert (await me(gateway, given)).status_code == 200


async def test_without_any_keys_the_answer_is_to_try_again(gateway: Gateway, keys: Path) -> None:
    given = await token(gateway)
    (keys / "jwks.json").unlink()
    away = await me(gateway, given)
    assert (away.status_code, away.headers["retry-after"]) == (503, "2")


async def test_a_secret_made_with_the_last_key_is_not_shown_wrong(gateway: Gateway, keys: Path) -> None:
    ring = KeyRing(keys)
    headers = {**gateway.bearer("clients:write"), "Idempotency-Key": "make-one"}
    body = {"client_id": "app", "role": "sales"}
    made = (await gateway.client.post("/v1/clients", json=body, headers=headers)).json()
    ring.add()
    ring.use()
    again = await gateway.client.post("/v1/clients", json=body, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "secret_gone")
    form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": made["client_secret"]}
    assert (await gateway.client.post("/oauth/token", data=form)).status_code == 200


def test_a_new_key_is_announced_before_it_signs(keys: Path) -> None:
    with pytest.raises(PlatformError, match="orderloop keys add"):
        KeyRing(keys).use()


def test_what_is_published_is_never_private(keys: Path) -> None:
    KeyRing(keys).add()
    published = json.loads((keys / "jwks.json").read_text())["keys"]
    assert len(published) == 2
    assert all("d" not in key for key in published)
    assert [(keys / name).stat().st_mode & 0o777 for name in ("signing-key.pem", "signing-key.next.pem")] == [0o600] * 2

"""How often a client may ask and how much it may hold open."""

import httpx
import pytest
from gateway_support import Gateway, MakeGateway

from gateway.access.rates import Rates
from gateway.status.streams import Streams


def bearer(gateway: Gateway, client: str) -> dict[str, str]:
    """Headers of this client."""
    return {"Authorization": f"Bearer {gateway.issuer.token('orders:read', client=client)}"}


async def test_who_asks_too_often_waits_and_nobody_else(gateway: Gateway) -> None:
    gateway.app.state.verifier.rates = Rates(per_second=0.1, burst=3)
    answers = [await gateway.client.get("/v1/me", headers=bearer(gateway, "busy")) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert refused.json()["code"] == "too_many_requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert (await gateway.client.get("/v1/me", headers=bearer(gateway, "calm"))).status_code == 200


async def test_nobody_can_use_up_the_share_of_a_client_it_only_names(gateway: Gateway) -> None:
    gateway.app.state.verifier.rates = Rates(per_second=0.1, burst=1)
    forged = gateway.issuer.token("orders:read", client="victim") + "x"
    for _ in range(5):
        answer = await gateway.client.get("/v1/me", headers={"Authorization": f"Bearer {forged}"})
        assert answer.status_code == 401
    assert (await gateway.client.get("/v1/me", headers=bearer(gateway, "victim"))).status_code == 200


async def test_requests_sent_on_are_counted_too(gateway: Gateway) -> None:
    gateway.app.state.verifier.rates = Rates(per_second=0.1, burst=1)
    await gateway.client.get("/v1/me", headers=bearer(gateway, "busy"))
    assert (await gateway.client.get("/v1/orders", headers=bearer(gateway, "busy"))).status_code == 429


async def test_token_requests_of_one_address_are_bounded(gateway: Gateway) -> None:
    gateway.app.state.access.rates = Rates(per_second=0.1, burst=2)
    answers = [await gateway.client.post("/oauth/token", data={"client_id": f"c-{n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert answers[-1].json()["error"] == "slow_down"
    elsewhere = httpx.ASGITransport(gateway.app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://gateway") as other:
        assert (await other.post("/oauth/token", data={})).status_code == 400


async def test_the_address_is_the_callers_only_when_the_proxy_is_trusted(make_gateway: MakeGateway) -> None:
    for trusted, other_caller in ((["127.0.0.1"], 400), ([], 429)):
        async with make_gateway(trusted_proxies=trusted) as gateway:
            gateway.app.state.access.rates = Rates(per_second=0.1, burst=1)
            await gateway.client.post("/oauth/token", data={}, headers={"X-Forwarded-For": "203.0.113.1"})
            answer = await gateway.client.post("/oauth/token", data={}, headers={"X-Forwarded-For": "203.0.113.2"})
            assert answer.status_code == other_caller


def test_streams_have_a_share_per_client_and_a_bound_in_all() -> None:
    streams = Streams(per_client=2, in_all=3)
    with streams.place("a"), streams.place("a"), streams.place("b"):
        for client, status in (("a", 429), ("b", 503)):
            with pytest.raises(Exception, match="streams") as refused, streams.place(client):
                pass
            assert refused.value.status == status
            assert refused.value.headers == {"Retry-After": "5"}
    with streams.place("a"), streams.place("a"):
        pass

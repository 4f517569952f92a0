"""The live order-status view, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gateway_support import Gateway, MakeGateway, served
from status_story import OrderStory

from chassis.messaging.inbox import Delivery, handle
from contracts import mes
from devkit.testing import wait_until
from gateway.service import SERVICE
from gateway.status import api
from gateway.status.streams import Streams

(CONSUMER,) = SERVICE.consumers


@dataclass
class Live:
    """A gateway on a socket, an order, and a client."""

    gateway: Gateway
    http: httpx.AsyncClient
    story: OrderStory

    async def fold(self, *told: Delivery) -> None:
        """Something happened."""
        await handle(self.gateway.context.database, CONSUMER, told)

    @asynccontextmanager
    async def stream(self, last: str | None = None) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Events of the order's stream."""
        headers = self.gateway.bearer("orders:read") | ({"Last-Event-ID": last} if last is not None else {})
        path = f"/v1/orders/{self.story.number}/status/stream"
        async with self.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield events(answer.aiter_lines())


async def events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """Parse server-sent events."""
    fields: dict[str, Any] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = json.loads(value) if name == "data" else value
        elif fields:
            yield fields
            fields = {}


async def following(stream: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """The next event, soon."""
    async with asyncio.timeout(10):
        return await anext(stream)


@pytest_asyncio.fixture
async def live(gateway: Gateway) -> AsyncIterator[Live]:
    """An order just placed, and the gateway on a socket."""
    async with served(gateway.app) as url, httpx.AsyncClient(base_url=url, timeout=15) as http:
        made = Live(gateway, http, OrderStory())
        await made.fold(made.story.place())
        yield made


async def test_the_current_view_comes_first_and_then_each_change(live: Live) -> None:
    async with live.stream() as stream:
        first = await following(stream)
        assert (first["event"], first["id"], first["data"]["stage"]) == ("status", "1", "placed")
        await live.fold(live.story.promise(9))
        second = await following(stream)
        assert (second["id"], second["data"]["stage"]) == ("2", "promised")
        await live.fold(live.story.plan(), live.story.fulfilment("open"))
        third = await following(stream)
        assert (third["id"], third["data"]["stage"]) == ("4", "planned")
    headers = live.gateway.bearer("orders:read")
    assert third["data"] == (await live.http.get(f"/v1/orders/{live.story.number}/status", headers=headers)).json()


async def test_a_stream_resumes_where_it_broke_off(live: Live) -> None:
    async with live.stream() as stream:
        seen = (await following(stream))["id"]
    await live.fold(live.story.promise(9))
    async with live.stream(last=seen) as stream:
        missed = await following(stream)
        assert (missed["id"], missed["data"]["stage"]) == ("2", "promised")
    async with live.stream(last=missed["id"]) as stream:
        await live.fold(live.story.plan())
        assert (await following(stream))["id"] == "3"


async def test_a_plant_event_that_explains_the_order_is_a_change(live: Live) -> None:
    down = live.story.machine_state("down", "blade broken")
    reason = {"code": "MACHINE_DOWN", "text": "down", "event_id": str(down.meta.event_id)}
    await live.fold(live.story.promise(9, reason=reason))
    async with live.stream() as stream:
        assert (await following(stream))["id"] == "2"
        await live.fold(down)
        change = await following(stream)
        assert change["id"] == "3"
        assert "mes.MachineStateChanged.v1" in [entry["type"] for entry in change["data"]["trail"]]


async def test_a_held_lot_is_a_change(live: Live) -> None:
    await live.fold(live.story.fulfilment("allocated", reserved="4", lots=[live.story.lot]))
    async with live.stream() as stream:
        assert (await following(stream))["data"]["flags"] == []
        await live.fold(live.story.lot_state(mes.LotHeld))
        assert (await following(stream))["data"]["flags"] == ["held"]


async def test_streams_end_with_a_word_when_their_time_is_up(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_STREAM_SECONDS", 0.2)
    async with live.stream() as stream:
        assert (await following(stream))["event"] == "status"
        last = await following(stream)
        assert (last["event"], last["retry"]) == ("reconnect", "1000")
        with pytest.raises(StopAsyncIteration):
            await following(stream)


async def test_streams_end_at_once_when_the_gateway_stops(live: Live) -> None:
    async with live.stream() as stream:
        await following(stream)
        live.gateway.context.stopping.set()
        async with asyncio.timeout(2):
            assert (await anext(stream))["event"] == "reconnect"
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_nothing_is_watched_once_the_clients_are_gone(live: Live) -> None:
    feed = live.gateway.app.state.feed
    async with live.stream() as one, live.stream() as two:
        await following(one)
        await following(two)
        assert feed.open
    await wait_until(lambda: not feed.open, what="the poller to end")


async def test_many_streams_of_one_order_all_see_the_change(live: Live) -> None:
    async def watch() -> str:
        async with live.stream() as stream:
            await following(stream)
            ready.append(1)
            return (await following(stream))["id"]

    ready: list[int] = []
    watching = [asyncio.create_task(watch()) for _ in range(20)]
    await wait_until(lambda: len(ready) == 20, what="all to have the first view")
    await live.fold(live.story.promise(9))
    assert await asyncio.gather(*watching) == ["2"] * 20


async def test_a_client_that_reads_slowly_gets_the_newest_view_not_every_one(live: Live) -> None:
    async with live.stream() as stream:
        await following(stream)
        await live.fold(*(live.story.fulfilment("open") for _ in range(50)))
        assert (await following(stream))["id"] == "51"


async def test_every_gateway_process_sees_what_another_folded(live: Live, make_gateway: MakeGateway) -> None:
    async with make_gateway() as other, served(other.app) as url, httpx.AsyncClient(base_url=url) as http:
        there = Live(other, http, live.story)
        async with there.stream() as stream:
            await following(stream)
            await live.fold(live.story.promise(9))
            assert (await following(stream))["data"]["stage"] == "promised"


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"scope": "items:read"}, 403), ({"customer": "C-88"}, 404)]
)
async def test_who_may_not_see_the_order_gets_no_stream(live: Live, headers: dict[str, str], status: int) -> None:
    bearer = live.gateway.bearer(headers.get("scope", "orders:read"), customer=headers.get("customer"))
    path = f"/v1/orders/{live.story.number}/status/stream"
    refused = await live.http.get(path, headers=bearer if headers else {})
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_stream_gives_its_place_back_when_it_ends(live: Live) -> None:
    live.gateway.app.state.streams = Streams(per_client=1, in_all=10)
    path = f"/v1/orders/{live.story.number}/status/stream"
    async with live.stream() as stream:
        await following(stream)
        refused = await live.http.get(path, headers=live.gateway.bearer("orders:read"))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert refused.headers["retry-after"] == "5"
    unknown = await live.http.get("/v1/orders/SO-999999/status/stream", headers=live.gateway.bearer("orders:read"))
    assert unknown.status_code in (404, 503)

    async def again() -> bool:
        async with live.http.stream("GET", path, headers=live.gateway.bearer("orders:read")) as answer:
            return answer.status_code == 200

    await wait_until(again, what="the place to be free")

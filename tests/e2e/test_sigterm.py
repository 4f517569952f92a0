"""SIGTERM of every service under load: whoever retries what was refused a connection sees no error of ours."""

import asyncio
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx
import pytest

from devkit.platform.state import SERVICES
from devkit.testing import wait_until
from e2e.plant import Plant, in_days

EXIT_SECONDS = 10
_CLIENTS = 6
_PAUSE_SECONDS = 0.05


@dataclass
class Steady:
    """Clients that call without a break, and again with the same key where they got no answer at all."""

    gateway: str
    headers: dict[str, str]
    requests: list[Callable[[], tuple[str, str, Any]]]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0

    async def client(self, first: int) -> None:
        """One client's calls, one after the other."""
        async with httpx.AsyncClient(base_url=self.gateway, timeout=30) as http:
            for number in cycle(range(len(self.requests))):
                if self.stop.is_set():
                    return
                await self.call(http, *self.requests[(first + number) % len(self.requests)]())
                await asyncio.sleep(_PAUSE_SECONDS)

    async def call(self, http: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
        """One request until it is answered."""
        headers = {**self.headers, "Idempotency-Key": secrets.token_hex(8)}
        began = time.monotonic()
        while True:
            try:
                answer = await http.request(method, path, json=body, headers=headers)
                break
            except httpx.TransportError:
                await asyncio.sleep(_PAUSE_SECONDS)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[f"{method} {answer.status_code}"] += 1
        if not answer.is_success:
            self.failed.append(f"{method} {path} {answer.status_code} {answer.text[:200]}")


@pytest.mark.parametrize("victim", SERVICES)
async def test_a_service_told_to_stop_under_load_is_not_noticed(plant: Plant, victim: str) -> None:
    """It ends within ten seconds; until it is back, the gateway has its callers wait."""
    item = await plant.buy_item("SIGTERM")
    await plant.stock_up(item, "1")
    customer = await plant.customer_number("SIGTERM")
    lines = [{"item": item, "quantity": "1"}]
    placed = {"customer": customer, "requested_date": str(in_days(5)), "lines": lines}
    known = (await plant.order(customer, {item: "1"}))["number"]
    receipt = {"item": item, "quantity": "1", "reason": "load"}
    load = Steady(
        plant.platform.gateway_url,
        {"Authorization": f"Bearer {await plant.admin.token()}"},
        [
            lambda: ("POST", "/v1/orders", placed),
            lambda: ("GET", f"/v1/orders/{known}/status", None),
            lambda: ("POST", "/v1/stock/receipts", receipt),
            lambda: ("GET", f"/v1/stock/{item}", None),
            lambda: ("GET", "/v1/work-orders", None),
            lambda: ("GET", "/v1/me", None),
        ],
    )

    async def restart() -> float:
        """Seconds until it had ended; it is back and has served on when this returns."""
        await wait_until(lambda: load.answers.total() > 50, 20, "load")
        began = time.monotonic()
        plant.platform.kill(victim, signal.SIGTERM)
        await wait_until(lambda: victim not in plant.platform.running(), 20, f"{victim} to end")
        took = time.monotonic() - began
        assert await asyncio.to_thread(plant.platform.restart, victim)
        served = load.answers.total()
        await wait_until(lambda: load.answers.total() > served + 50, 20, "load after the restart")
        load.stop.set()
        return took

    async with asyncio.TaskGroup() as group:
        restarting = group.create_task(restart())
        for number in range(_CLIENTS):
            group.create_task(load.client(number))
    print(
        victim, "ended after", round(restarting.result(), 2), "s; slowest answer", round(load.slowest, 2), load.answers
    )
    assert load.failed == []
    assert restarting.result() < EXIT_SECONDS

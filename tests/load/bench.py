"""What Orderloop does per second, and per second of a processor: one run on this machine, for comparison, no test."""

import asyncio
import secrets
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from models.bus import MODULES

from chassis.clock import now
from chassis.messaging.handlers import Consumer
from contracts.envelope import Event
from contracts.topics import TOPICS
from devkit.platform import Platform
from devkit.platform.state import SERVICES
from devkit.testing import wait_until
from load import backlog
from load.figures import Figure

_BATCH = 500
_CATCH_UP_SECONDS = 3600


class Bench:
    """Measures a running platform."""

    def __init__(self, platform: Platform, http: httpx.AsyncClient) -> None:
        self.platform = platform
        self.http = http

    @classmethod
    @asynccontextmanager
    async def running(cls, state: Path) -> AsyncIterator["Bench"]:
        """A throwaway platform with an item in stock, a made item and a customer."""
        platform = Platform(state, throwaway=True)
        try:
            await asyncio.to_thread(platform.start)
            async with httpx.AsyncClient(base_url=platform.gateway_url, timeout=60) as http:
                bench = cls(platform, http)
                await bench.prepare()
                yield bench
        finally:
            await asyncio.to_thread(platform.stop)

    async def prepare(self) -> None:
        """Log in, and define what orders name."""
        form = {"grant_type": "client_credentials", **self.platform.client("admin").model_dump()}
        token = (await self.http.post("/oauth/token", data=form)).raise_for_status().json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        step = {"operation": 10, "work_center": "WC", "setup_minutes": 0, "minutes_per_unit": 1}
        made = {"source": "make", "components": [{"item": "BOLT", "quantity": 2}], "routing": [step]}
        for path, body in (
            ("items", {"item": "BOLT", "source": "buy", "standard_cost": 1, "lead_time_days": 1}),
            ("items", {"item": "PART", **made}),
            ("stock/receipts", {"item": "BOLT", "quantity": 100_000_000, "reason": "bench"}),
            ("customers", {"number": "C-1", "name": "A customer"}),
        ):
            (await self.http.post(f"/v1/{path}", json=body)).raise_for_status()

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        """A write that succeeds."""
        answer = await self.http.post(f"/v1/{path}", json=body, headers={"Idempotency-Key": secrets.token_hex(8)})
        return dict(answer.raise_for_status().json())

    def order(self, item: str = "BOLT") -> dict[str, Any]:
        """An order of one piece."""
        return {"customer": "C-1", "requested_date": str(now().date()), "lines": [{"item": item, "quantity": 1}]}

    def cpu(self, service: str) -> float:
        """Seconds of a processor a service has used so far."""
        used = psutil.Process(self.platform.folder.state().processes[service].pid).cpu_times()
        return float(used.user + used.system)

    async def proxied_calls(self, calls: int) -> list[Figure]:
        """What the gateway pays for passing on a read."""
        number = (await self.post("orders", self.order()))["number"]
        before = {name: self.cpu(name) for name in ("gateway", "crm")}
        for _ in range(calls):
            (await self.http.get(f"/v1/orders/{number}")).raise_for_status()
        return [
            Figure(f"{name}: one order read through the gateway", 1000 * (self.cpu(name) - used) / calls, "CPU ms")
            for name, used in before.items()
        ]

    async def latency(self, orders: int) -> list[Figure]:
        """From the answer to an order until the gateway's view shows its promise."""
        seconds = []
        for _ in range(orders):
            number = (await self.post("orders", self.order()))["number"]
            began = time.monotonic()
            await wait_until(lambda number=number: self.promised(number), 30, "a promise")
            seconds.append(time.monotonic() - began)
        figures = (("median", statistics.median(seconds)), ("95 %", sorted(seconds)[int(0.95 * len(seconds))]))
        return [Figure(f"order placed → promise shown, {name}", 1000 * value, "ms") for name, value in figures]

    async def promised(self, number: str) -> bool:
        """Whether the view shows the order's promise."""
        answer = await self.http.get(f"/v1/orders/{number}/status")
        return answer.is_success and answer.json()["promised_date"] is not None

    async def placing(self, orders: int) -> list[Figure]:
        """Orders placed as fast as eight clients can, and what planning them costs."""
        before = {name: self.cpu(name) for name in ("crm", "erp")}
        left = iter(range(orders))
        began = time.monotonic()

        async def client() -> None:
            for _ in left:
                await self.post("orders", self.order("PART"))

        await asyncio.gather(*(client() for _ in range(8)))
        rate = orders / (time.monotonic() - began)
        await self.caught_up("erp")
        return [
            Figure("orders placed one by one, eight clients", rate, "orders/s"),
            *(
                Figure(f"{name}: an order of a made item", 1000 * (self.cpu(name) - used) / orders, "CPU ms")
                for name, used in before.items()
            ),
        ]

    async def batches(self, orders: int) -> list[Figure]:
        """Orders placed by the hundreds."""
        began = time.monotonic()
        placed = await self.place_batches(orders)
        return [Figure("orders placed in batches", len(placed) / (time.monotonic() - began), "orders/s")]

    async def place_batches(self, orders: int) -> list[tuple[str, str]]:
        """At least so many orders; their ids and numbers."""
        placed = []
        while len(placed) < orders:
            made = await self.post("orders:batch", {"orders": [self.order()] * _BATCH})
            placed += [(one["order"]["id"], one["order"]["number"]) for one in made["items"]]
        return placed

    async def catch_up(self, service: str, events: Iterator[Event], how_many: int) -> list[Figure]:
        """How fast a service that was away works off what came meanwhile; the others rest."""
        for name in SERVICES:
            self.platform.kill(name, signal.SIGTERM)
        await wait_until(lambda: not set(SERVICES) & set(self.platform.running()), 30, "the services to stop")
        made = await backlog.produce(self.platform.kafka, events, how_many)
        began = time.monotonic()
        await asyncio.to_thread(self.platform.restart, service, wait=False)
        await self.caught_up(service)
        seconds, cpu = time.monotonic() - began, self.cpu(service)
        return [
            Figure(f"{service}: catches up with {made:,} events", made / seconds, "events/s"),
            Figure(f"{service}: the same", made / cpu, "events per CPU s"),
        ]

    async def caught_up(self, service: str) -> None:
        """Wait until a service's groups have committed the ends of their topics."""
        for consumer in MODULES[service].SERVICE.consumers:
            await self._caught_up(consumer)

    async def _caught_up(self, consumer: Consumer) -> None:
        reader = AIOKafkaConsumer(bootstrap_servers=self.platform.kafka)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.platform.kafka)
        await reader.start()
        await admin.start()
        wanted = [TopicPartition(t.name, p) for t in TOPICS if t.name in consumer.topics for p in range(t.partitions)]

        async def at_the_end() -> bool:
            ends = await reader.end_offsets(wanted)
            heard = await admin.list_consumer_group_offsets(consumer.group)
            return all(not end or ((at := heard.get(place)) and at.offset >= end) for place, end in ends.items())

        try:
            await wait_until(at_the_end, _CATCH_UP_SECONDS, f"{consumer.group} to catch up")
        finally:
            await reader.stop()
            await admin.close()

    async def plans(self) -> list[UUID]:
        """Ids of ERP's production plans."""
        connection = await asyncpg.connect(self.platform.database_url("erp"))
        try:
            return [row["id"] for row in await connection.fetch("SELECT id FROM production_plan ORDER BY id")]
        finally:
            await connection.close()

"""Relay and consumer when their broker goes away and comes back."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from messaging_bench import Bench, per_key
from tally.events import on_topic
from tally.service import Topic

from chassis.db import Database
from chassis.messaging.provisioner import ensure_topics
from devkit.platform.kafka import start_kafka, stop_kafka
from devkit.platform.processes import ProcessRef
from devkit.testing import free_port, wait_until


@dataclass
class Broker:
    """A broker of the test's own, to stop and start."""

    folder: Path
    port: int = field(default_factory=free_port)
    controller: int = field(default_factory=free_port)
    ref: ProcessRef | None = None

    async def start(self) -> None:
        """Start it with what it had."""
        self.ref = await asyncio.to_thread(
            start_kafka, self.folder / "data", self.port, self.controller, self.folder / "log", tied_to_us=True
        )

    async def stop(self) -> None:
        """Stop it."""
        if self.ref:
            await asyncio.to_thread(stop_kafka, self.ref)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """A running broker."""
    made = Broker(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_a_broker_restart_under_load_loses_doubles_and_reorders_nothing(
    broker: Broker, database_url: str
) -> None:
    bench = Bench(
        Database(database_url, "bench"),
        Database(database_url, "tally"),
        f"127.0.0.1:{broker.port}",
        on_topic("tally.outage.events.v1"),
        "tally.outage",
    )
    await ensure_topics(bench.kafka, [Topic(bench.topic)], [bench.consumer()])
    counters = await bench.create(10)
    bench.start_relay()
    consumer = bench.start_consumer()

    async def load(first: int, last: int) -> None:
        for version in range(first, last + 1):
            await bench.publish(*((counter, version) for counter in counters))

    await load(1, 10)
    await bench.wait_heard(50)
    await broker.stop()
    await load(11, 20)
    await broker.start()
    await load(21, 30)
    assert per_key(await bench.wait_heard(300, 90)) == {counter: list(range(1, 31)) for counter in counters}
    await wait_until(bench.outbox_empty, 60)

    await broker.stop()
    await bench.publish(*((counter, 31) for counter in counters))
    began = time.monotonic()
    await asyncio.gather(*(loop.end() for loop in bench.loops))
    assert time.monotonic() - began < 8, "stopping must not wait for a broker that is away"
    assert consumer.supervisor.failed() == []
    await broker.start()
    bench.start_relay()
    bench.start_consumer()
    assert per_key(await bench.wait_heard(310, 90)) == {counter: list(range(1, 32)) for counter in counters}
    await asyncio.gather(*(loop.end() for loop in bench.loops))
    await bench.database.dispose()
    await bench.served.dispose()

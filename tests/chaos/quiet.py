"""How far the platform is: orders by state, and what is still on its way."""

from collections import Counter
from dataclasses import dataclass, field

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from history.platform import GROUPS
from history.topics import read_offsets

from contracts.topics import TOPICS
from devkit.platform import Platform
from devkit.platform.state import SERVICES

FINISHED = ("delivered", "closed", "cancelled")
_SECONDS = 10.0


@dataclass
class Standing:
    """Orders by their state."""

    orders: Counter[str] = field(default_factory=Counter)

    @property
    def open(self) -> int:
        """How many are not finished."""
        return sum(count for state, count in self.orders.items() if state not in FINISHED)

    def __str__(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in sorted(self.orders.items())) or "no orders"


async def standing(platform: Platform) -> Standing:
    """The orders now; raises OSError, TimeoutError or an asyncpg error while the database is away."""
    connection = await asyncpg.connect(platform.database_url("crm"), timeout=_SECONDS, command_timeout=_SECONDS)
    try:
        rows = await connection.fetch("SELECT state, count(*) AS count FROM customer_order GROUP BY state")
    finally:
        connection.terminate()
    return Standing(Counter({row["state"]: row["count"] for row in rows}))


async def on_its_way(platform: Platform) -> dict[str, int]:
    """What is not at its goal yet, by where it is: outbox rows by service, events by group, parked keys by service."""
    found: dict[str, int] = {}
    for service in SERVICES:
        connection = await asyncpg.connect(platform.database_url(service), timeout=_SECONDS, command_timeout=_SECONDS)
        try:
            found[f"outbox of {service}"] = await connection.fetchval("SELECT count(*) FROM outbox")
            found[f"parked keys of {service}"] = await connection.fetchval("SELECT count(*) FROM parked_key")
        finally:
            connection.terminate()
    for group, lag in (await _lags(platform.kafka)).items():
        found[f"events for {group}"] = lag
    return {what: count for what, count in found.items() if count}


async def _lags(kafka: str) -> Counter[str]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(
            [TopicPartition(t.name, index) for t in TOPICS for index in range(t.partitions)]
        )
    finally:
        await consumer.stop()
    done = {(o.group, o.topic, o.partition): o.offset for o in await read_offsets(kafka, GROUPS)}
    lags: Counter[str] = Counter()
    for group in GROUPS:
        for partition, end in ends.items():
            if partition.topic in group.topics:
                lags[group.group] += end - done.get((group.group, partition.topic, partition.partition), 0)
    return lags

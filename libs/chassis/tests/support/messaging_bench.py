"""One test's database and topic, and means to publish, relay, consume and look."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import select
from tally.events import Counted, on_topic
from tally.service import Topic, counter, heard, on_counted

from chassis.clock import now
from chassis.db import Database
from chassis.messaging.consumer import ConsumerRuntime
from chassis.messaging.handlers import Consumer, Handler
from chassis.messaging.kafka import make_producer
from chassis.messaging.provisioner import dead_letter_topic, ensure_topics
from chassis.messaging.relay import Relay
from chassis.supervision import Supervisor
from chassis.tables import outbox
from devkit.testing import wait_until

OUTBOX_SOME = select(outbox.c.id).limit(1)


@dataclass
class Loop:
    """A background loop under test; `part` is what runs."""

    part: Relay | ConsumerRuntime
    task: asyncio.Task[None]
    stop: asyncio.Event
    supervisor: Supervisor

    async def end(self) -> None:
        """Stop it in order."""
        self.stop.set()
        await asyncio.wait_for(self.task, 15)


@dataclass
class Bench:
    """One test's database and topic, with the means to publish, relay, consume and look.

    `served` is the same database with the connections of the runtimes under test.
    """

    database: Database
    served: Database
    kafka: str
    model: type[Counted]
    group: str
    loops: list[Loop] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str, kafka: str, partitions: int = 6) -> AsyncIterator[Self]:
        """A bench with a topic and a group of its own, on a migrated database; ends what it started."""
        suffix = uuid.uuid4().hex[:10]
        bench = cls(
            Database(database_url, "bench"),
            Database(database_url, "tally"),
            kafka,
            on_topic(f"tally.{suffix}.events.v1"),
            f"tally.{suffix}",
        )
        names = await ensure_topics(kafka, [Topic(bench.topic, partitions)], [bench.consumer()])
        yield bench
        for loop in bench.loops:
            await loop.end()
        await bench.database.dispose()
        await bench.served.dispose()
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_topics(names)
        await admin.close()

    @property
    def topic(self) -> str:
        """The test's topic."""
        return self.model.TOPIC

    def consumer(self, handler: Handler = on_counted, serial: bool = False) -> Consumer:
        """The test's consumer declaration."""
        return Consumer(self.group, {self.model: handler}, serial)

    def start_relay(self) -> Loop:
        """Run a relay, again after failures."""
        stop = asyncio.Event()
        return self._start(Relay(self.served, self.kafka, stop), stop)

    def start_consumer(self, handler: Handler = on_counted, serial: bool = False) -> Loop:
        """Run a group member, again after failures."""
        stop = asyncio.Event()
        slots = asyncio.Semaphore(4)
        return self._start(ConsumerRuntime(self.served, self.consumer(handler, serial), self.kafka, stop, slots), stop)

    def _start(self, part: Relay | ConsumerRuntime, stop: asyncio.Event) -> Loop:
        supervisor = Supervisor(stop)
        loop = Loop(part, asyncio.create_task(supervisor.run(type(part).__name__, part.run)), stop, supervisor)
        self.loops.append(loop)
        return loop

    async def create(self, how_many: int) -> list[str]:
        """Counters without an event yet."""
        ids = [uuid.uuid4() for _ in range(how_many)]
        rows = [{"id": i, "number": f"C-{i}", "value": 0, "version": 0, "created_at": now()} for i in ids]
        async with self.database.transaction() as tx:
            await tx.execute(counter.insert(), rows)
        return [str(row["id"]) for row in rows]

    async def publish(self, *events: tuple[str, int], note: str = "") -> None:
        """Append events (counter id, version) in one transaction."""
        async with self.database.transaction() as tx:
            for counter_id, version in events:
                tx.append(self.model(counter_id=uuid.UUID(counter_id), aggregate_version=version, note=note))

    async def heard(self) -> list[tuple[str, int]]:
        """What the consumer applied, in the order it did."""
        async with self.database.read() as reader:
            rows = await reader.all(heard.select().order_by(heard.c.position))
        return [(str(row["counter_id"]), row["version"]) for row in rows]

    async def wait_heard(self, how_many: int, seconds: float = 30) -> list[tuple[str, int]]:
        """Wait until so many events were applied."""

        async def enough() -> list[tuple[str, int]]:
            found = await self.heard()
            return found if len(found) >= how_many else []

        return await wait_until(enough, seconds, f"{how_many} applied events")

    async def outbox_empty(self) -> bool:
        """Whether everything was relayed."""
        async with self.database.read() as reader:
            return not await reader.all(OUTBOX_SOME)

    async def records(self, topic: str | None = None) -> list[ConsumerRecord]:
        """Everything on a topic (the test's by default), partition by partition."""
        name = topic or self.topic
        reader = AIOKafkaConsumer(bootstrap_servers=self.kafka, auto_offset_reset="earliest")
        await reader.start()
        try:
            partitions = [
                TopicPartition(name, p) for p in reader.partitions_for_topic(name) or await _partitions(reader, name)
            ]
            reader.assign(partitions)
            ends = await reader.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            while any([await reader.position(p) < ends[p] for p in partitions]):
                for batch in (await reader.getmany(timeout_ms=200)).values():
                    found.extend(batch)
            return found
        finally:
            await reader.stop()

    async def dead_letters(self) -> list[ConsumerRecord]:
        """The consumer's dead letters."""
        return await self.records(dead_letter_topic(self.topic, self.group))

    async def send_raw(self, value: bytes | None, key: bytes | None, headers: dict[str, bytes]) -> None:
        """A record nobody's outbox wrote."""
        producer = make_producer(self.kafka, "test")
        await producer.start()
        try:
            await producer.send_and_wait(self.topic, value, key, headers=list(headers.items()))
        finally:
            await producer.stop()


async def _partitions(reader: AIOKafkaConsumer, topic: str) -> set[int]:
    async def known() -> set[int]:
        await reader._client.force_metadata_update()
        return reader.partitions_for_topic(topic) or set()

    reader._client.add_topic(topic)
    return await wait_until(known, 10, f"topic {topic}")


def per_key(events: list[tuple[str, int]]) -> dict[str, list[int]]:
    """Versions by counter, in order."""
    found: dict[str, list[int]] = {}
    for key, version in events:
        found.setdefault(key, []).append(version)
    return found

"""Relay and inbox against a model: whatever dies when, every committed event takes effect once, in order of its key."""

import asyncio
import contextlib
import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import insert, select

from chassis.clock import now
from chassis.db import Database, Tx
from chassis.events import EventMeta
from chassis.messaging.deadletter import DeadLetterCap, DeadLetters
from chassis.messaging.handlers import Consumer
from chassis.messaging.kafka import make_consumer
from chassis.messaging.provisioner import ensure_topics
from chassis.messaging.relay import Relay
from chassis.messaging.retry import Processor
from chassis.tables import outbox
from devkit.service_testing import fresh_database
from devkit.testing import KafkaTestServer, PostgresTestServer, wait_until
from models.machines import AsyncMachine, run_machine

sys.path.insert(0, str(Path(__file__).parents[2] / "libs/chassis/tests/support"))

from tally.events import Counted, on_topic
from tally.service import Topic, count_up, counter, heard, on_counted

PARTITIONS = 2
moments = st.sampled_from([None, None, "select", "before delete", "after delete"])
_numbers = count(1)


class Killed(BaseException):
    """The process is gone: nothing of ours catches this."""


class FragileConnection:
    """The relay's connection, that is lost at a certain moment."""

    def __init__(self, connection: asyncpg.Connection, moment: str | None) -> None:
        self.connection = connection
        self.moment = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    async def fetch(self, *statement: Any) -> Any:
        if self.moment == "select":
            raise Killed
        return await self.connection.fetch(*statement)

    async def execute(self, statement: str, *values: Any) -> Any:
        deletes = statement.startswith("DELETE")
        if deletes and self.moment == "before delete":
            raise Killed
        answer = await self.connection.execute(statement, *values)
        if deletes and self.moment == "after delete":
            raise Killed
        return answer


class FragileRelay(Relay):
    """The relay, that dies at a certain moment of its first batch."""

    moment: str | None = None

    async def _connect(self) -> Any:
        return FragileConnection(await super()._connect(), self.moment)


class Messaging(AsyncMachine):
    """A producing and a consuming service that are killed at any moment."""

    def __init__(self, url: str, bootstrap: str, model: type[Counted], group: str) -> None:
        super().__init__()
        self.database = Database(url, "tally")
        self.bootstrap, self.model, self.group = bootstrap, model, group
        self.committed: dict[str, int] = {}
        self.kill_at: int | None = None
        self.processor = self.run(self.make_processor())
        self.kafka: AIOKafkaConsumer = self.run(self.open_kafka())

    async def make_processor(self) -> Processor:
        cap = DeadLetterCap(asyncio.get_running_loop().time)
        letters = DeadLetters(self.bootstrap, self.group)
        consumer = Consumer(self.group, {self.model: self.on_counted})
        return Processor(self.database, consumer, letters, cap, asyncio.Semaphore(4))

    async def open_kafka(self) -> AIOKafkaConsumer:
        """A reader that stands, as if committed there, behind what earlier examples left."""
        kafka = make_consumer(self.bootstrap, "model", self.group)
        await kafka.start()
        self.partitions = [TopicPartition(self.model.TOPIC, number) for number in range(PARTITIONS)]
        kafka.assign(self.partitions)
        await kafka.commit(await kafka.end_offsets(self.partitions))
        return kafka

    @initialize()
    def create(self) -> None:
        rows = [
            {"id": uuid4(), "number": f"C-{next(_numbers)}", "value": 0, "version": 0, "created_at": now()}
            for _ in range(3)
        ]

        async def work(tx: Tx) -> None:
            await tx.execute(insert(counter), rows)

        self.run(self.database.write(work))
        self.committed = {str(row["id"]): 0 for row in rows}

    @rule(keys=st.lists(st.integers(0, 2), min_size=1, max_size=5), fails=st.sampled_from([False, False, True]))
    def commit(self, keys: list[int], fails: bool) -> None:
        """One transaction of several events; a rolled back one never happened."""
        names = [list(self.committed)[key] for key in keys]

        async def work() -> None:
            async with self.database.transaction() as tx:
                for name in names:
                    await count_up(tx, name, model=self.model)
                if fails:
                    await tx.finish()
                    raise Killed

        self.survive(work())
        for name in names if not fails else ():
            self.committed[name] += 1

    @rule(moment=moments)
    def relay(self, moment: str | None) -> None:
        """The relay sends what is there, or dies: before it sent, before it deleted what Kafka has, or after."""
        self.survive(self.run_relay(moment))

    async def run_relay(self, moment: str | None) -> None:
        stop = asyncio.Event()
        relay = FragileRelay(self.database, self.bootstrap, stop)
        relay.moment = moment
        running = asyncio.create_task(relay.run())
        emptied = asyncio.create_task(wait_until(self.outbox_is_empty, 20, "an empty outbox"))
        await asyncio.wait({running, emptied}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        emptied.cancel()
        await running

    @rule(at_most=st.integers(1, 6), kill_at=st.sampled_from([None, None, 1, 2, 4]), offsets=st.booleans())
    def consume(self, at_most: int, kill_at: int | None, offsets: bool) -> None:
        """A chunk per partition; the consumer dies in a handler, or before it commits its offsets, or not at all."""
        self.kill_at = kill_at
        self.survive(self.consume_once(at_most, offsets))
        self.kill_at = None
        self.run(self.compare())

    async def consume_once(self, at_most: int, offsets: bool = True) -> int:
        await self.go_to_committed()
        fetched = await self.kafka.getmany(timeout_ms=300)
        for partition, records in fetched.items():
            chunk = records[:at_most]
            await self.processor.process(chunk, asyncio.Event())
            if offsets:
                await self.kafka.commit({partition: chunk[-1].offset + 1})
        return sum(map(len, fetched.values()))

    @precondition(lambda self: any(self.committed.values()))
    @rule(at_most=st.integers(1, 6))
    def consume_twice_at_once(self, at_most: int) -> None:
        """A member that lost its partitions and does not know it works on the same chunk as the new owner."""
        self.run(self.zombie(at_most))
        self.run(self.compare())

    async def zombie(self, at_most: int) -> None:
        await self.go_to_committed()
        other = await self.make_processor()
        for records in (await self.kafka.getmany(timeout_ms=300)).values():
            chunk = records[:at_most]
            await asyncio.gather(*(p.process(chunk, asyncio.Event()) for p in (self.processor, other)))

    @precondition(lambda self: any(self.committed.values()))
    @rule(partition=st.integers(0, PARTITIONS - 1), back=st.integers(1, 8))
    def rewind(self, partition: int, back: int) -> None:
        """An operator lets the group read again."""
        self.run(self.go_back(self.partitions[partition], back))

    async def go_back(self, partition: TopicPartition, back: int) -> None:
        at = await self.kafka.committed(partition)
        begin = (await self.kafka.beginning_offsets([partition]))[partition]
        await self.kafka.commit({partition: max(begin, at - back)})

    async def go_to_committed(self) -> None:
        for partition in self.partitions:
            self.kafka.seek(partition, await self.kafka.committed(partition))

    async def compare(self) -> None:
        """What was applied is a beginning of what was committed, key by key."""
        for key, versions in (await self.heard()).items():
            assert versions == list(range(1, len(versions) + 1))
            assert len(versions) <= self.committed[key]

    async def heard(self) -> dict[str, list[int]]:
        """Versions applied by counter, in the order they were."""
        mine = select(heard).where(heard.c.counter_id.in_([UUID(key) for key in self.committed]))
        found: dict[str, list[int]] = {key: [] for key in self.committed}
        async with self.database.read() as reader:
            for row in await reader.all(mine.order_by(heard.c.position)):
                found[str(row["counter_id"])].append(row["version"])
        return found

    async def on_counted(self, tx: Tx, event: Counted, meta: EventMeta) -> None:
        if str(event.counter_id) in self.committed:
            await on_counted(tx, event, meta)
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at == 0:
                raise Killed

    async def outbox_is_empty(self) -> bool:
        async with self.database.read() as reader:
            return await reader.first(select(outbox.c.id).limit(1)) is None

    def survive(self, work: Any) -> None:
        async def until_killed() -> None:
            with contextlib.suppress(Killed):
                await work

        self.run(until_killed())

    def teardown(self) -> None:
        """Once nobody dies any more, all that was committed has taken effect once."""
        try:
            self.run(self.settle())
        finally:
            self.run(self.kafka.stop())
            self.run(self.database.dispose())
            self.runner.close()

    async def settle(self) -> None:
        await self.run_relay(None)

        async def all_heard() -> bool:
            await self.consume_once(1000)
            found = await self.heard()
            return {key: len(versions) for key, versions in found.items()} == self.committed

        await wait_until(all_heard, 20, "every committed event to take effect")
        await self.compare()


@pytest.fixture
def url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A database of the tally service."""
    with fresh_database(postgres_server, "tally") as made:
        yield made


async def test_every_committed_event_takes_effect_once_and_in_order(url: str, kafka_server: KafkaTestServer) -> None:
    """Relay, consumer and process are killed at any moment."""
    suffix = random.randbytes(5).hex()
    model, group = on_topic(f"tally.{suffix}.events.v1"), f"tally.{suffix}"
    consumer = Consumer(group, {model: on_counted})
    await ensure_topics(kafka_server.bootstrap, [Topic(model.TOPIC, partitions=PARTITIONS)], [consumer])
    machine = lambda: Messaging(url, kafka_server.bootstrap, model, group)  # noqa: E731
    await asyncio.to_thread(run_machine, machine, 8, 20)

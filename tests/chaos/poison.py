"""What is written to the topics behind the services' backs: events again, in the wrong order, and poison.

Poison has keys of its own; its keys are given up by the operators' way, so that nothing stays parked.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from history.model import Injected
from sqlalchemy import Executable, delete, select
from sqlalchemy.dialects.postgresql import insert

import contracts
from chaos.rig import Rig
from chassis.clock import new_id, now
from chassis.db import Database
from chassis.events import EventMeta
from chassis.messaging import parking
from chassis.messaging.handlers import Consumer
from chassis.messaging.kafka import MESSAGE_BYTES
from chassis.service import Service
from chassis.supervision import is_transient
from chassis.tables import outbox
from contracts.erp import PlanCancelled, PlanReleased
from contracts.topics import TOPICS
from crm.service import SERVICE as CRM
from devkit.platform.postgres import sqlalchemy_url
from devkit.testing import wait_until
from erp.service import SERVICE as ERP
from gateway.service import SERVICE as GATEWAY
from mes.service import PLANS
from mes.service import SERVICE as MES

_SERVICES: tuple[Service, ...] = (CRM, ERP, MES, GATEWAY)
_EXAMPLES = Path(contracts.__file__).parents[2] / "examples"
_PARK_SECONDS = 240.0
_READ_MS = 500
_OUTAGE_MS = 240_000
_AGAIN = 40
_RETRY_SECONDS = 0.5
T = TypeVar("T")
Raw = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]


@dataclass(frozen=True)
class Poison:
    """One poisonous record, and the groups that must give it up."""

    key: str | None
    headers: Mapping[str, str]
    value: bytes
    refused_by: Sequence[tuple[Service, Consumer]]


def _groups(handles: str | None = None) -> list[tuple[Service, Consumer]]:
    """The groups that read the plans' topic and, when asked, handle an event type."""
    return [
        (service, consumer)
        for service in _SERVICES
        for consumer in service.consumers
        if PlanReleased.TOPIC in consumer.topics
        and (handles is None or handles in {event.TYPE for event in consumer.handlers})
    ]


def _example(event: type[Any]) -> dict[str, Any]:
    file = next((_EXAMPLES / event.TYPE).glob("*.json"))
    return dict(json.loads(file.read_text()))


def brew(kind: str) -> Poison:
    """A poisonous event about a plan nobody knows."""
    key = str(new_id())
    released, cancelled = PlanReleased.TYPE, PlanCancelled.TYPE
    plan = {**_example(PlanReleased), "plan_id": key}
    good = json.dumps(plan).encode()
    bad = json.dumps({**plan, "quantity": "a few"}).encode()
    refused = json.dumps({**_example(PlanCancelled), "plan_id": key}).encode()
    type_, value, groups = {
        "not JSON": (released, b"\xff\x00 no JSON", _groups(released)),
        "unknown type": ("erp.PlanDreamt.v1", good, []),
        "missing headers": (None, good, _groups()),
        "invalid schema": (released, bad, _groups(released)),
        "unknown major": ("erp.PlanReleased.v9", good, []),
        "refused by its handler": (cancelled, refused, [(MES, PLANS)]),
        "null key": (released, bad, _groups(released)),
    }[kind]
    meta = EventMeta(new_id(), type_ or "", "orderloop/chaos", now(), key, correlation_id=key)
    return Poison(None if kind == "null key" else key, meta.headers() if type_ else {}, value, groups)


@dataclass
class Hand:
    """Writes to Kafka past the services, and cleans up after itself."""

    rig: Rig
    chance: random.Random
    injected: list[Injected] = field(default_factory=list)
    # The poison among them, with the groups that must give it up.
    poisoned: dict[Injected, list[str]] = field(default_factory=dict)

    async def poison(self, kind: str) -> None:
        """Put poison where it belongs, wait until it is given up, and clean it away as an operator would."""
        if kind == "oversize":
            await self._oversize()
            return
        made = brew(kind)
        headers = [(name, text.encode()) for name, text in made.headers.items()]
        key = made.key.encode() if made.key else None
        async with self.rig.claim("kafka"):
            (written,) = await self._write([(PlanReleased.TOPIC, key, made.value, headers)])
        self.poisoned[written] = [consumer.group for _, consumer in made.refused_by]
        if made.key is not None:
            for service, consumer in made.refused_by:
                await self._give_up(service, consumer, PlanReleased.TOPIC, made.key)

    async def again(self, in_order: bool) -> None:
        """Write some of the newest records of every topic once more: as they were, or the older after the newer."""
        async with self.rig.claim("kafka"):
            records = await persist(self._newest)
            if not in_order:
                records.reverse()
            await self._write([(r.topic, r.key, r.value, list(r.headers)) for r in records])

    async def _newest(self) -> list[ConsumerRecord]:
        """Records that are not ours, of all topics, oldest first."""
        ours = {(i.topic, i.partition, i.offset) for i in self.injected}
        consumer = AIOKafkaConsumer(bootstrap_servers=self.rig.platform.kafka, enable_auto_commit=False)
        try:
            await consumer.start()
            partitions = [TopicPartition(t.name, index) for t in TOPICS for index in range(t.partitions)]
            consumer.assign(partitions)
            ends = {tp: end for tp, end in (await consumer.end_offsets(partitions)).items() if end}
            for tp in partitions:
                consumer.seek(tp, max(0, ends.get(tp, 0) - _AGAIN))
            found: list[ConsumerRecord] = []
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=_READ_MS)).values():
                    found += records
        finally:
            await consumer.stop()
        theirs = [r for r in found if (r.topic, r.partition, r.offset) not in ours]
        theirs.sort(key=lambda r: (r.timestamp, r.topic, r.partition, r.offset))
        return theirs[-10 * _AGAIN :]

    async def _write(self, records: Collection[Raw]) -> list[Injected]:
        producer = await persist(self._producer)
        written = []
        try:
            for topic, key, value, headers in records:
                partition = None if key is not None else self.chance.randrange(_partitions(topic))
                put = await producer.send_and_wait(topic, value, key, partition=partition, headers=headers)
                written.append(Injected(put.topic, put.partition, put.offset))
        finally:
            await producer.stop()
            self.injected += written
        return written

    async def _producer(self) -> AIOKafkaProducer:
        """A started producer that outlasts an outage: a record sent again by us would be another record."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.rig.platform.kafka, enable_idempotence=True, request_timeout_ms=_OUTAGE_MS
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _give_up(self, service: Service, consumer: Consumer, topic: str, key: str) -> None:
        """As an operator: see the key parked, skip the bad event, release the key."""
        async with self._database(service) as database:

            async def parked() -> bool:
                return any(one.key == key for one in await parking.parked(database, consumer.group))

            await wait_until(lambda: persist(parked), _PARK_SECONDS, f"{consumer.group} to park {key}")
            # A repeat of what was done already, but not answered, finds nothing parked.
            for act in (
                lambda: parking.skip(database, consumer.group, topic, key),
                lambda: parking.release(database, consumer, topic, key),
            ):
                with suppress(parking.NotParked):
                    await persist(act)

    async def _oversize(self) -> None:
        """An event the broker does not take: its outbox row is parked by the relay, and removed by us."""
        key = str(new_id())
        meta = EventMeta(new_id(), PlanReleased.TYPE, "orderloop/chaos", now(), key, correlation_id=key)
        row = {
            "event_id": meta.event_id,
            "topic": PlanReleased.TOPIC,
            "key": key,
            "aggregate_version": 1,
            "type": meta.type,
            "headers": meta.headers(),
            "payload": b"x" * (MESSAGE_BYTES + 1),
        }
        mine = outbox.c.event_id == meta.event_id
        async with self._database(ERP) as database:

            async def write(statement: Executable) -> None:
                async with database.transaction() as tx:
                    await tx.execute(statement)

            async def parked() -> bool:
                async with database.read() as reader:
                    return await reader.scalar(select(outbox.c.parked_reason).where(mine)) is not None

            await persist(lambda: write(insert(outbox).values(row).on_conflict_do_nothing()))
            await wait_until(lambda: persist(parked), _PARK_SECONDS, "the relay to park what is too large")
            await persist(lambda: write(delete(outbox).where(mine)))

    @asynccontextmanager
    async def _database(self, service: Service) -> AsyncIterator[Database]:
        database = Database(sqlalchemy_url(self.rig.platform.database_url(service.name)), service.name, 1)
        try:
            yield database
        finally:
            await database.dispose()


async def persist(work: Callable[[], Awaitable[T]]) -> T:
    """Do it, again while the database or Kafka is away."""
    deadline = time.monotonic() + _PARK_SECONDS
    while True:
        try:
            return await work()
        except Exception as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)


def _partitions(topic: str) -> int:
    return next(t.partitions for t in TOPICS if t.name == topic)

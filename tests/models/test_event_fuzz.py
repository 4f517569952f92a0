"""Any record on any topic is applied, skipped or becomes a dead letter; none stops a consumer, none half happens."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from chassis import logs
from chassis.clock import now
from chassis.db import is_unstorable
from chassis.events import MalformedEvent
from chassis.messaging import parking, retry
from chassis.messaging.deadletter import DeadLetterCap, DeadLetters, Failure
from chassis.messaging.handlers import Consumer, PermanentError
from chassis.messaging.provisioner import dead_letter_topic, ensure_topics
from chassis.messaging.retry import Processor
from chassis.service import Service
from chassis.tables import inbox, parked_event
from contracts.erp import PlanReleased
from contracts.topics import Topic
from devkit.testing import KafkaTestServer
from erp.fulfilment.queries import invariants as shipment_invariants
from erp.planning.queries import invariants as planning_invariants
from models import fuzz
from models.bus import MODULES, Bus
from models.fuzz import Record, records

EXAMPLES = {
    "crm.catalogue": 15,
    "crm.order-state": 40,
    "erp.loop": 120,
    "mes.plans": 40,
    "mes.lots": 30,
    "gateway.order-status": 100,
}
_ALLOWED = {
    "judged": ("applied", "buried", "parked"),
    "refused": ("buried", "parked"),
    "skipped": ("skipped",),
}


class NotedLetters(DeadLetters):
    """Dead letters, and which offsets they came from."""

    def __init__(self, bootstrap: str, group: str) -> None:
        super().__init__(bootstrap, group)
        self.sent: dict[int, tuple[ConsumerRecord, Failure]] = {}

    async def send(self, record: ConsumerRecord, failure: Failure) -> None:
        await super().send(record, failure)
        self.sent[record.offset] = record, failure
        # A constraint may also be violated by a race, so what violates one is tried again before it is given up.
        expected = (PermanentError, MalformedEvent, IntegrityError)
        if not isinstance(failure.error, expected) and not is_unstorable(failure.error):
            raise AssertionError(f"given up after {failure.attempts} attempts: {record.value!r}") from failure.error


@dataclass
class Fuzzed:
    """One consumer, fed by hand with records of a topic of its own."""

    bus: Bus
    service: Service
    consumer: Consumer
    letters: NotedLetters
    topic: str
    offset: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.database = self.bus.databases[self.service.name]
        cap = DeadLetterCap(asyncio.get_running_loop().time, limit=1_000_000)
        self.processor = Processor(self.database, self.consumer, self.letters, cap, asyncio.Semaphore(4))
        hashes = [
            f"SELECT count(*), sum(hashtext(t::text)::bigint) FROM {table.name} t"
            for table in self.service.metadata.sorted_tables
        ]
        self.everything = text(" UNION ALL ".join([*hashes, "SELECT count(*), sum(id) FROM outbox"]))

    async def process(self, wanted: list[Record]) -> None:
        """One chunk, as the runtime would; then every record must be accounted for."""
        chunk = [self.record(each) for each in wanted]
        before = await self.state()
        await asyncio.wait_for(self.processor.process(chunk, asyncio.Event()), 60)
        fates = [await self.fate(record) for record in chunk]
        for each, fate in zip(wanted, fates, strict=True):
            self.seen[f"{each.fate} → {fate}"] += 1
            assert fate in _ALLOWED[each.fate], (fate, each)
        if "applied" not in fates:
            assert await self.state() == before, "something happened although nothing was applied"
        if self.service.name == "erp":
            async with self.database.read() as reader:
                assert await planning_invariants(reader) + await shipment_invariants(reader) == []
        await self.unpark()

    def record(self, wanted: Record) -> ConsumerRecord:
        self.offset += 1
        sizes = (len(wanted.key or b""), len(wanted.value or b""))
        headers = tuple(wanted.headers.items())
        return ConsumerRecord(self.topic, 0, self.offset, 0, 0, wanted.key, wanted.value, None, *sizes, headers)

    async def fate(self, record: ConsumerRecord) -> str:
        """What became of a record, by what an operator can see."""
        place = (parked_event.c.topic == record.topic, parked_event.c.offset == record.offset)
        async with self.database.read() as reader:
            waits = await reader.scalar(select(parked_event.c.id).where(*place)) is not None
            event_id = _uuid(dict(record.headers).get("ce_id", b""))
            applied = await reader.scalar(select(inbox.c.event_id).where(inbox.c.event_id == event_id))
        if record.offset in self.letters.sent:
            assert waits or record.key is None, "a dead letter whose key is not parked"
            assert not applied
            return "buried"
        if waits:
            return "parked"
        return "applied" if applied else "skipped"

    async def state(self) -> list[Any]:
        """A fingerprint of the service's tables and its outbox."""
        async with self.database.read() as reader:
            return [tuple(row.values()) for row in await reader.all(self.everything)]

    async def unpark(self) -> None:
        """The operator gives up everything that waits."""
        group = self.consumer.group
        for parked in await parking.parked(self.database, group):
            for _ in range(parked.waiting):
                await parking.skip(self.database, group, parked.topic, parked.key)
            assert await parking.release(self.database, self.consumer, parked.topic, parked.key) == 0

    async def check_letters(self, kafka: str) -> None:
        """Every dead letter lies in Kafka with its bytes."""
        partition = TopicPartition(dead_letter_topic(self.topic, self.consumer.group), 0)
        reader = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
        await reader.start()
        reader.assign([partition])
        found: list[ConsumerRecord] = []
        while len(found) < len(self.letters.sent):
            fetched = await asyncio.wait_for(reader.getmany(partition, timeout_ms=5000), 20)
            assert fetched, "a dead letter is missing"
            found += fetched[partition]
        await reader.stop()
        sources = {int(dict(letter.headers)["x-source-offset"]): letter for letter in found}
        assert sources.keys() == self.letters.sent.keys()
        for offset, (record, _) in self.letters.sent.items():
            assert (sources[offset].key, sources[offset].value or None) == (record.key, record.value or None)


def _uuid(header: bytes) -> UUID | None:
    try:
        return UUID(header.decode())
    except ValueError:
        return None


async def prepare(bus: Bus) -> None:
    """A factory with two items and two orders that all services have heard of, whose ids the fuzz then knows."""
    made = {"source": "make", "price": 9, "components": [{"item": "RAW", "quantity": 2}]}
    step = {"operation": 10, "work_center": "WC", "setup_minutes": 0, "minutes_per_unit": 1}
    orders = [{"item": "TOP", "quantity": 3}], [{"item": "RAW", "quantity": 5}, {"item": "TOP", "quantity": 1}]
    for service, path, body in (
        ("erp", "items", {"item": "RAW", "source": "buy", "standard_cost": 1}),
        ("erp", "items", {"item": "TOP", "routing": [step], **made}),
        ("erp", "stock/receipts", {"item": "RAW", "quantity": 4, "lot": "L-1"}),
        ("crm", "customers", {"number": "C", "name": "A customer"}),
        *(("crm", "orders", {"customer": "C", "requested_date": str(now().date()), "lines": ls}) for ls in orders),
    ):
        answer = await bus.call(service, "POST", f"/v1/{path}", json=body)
        assert answer.status_code == 201, answer.text
        await bus.deliver_all()
    published = [event for stream in bus.streams.values() for event in stream]
    plans = [PlanReleased.model_validate_json(e.payload) for e in published if e.type == PlanReleased.TYPE]
    fuzz.IDS[2:] = [plan.plan_id for plan in plans] + list({peg.order_id for plan in plans for peg in plan.pegs})


@pytest.mark.parametrize("group", EXAMPLES)
def test_any_record_is_applied_skipped_or_a_dead_letter(  # noqa: PLR0917
    group: str,
    urls: dict[str, str],
    kafka_server: KafkaTestServer,
    prepared: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Valid, old, newer, broken and foreign records, alone and several in a chunk."""
    monkeypatch.setattr(retry, "backoff", lambda _attempt: 0.0)
    logs.configure("models", "CRITICAL")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        bus = runner.run(Bus.open(stack, urls, tmp_path))
        name, consumer = bus.consumers[group]
        topic = f"fuzz.{uuid4().hex}.events.v1"
        dead = Topic(dead_letter_topic(topic, group), "fuzz", "dead letters of the fuzz", partitions=1)
        runner.run(ensure_topics(kafka_server.bootstrap, [dead], []))
        letters = NotedLetters(kafka_server.bootstrap, group)

        async def opened() -> Fuzzed:
            return Fuzzed(bus, MODULES[name].SERVICE, consumer, letters, topic)

        fuzzed = runner.run(opened())
        models = sorted(consumer.handlers, key=lambda model: model.TYPE)

        @settings(
            max_examples=EXAMPLES[group],
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(st.sampled_from(models).flatmap(records), min_size=1, max_size=3))
        def run(chunk: list[Record]) -> None:
            runner.run(fuzzed.process(chunk))

        try:
            run()
            runner.run(fuzzed.check_letters(kafka_server.bootstrap))
        finally:
            runner.run(letters.stop())
            runner.run(stack.aclose())
        print(
            group,
            fuzzed.seen,
            Counter(
                type(f.error).__name__
                + (" " + str(getattr(f.error, "orig", ""))[:150] if hasattr(f.error, "orig") else "")
                for _, f in letters.sent.values()
            ),
        )
        assert {"judged → applied", "refused → buried", "skipped → skipped"} <= fuzzed.seen.keys()


@pytest.fixture(scope="module")
def prepared(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All services know a small factory."""

    async def work() -> None:
        async with AsyncExitStack() as stack:
            await prepare(await Bus.open(stack, urls, tmp_path_factory.mktemp("keys")))

    asyncio.run(work())
    yield
    fuzz.IDS[2:] = []

"""The order-status projection can be rebuilt from its topics: it then equals the live one, which goes on meanwhile."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from gateway_support import Gateway
from sqlalchemy import select, text
from status_story import OrderStory, whole_life

from chassis.clock import now
from chassis.db import Database
from chassis.messaging.consumer import ConsumerRuntime
from chassis.messaging.handlers import Consumer
from chassis.messaging.inbox import Delivery, handle, remember
from chassis.messaging.kafka import make_producer
from chassis.messaging.provisioner import ensure_topics
from chassis.operations.errors import OperationError
from chassis.operations.groups import rewind
from chassis.operations.invariants import violations
from chassis.operations.projection import Projection, rebuild, verify
from chassis.operations.reading import Cluster
from chassis.tables import inbox
from contracts.topics import TOPICS
from devkit.testing import KafkaTestServer, wait_until
from gateway.service import SERVICE
from gateway.status.handlers import HANDLERS
from gateway.status.tables import TABLES


@pytest.fixture
async def consumer(kafka_server: KafkaTestServer) -> Consumer:
    """The projection's consumer under a group of its own, with the topics there."""
    made = Consumer(f"gateway.test-{uuid.uuid4().hex[:8]}", HANDLERS)
    await ensure_topics(kafka_server.bootstrap, TOPICS, [made])
    return made


def _nothing(_events: int) -> None: ...


async def publish(kafka: str, told: Sequence[Delivery]) -> None:
    """Put the events on their topics, as their producers would."""
    producer = make_producer(kafka, "test")
    await producer.start()
    try:
        for one in told:
            headers = [(name, value.encode()) for name, value in one.meta.headers().items()]
            payload = one.event.model_dump_json().encode()
            await producer.send(one.event.TOPIC, payload, one.event.key.encode(), headers=headers)
        await producer.flush()
    finally:
        await producer.stop()


async def run(database: Database, *statements: str) -> None:
    async with database.transaction() as tx:
        for statement in statements:
            await tx.execute(text(statement))


async def test_a_rebuild_equals_the_live_view_and_heals_a_damaged_one(
    gateway: Gateway, kafka_server: KafkaTestServer, consumer: Consumer
) -> None:
    database, cluster = gateway.context.database, Cluster(kafka_server.bootstrap)
    projection = Projection(consumer, TABLES)
    story, unheard, given_up = whole_life(), OrderStory("SO-000777"), OrderStory("SO-000888")
    unheard.place()
    given_up.place()
    await publish(kafka_server.bootstrap, [*story.told, *unheard.told, *given_up.told])
    await handle(database, consumer, story.told)
    async with database.transaction() as tx:
        await remember(tx, consumer.group, [one.meta.event_id for one in given_up.told], skipped=True)

    report = await verify(cluster, database, projection, _nothing)
    assert report.equal, report.differences
    assert report.events == len(story.told)
    assert report.rows["status_order"] == 1
    assert report.rows["story_event"] == len(story.told)

    await run(
        database,
        "UPDATE status_order SET number = 'SO-BAD'",
        "DELETE FROM status_promise",
        "INSERT INTO status_lot VALUES ('L-X', 1, 'held')",
    )
    damaged = await verify(cluster, database, projection, _nothing)
    found = {one["table"]: one for one in damaged.differences}
    assert found.keys() == {"status_order", "status_promise", "status_lot"}
    assert (found["status_order"]["live"]["number"], found["status_order"]["rebuilt"]["number"]) == (
        "SO-BAD",
        story.number,
    )
    assert found["status_promise"]["live"] is None
    assert found["status_lot"]["rebuilt"] is None

    await rebuild(cluster, database, projection, _nothing)
    assert (await verify(cluster, database, projection, _nothing)).equal
    shown = await gateway.client.get(f"/v1/orders/{story.number}/status", headers=gateway.bearer("orders:read"))
    assert shown.json()["promised_date"] is not None
    # What was not heard yet comes to the new tables as it would have to the old.
    await handle(database, consumer, unheard.told)
    assert (await verify(cluster, database, projection, _nothing)).equal
    async with database.read() as reader:
        schemas = await reader.all(text("SELECT nspname FROM pg_namespace WHERE nspname IN ('rebuild', 'replaced')"))
    assert schemas == []


async def test_the_view_goes_on_while_it_is_rebuilt(
    gateway: Gateway, kafka_server: KafkaTestServer, consumer: Consumer
) -> None:
    database, cluster = gateway.context.database, Cluster(kafka_server.bootstrap)
    projection = Projection(consumer, TABLES)
    stories = [whole_life() for _ in range(5)]
    stop = asyncio.Event()
    # What other tests left on the topics is not for this consumer.
    await rewind(cluster, consumer.group, consumer.topics, now() + timedelta(days=1), apply=True)
    runtime = ConsumerRuntime(database, consumer, kafka_server.bootstrap, stop, asyncio.Semaphore(4))
    running = asyncio.create_task(runtime.run())
    told = [one for story in stories for one in story.told]
    half = len(told) // 2
    await publish(kafka_server.bootstrap, told[:half])

    async def had(count: int) -> bool:
        wanted = [one.meta.event_id for one in told[:count]]
        query = select(inbox.c.event_id).where(inbox.c.consumer == consumer.group, inbox.c.event_id.in_(wanted))
        async with database.read() as reader:
            return len(await reader.all(query)) == len(set(wanted))

    try:
        await wait_until(lambda: had(half // 2), 30, "some events to be folded")
        async with asyncio.TaskGroup() as group:
            rebuilding = group.create_task(rebuild(cluster, database, projection, _nothing))
            group.create_task(publish(kafka_server.bootstrap, told[half:]))
        assert rebuilding.result().equal, rebuilding.result().differences
        await wait_until(lambda: had(len(told)), 30, "every event to be folded")
    finally:
        stop.set()
        await running
    assert (await verify(cluster, database, projection, _nothing)).equal
    assert not any((await violations(database, SERVICE.invariants)).values())


async def test_only_one_rebuild_runs_at_a_time(
    gateway: Gateway, kafka_server: KafkaTestServer, consumer: Consumer
) -> None:
    database, cluster = gateway.context.database, Cluster(kafka_server.bootstrap)
    projection = Projection(consumer, TABLES)
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(_outcome(verify(cluster, database, projection, _nothing))) for _ in range(2)]
    outcomes = sorted(str(task.result()) for task in both)
    assert outcomes == ["another rebuild of this database is running: wait for it", "equal"]


async def _outcome(work: object) -> str:
    try:
        report = await work  # type: ignore[misc]
    except OperationError as error:
        return str(error)
    return "equal" if report.equal else "differs"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE status_work_order SET percent = 101", "101 %"),
        ("DELETE FROM story_event WHERE type = 'crm.OrderPlaced.v1'", "but not told"),
        (
            "UPDATE status_fulfilment SET lines = jsonb_set(lines, '{0,shipped}', '\"99\"')",
            "99 shipped",
        ),
    ],
)
async def test_a_broken_law_of_the_view_is_named(gateway: Gateway, damage: str, said: str) -> None:
    database = gateway.context.database
    story = whole_life()
    await handle(database, SERVICE.consumers[0], story.told)
    assert not any((await violations(database, SERVICE.invariants)).values())
    await run(database, damage)
    assert said in " ".join((await violations(database, SERVICE.invariants))["order-status"])

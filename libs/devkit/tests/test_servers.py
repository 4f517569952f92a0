"""The servers the test plugin starts are usable the way services use them."""

import uuid

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.sql import text

from devkit.testing import KafkaTestServer, PostgresTestServer


async def test_a_database_copied_from_a_template_has_its_rows(postgres_server: PostgresTestServer) -> None:
    suffix = uuid.uuid4().hex[:8]
    original, copy = f"original_{suffix}", f"copy_{suffix}"
    engine = create_async_engine(postgres_server.create_database(original))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE thing (name text)"))
        await connection.execute(text("INSERT INTO thing VALUES ('chair')"))
    await engine.dispose()
    copied = create_async_engine(postgres_server.create_database(copy, template=original))
    async with copied.connect() as connection:
        assert (await connection.execute(text("SELECT name FROM thing"))).scalar_one() == "chair"
    await copied.dispose()
    for name in (original, copy):
        postgres_server.drop_database(name)
    admin = await asyncpg.connect(postgres_server.admin_url)
    left = await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = ANY($1)", [original, copy])
    await admin.close()
    assert left == 0


async def test_kafka_keeps_an_event_for_a_consumer_that_comes_later(kafka_server: KafkaTestServer) -> None:
    topic = f"devkit.test.{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    producer = AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap, enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(topic, b"chair", key=b"1")
    await producer.stop()
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_server.bootstrap, group_id=topic, auto_offset_reset="earliest"
    )
    await consumer.start()
    message = await consumer.getone()
    await consumer.stop()
    await admin.delete_topics([topic])
    await admin.close()
    assert (message.key, message.value) == (b"1", b"chair")

"""`orderloop events tail` shows what is on the topics."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from devkit.platform.state import State, StateFolder
from devkit.testing import KafkaTestServer

TOPIC = "crm.order.events.v1"

Tail = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def tail(kafka_server: KafkaTestServer, tmp_path: Path) -> Tail:
    """Runs the command on a platform that uses the test's Kafka."""
    folder = StateFolder(tmp_path)
    folder.save(State(ports={"gateway": 1}, outside_kafka=kafka_server.bootstrap))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=6, replication_factor=1)])
    except TopicAlreadyExistsError:
        pass
    finally:
        await admin.close()

    async def call(*arguments: str) -> tuple[int, str, str]:
        env = {**os.environ, "ORDERLOOP_STATE": str(tmp_path)}
        command = [sys.executable, "-m", "devkit", "events", "tail", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, out.decode(), err.decode()

    return call


async def _publish(bootstrap: str, order: str, type: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    headers = {"id": str(uuid.uuid4()), "type": type, "source": "crm", "time": "2026-01-02T03:04:05Z", "subject": order}
    headers |= {"correlationid": order, "causationid": "c-1"}
    encoded = [(f"ce_{name}", text.encode()) for name, text in headers.items()]
    await producer.send_and_wait(TOPIC, value, key=order.encode(), headers=encoded)
    await producer.stop()


async def test_only_the_asked_order_and_type_are_shown(tail: Tail, kafka_server: KafkaTestServer) -> None:
    order = str(uuid.uuid4())
    await _publish(kafka_server.bootstrap, str(uuid.uuid4()), "crm.OrderPlaced.v1", b'{"other": 1}')
    await _publish(kafka_server.bootstrap, order, "crm.OrderPlaced.v1", b'{"lines": [1]}')
    await _publish(kafka_server.bootstrap, order, "crm.OrderCancelled.v1", b"not json [at all]")

    wanted = ("--topic", TOPIC, "--order", order, "--from-beginning")
    status, out, err = await tail(*wanted, "--json", "--max", "2")
    assert (status, err) == (0, "")
    placed, cancelled = (json.loads(line) for line in out.splitlines())
    assert (placed["type"], placed["data"], placed["key"]) == ("crm.OrderPlaced.v1", {"lines": [1]}, order)
    assert (placed["topic"], placed["causationid"]) == (TOPIC, "c-1")
    assert (cancelled["type"], cancelled["data"]) == ("crm.OrderCancelled.v1", "not json [at all]")

    status, out, _ = await tail(*wanted, "--type", "crm.OrderCancelled.v1", "--max", "1")
    assert status == 0
    assert "crm.OrderCancelled.v1" in out
    assert "not json [at all]" in out
    assert "crm.OrderPlaced.v1" not in out


async def test_an_unknown_topic_is_a_usage_error(tail: Tail) -> None:
    status, _, err = await tail("--topic", "crm.nonsense")
    assert status == 2
    assert "crm.nonsense" in err

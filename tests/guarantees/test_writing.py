"""From command to topic: each guarantee in a forced interleaving; switched off, the checker sees it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import Select, select
from tally.service import count_up

from chassis.db import Tx
from chassis.messaging import relay
from chassis.messaging.relay import Relay
from chassis.tables import outbox
from devkit.testing import wait_until
from guarantees.stage import Stage

ON_AND_OFF = pytest.mark.parametrize("switched_off", [False, True], ids=["on", "off"])


@ON_AND_OFF
async def test_the_aggregate_is_locked_first(stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool) -> None:
    """Two commands on one counter: the second begins while the first has not committed."""
    [counter] = await stage.create(1)
    reached, gate = asyncio.Event(), asyncio.Event()
    if switched_off:
        monkeypatch.setattr(Select, "with_for_update", lambda self, **_: self)

    async def count_slowly(tx: Tx) -> None:
        await count_up(tx, counter, model=stage.model)
        reached.set()
        await gate.wait()

    first = asyncio.create_task(stage.command("count", count_slowly))
    await reached.wait()
    second = asyncio.create_task(stage.count(counter))
    await stage.wait_blocked()
    gate.set()
    await asyncio.gather(first, second)
    await stage.count(counter)
    stage.start_relay()
    stage.start_consumer()
    await stage.wait_heard(3)
    assert await stage.violated() == ({"per-key order"} if switched_off else set())


@ON_AND_OFF
async def test_events_are_published_in_the_order_of_their_ids(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    """Three events of one counter wait when the relay begins."""
    [counter] = await stage.create(1)
    await stage.count(counter, times=3)
    if switched_off:
        monkeypatch.setattr(relay, "_SELECT", relay._SELECT.replace("ORDER BY id", "ORDER BY id DESC"))
    stage.start_relay()
    stage.start_consumer()
    await stage.wait_heard(3)
    assert await stage.violated() == ({"per-key order"} if switched_off else set())


@ON_AND_OFF
async def test_one_relay_leads(stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool) -> None:
    """A relay has read the outbox but not sent yet when another one starts and looks."""
    [counter] = await stage.create(1)
    await stage.count(counter)
    read, gate, published = asyncio.Event(), asyncio.Event(), asyncio.Event()
    publish = Relay._publish

    async def publish_slowly(self: Relay, connection: Any, producer: Any, rows: Sequence[Any]) -> None:
        if read.is_set():
            return await publish(self, connection, producer, rows)
        read.set()
        await gate.wait()
        await publish(self, connection, producer, rows)
        return published.set()

    async def always(self: Relay, connection: Any) -> bool:
        return True

    monkeypatch.setattr(Relay, "_publish", publish_slowly)
    if switched_off:
        monkeypatch.setattr(Relay, "_lead", always)
    stage.start_relay()
    await read.wait()
    second = stage.start_relay()

    async def second_has_looked() -> bool:
        return await stage.outbox_empty() if switched_off else (await second.part.check())[1] == "standby"

    await wait_until(second_has_looked, 20, "the second relay to look")
    gate.set()
    await asyncio.wait_for(published.wait(), 20)
    stage.start_consumer()
    await stage.wait_heard(1)
    assert await stage.violated(undisturbed=True) == ({"per-key order"} if switched_off else set())


@ON_AND_OFF
async def test_a_row_the_broker_may_refuse_travels_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    """The broker refuses an event that its producer let pass, while a later one of the same counter waits."""
    [counter] = await stage.create(1)
    await _let_broker_take(stage, 150_000)
    for version, note in ((1, ""), (2, "x" * 300_000), (3, "")):
        await stage.tell(counter, version, note)
    if switched_off:
        monkeypatch.setattr(relay, "_is_large", lambda _row: False)
    stage.start_relay()
    stage.start_consumer()

    async def refused() -> bool:
        async with stage.database.read() as reader:
            left = await reader.all(select(outbox.c.parked_reason).order_by(outbox.c.id))
        return bool(left) and (switched_off or left[0]["parked_reason"] is not None)

    await stage.wait_heard(2 if switched_off else 1)
    await wait_until(refused, 20, "the broker to refuse the event")
    assert await stage.violated() == ({"no lost write", "per-key order"} if switched_off else set())


async def _let_broker_take(stage: Stage, message_bytes: int) -> None:
    """Lower the largest record the topic takes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.kafka)
    await admin.start()
    try:
        settings = {"max.message.bytes": str(message_bytes)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, stage.topic, settings)])
    finally:
        await admin.close()

"""From topic to effect: each guarantee in a forced interleaving; switched off, the checker sees it."""

import asyncio
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from history import Fold, Record
from history.model import Effect
from history.topics import read_offsets
from sqlalchemy import func, select, update
from tally.events import Counted
from tally.service import counter as counter_table
from tally.service import on_counted

from chassis.db import Tx
from chassis.events import EventMeta
from chassis.messaging import consumer, inbox, parking
from chassis.messaging.consumer import ConsumerRuntime
from chassis.messaging.handlers import PermanentError
from chassis.tables import parked_event
from devkit.testing import wait_until
from guarantees.stage import Stage

ON_AND_OFF = pytest.mark.parametrize("switched_off", [False, True], ids=["on", "off"])
remember = inbox.remember


async def know_nothing(tx: Tx, group: str, event_ids: Sequence[UUID]) -> set[UUID]:
    """The inbox switched off: it writes down what was applied, and takes every event for new."""
    await remember(tx, group, event_ids)
    return set(event_ids)


class Slow:
    """A handler that, the first time it is called, waits for a gate before it is done."""

    def __init__(self) -> None:
        self.reached, self.gate = asyncio.Event(), asyncio.Event()

    async def __call__(self, tx: Tx, event: Counted, meta: EventMeta) -> None:
        await on_counted(tx, event, meta)
        self.reached.set()
        await self.gate.wait()


@ON_AND_OFF
async def test_the_inbox_knows_what_was_applied(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    """An event that was applied arrives again."""
    [counter] = await stage.create(1)
    if switched_off:
        monkeypatch.setattr(inbox, "remember", know_nothing)
    stage.start_relay()
    stage.start_consumer()
    await stage.count(counter)
    await stage.wait_heard(1)
    [record] = await stage.records()
    await stage.send_raw(record.value, record.key, dict(record.headers))
    await stage.count(counter)
    await stage.wait_heard(3 if switched_off else 2)
    assert await stage.violated() == ({"effect once"} if switched_off else set())


@ON_AND_OFF
async def test_the_key_of_an_event_given_up_is_parked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    """The second of three events of a counter can never be applied."""
    [counter] = await stage.create(1)

    async def nothing(*_: Any) -> None:
        pass

    if switched_off:
        monkeypatch.setattr(parking, "park", nothing)
        monkeypatch.setattr(parking, "keep", nothing)

    async def refuse_the_second(tx: Tx, event: Counted, meta: EventMeta) -> None:
        if event.aggregate_version == 2:
            raise PermanentError("version 2 makes no sense")
        await on_counted(tx, event, meta)

    async def settled() -> bool:
        async with stage.database.read() as reader:
            waiting = await reader.scalar(select(func.count()).select_from(parked_event))
        return len(await stage.heard()) + waiting == (2 if switched_off else 3)

    stage.start_relay()
    stage.start_consumer(refuse_the_second)
    await stage.count(counter, times=3)
    await wait_until(settled, 20, "three events to be dealt with")
    assert await stage.violated() == ({"effect once"} if switched_off else set())


@ON_AND_OFF
async def test_a_revoked_partition_is_drained(
    wide_stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    """A member joins while another is in the middle of applying events of both partitions.

    The inbox would hide what a missing drain lets happen, so it is switched off in both runs: a hand-over between
    healthy members is clean by itself.
    """
    stage, slow, revoked = wide_stage, Slow(), asyncio.Event()
    told = ConsumerRuntime.on_partitions_revoked

    async def notice(self: ConsumerRuntime, partitions: Collection[Any]) -> None:
        if partitions:
            revoked.set()
        await told(self, partitions)

    async def no_drain(lanes: Sequence[Any], seconds: float) -> None:
        pass

    monkeypatch.setattr(ConsumerRuntime, "on_partitions_revoked", notice)
    monkeypatch.setattr(inbox, "remember", know_nothing)
    if switched_off:
        monkeypatch.setattr(consumer, "drain", no_drain)
    counters = await stage.counter_of_each_partition()
    for counter in counters:
        await stage.count(counter)
    stage.start_relay()
    stage.start_consumer(slow)
    await slow.reached.wait()
    stage.start_consumer()
    await asyncio.wait_for(revoked.wait(), 20)
    if switched_off:
        await stage.wait_blocked()
    slow.gate.set()
    for counter in counters:
        await stage.count(counter)
    await stage.wait_heard(6 if switched_off else 4)
    assert await stage.violated() == ({"effect once"} if switched_off else set())


@ON_AND_OFF
async def test_offsets_are_committed_after_the_database(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, switched_off: bool
) -> None:
    """A member dies with events in its hands that it has not applied."""
    slow = Slow()

    async def commit_what_was_fetched(self: ConsumerRuntime, kafka: AIOKafkaConsumer, _lanes: Any) -> None:
        for partition in kafka.assignment():
            await kafka.commit({partition: OffsetAndMetadata(await kafka.position(partition), "")})

    if switched_off:
        monkeypatch.setattr(ConsumerRuntime, "_commit", commit_what_was_fetched)
    monkeypatch.setattr(consumer, "_STOP_DRAIN_SECONDS", 0.05)
    [counter] = await stage.create(1)
    await stage.count(counter, times=3)
    stage.start_relay()
    await stage.wait_relayed()
    dying = stage.start_consumer(slow)
    await slow.reached.wait()
    if switched_off:
        await wait_until(lambda: _committed(stage), 20, "an offset to be committed")
    await dying.end()
    stage.start_consumer()
    await stage.count(counter)
    await stage.wait_heard(1 if switched_off else 4)
    expected = {"effect once", "offset never ahead"} if switched_off else set()
    assert await stage.violated() == expected


async def _committed(stage: Stage) -> int:
    return sum(offset.offset for offset in await read_offsets(stage.kafka, [stage.checked_group]))


@ON_AND_OFF
async def test_a_serial_consumer_applies_one_partition_at_a_time(wide_stage: Stage, switched_off: bool) -> None:
    """Two partitions have an event each, and the handler adds up what it read before it writes, without a lock."""
    stage = wide_stage
    [total] = await stage.create(1)
    entered = 0

    async def add_up(tx: Tx, event: Counted, meta: EventMeta) -> None:
        nonlocal entered
        mine = counter_table.c.id == UUID(total)
        value = await tx.scalar(select(counter_table.c.value).where(mine))
        entered += 1
        if entered <= (2 if switched_off else 1):
            await wait_until(both_at_work, 20, "both partitions to be worked on")
        await tx.execute(update(counter_table).where(mine).values(value=value + 1))
        await on_counted(tx, event, meta)

    def both_at_work() -> bool:
        if switched_off:
            return entered >= 2
        return sum(lane._working for lane in running.part._lanes.values()) == 2 and entered == 1

    for counter in await stage.counter_of_each_partition():
        await stage.count(counter)
    stage.start_relay()
    await stage.wait_relayed()
    running = stage.start_consumer(add_up, serial=not switched_off)
    await stage.wait_heard(2)
    async with stage.database.read() as reader:
        added = await reader.scalar(select(counter_table.c.value).where(counter_table.c.id == UUID(total)))
    stage.effects = [Effect("total", "total", Decimal(added))]
    stage.folds = [Fold("total", stage.group, frozenset({stage.model.TYPE}), _number)]
    assert await stage.violated() == ({"effect once"} if switched_off else set())


def _number(records: Sequence[Record]) -> dict[str, Decimal]:
    return {"total": Decimal(len(records))}

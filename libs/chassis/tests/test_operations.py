"""Operators see what waits and why, and steer it, without ever making an effect happen twice."""

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from messaging_bench import Bench
from sqlalchemy import func, insert, select, update
from tally.events import Counted
from tally.service import Topic, heard, on_counted

from chassis.clock import new_id, now
from chassis.db import Reader, Tx
from chassis.events import EventMeta
from chassis.messaging.handlers import Consumer, PermanentError
from chassis.messaging.provisioner import dead_letter_topic, ensure_topics, topic_differences
from chassis.messaging.pruning import InboxPruner
from chassis.operations import groups, letters, outbox, parked
from chassis.operations.errors import NothingSuch, OperationError
from chassis.operations.invariants import VIOLATIONS, InvariantWatch
from chassis.operations.projection import Projection, verify
from chassis.operations.reading import Cluster
from chassis.tables import inbox
from chassis.tables import outbox as outbox_table
from devkit.testing import wait_until


class Picky:
    """Refuses version 2 of everything until it is told to accept it."""

    refuses = True

    async def __call__(self, tx: Tx, happened: Counted, meta: EventMeta) -> None:
        if self.refuses and happened.aggregate_version == 2:
            raise PermanentError("version 2 makes no sense")
        await on_counted(tx, happened, meta)


def headers(key: str, event_id: uuid.UUID | None = None) -> dict[str, bytes]:
    meta = EventMeta(event_id or new_id(), Counted.TYPE, "test", now(), key, correlation_id=key)
    return {name: value.encode() for name, value in meta.headers().items()}


async def all_letters(bench: Bench, consumer: Consumer, count: int) -> list[letters.Letter]:
    async def enough() -> list[letters.Letter]:
        found = await letters.letters(Cluster(bench.kafka), bench.database, [consumer])
        return found if len(found) >= count else []

    return await wait_until(enough, 30, f"{count} dead letters")


async def park(bench: Bench, handler: Picky, versions: int) -> tuple[Consumer, str]:
    """A key parked by its second event, with the later ones behind it."""
    [key] = await bench.create(1)
    bench.start_relay()
    bench.start_consumer(handler)
    await bench.publish(*((key, version) for version in range(1, versions + 1)))
    consumer = bench.consumer(handler)

    async def waiting() -> bool:
        return [one.waiting for one in await parked.parked_keys(bench.database, [consumer])] == [versions - 1]

    await wait_until(waiting, 30, "the key to be parked")
    return consumer, key


async def test_a_release_is_tried_before_it_is_done(bench: Bench) -> None:
    handler = Picky()
    consumer, key = await park(bench, handler, 4)
    [one] = await parked.parked_keys(bench.database, [consumer])
    assert (one.group, one.topic, one.key, one.first_type) == (bench.group, bench.topic, key, Counted.TYPE)
    assert "version 2 makes no sense" in one.reason
    for apply in (False, True):
        with pytest.raises(OperationError, match="version 2 makes no sense"):
            await parked.release(bench.database, [consumer], key, apply)
    handler.refuses = False
    [tried] = await parked.release(bench.database, [consumer], key, apply=False)
    assert tried["applied"] == 3
    assert [version for _, version in await bench.heard()] == [1]
    [done] = await parked.release(bench.database, [consumer], key, apply=True)
    assert done["applied"] == 3
    assert [version for _, version in await bench.heard()] == [1, 2, 3, 4]
    with pytest.raises(NothingSuch):
        await parked.release(bench.database, [consumer], key, apply=True)


async def test_the_state_of_a_dead_letter_follows_what_the_operator_does(bench: Bench) -> None:
    handler = Picky()
    consumer, key = await park(bench, handler, 3)
    cluster = Cluster(bench.kafka)
    [letter] = await all_letters(bench, consumer, 1)
    assert (letter.state, letter.topic, letter.key) == ("waiting", bench.topic, key)
    shown = letter.document(full=True)
    assert shown["error"] == "PermanentError: version 2 makes no sense"
    assert json.loads(shown["value"])["aggregate_version"] == 2
    for act in (letters.replay, letters.skip):
        with pytest.raises(OperationError, match=f"parked release {key}"):
            await act(cluster, bench.database, [consumer], letter.id, apply=True)
    [named] = await parked.skip(bench.database, [consumer], key, apply=False)
    assert (named["skipped"], named["waiting"]) == (str(letter.id), 1)
    assert [one.waiting for one in await parked.parked_keys(bench.database, [consumer])] == [2]
    await parked.skip(bench.database, [consumer], key, apply=True)
    await parked.release(bench.database, [consumer], key, apply=True)
    assert [version for _, version in await bench.heard()] == [1, 3]
    assert [one.state for one in await all_letters(bench, consumer, 1)] == ["skipped"]
    with pytest.raises(OperationError, match="was skipped since"):
        await letters.replay(cluster, bench.database, [consumer], letter.id, apply=True)
    with pytest.raises(NothingSuch):
        await letters.named(cluster, bench.database, [consumer], new_id())


async def test_an_event_without_a_key_is_replayed_once_or_given_up(bench: Bench) -> None:
    handler, cluster = Picky(), Cluster(bench.kafka)
    payloads = [bench.model(counter_id=new_id(), aggregate_version=2).model_dump_json().encode() for _ in range(2)]
    for payload in payloads:
        await bench.send_raw(payload, None, headers("nobody"))
    await bench.send_raw(b"not even headers", None, {})
    bench.start_consumer(handler)
    consumer = bench.consumer(handler)
    found = {letter.record.value: letter for letter in await all_letters(bench, consumer, 3)}
    replayed, given_up, garbage = (found[value] for value in (*payloads, b"not even headers"))
    assert [one.state for one in (replayed, given_up, garbage)] == ["replayable", "replayable", "unreadable"]
    await letters.replay(cluster, bench.database, [consumer], replayed.id, apply=False)
    with pytest.raises(OperationError, match="skip it"):
        await letters.replay(cluster, bench.database, [consumer], garbage.id, apply=True)
    for one in (given_up, garbage):
        await letters.skip(cluster, bench.database, [consumer], one.id, apply=True)
    assert await bench.heard() == []
    handler.refuses = False
    await letters.replay(cluster, bench.database, [consumer], replayed.id, apply=True)
    await bench.wait_heard(1)
    await bench.send_raw(payloads[1], None, headers("nobody", given_up.id))
    await bench.send_raw(payloads[0], None, headers("nobody", replayed.id))
    [last] = await bench.create(1)
    bench.start_relay()
    await bench.publish((last, 1))

    async def passed_over() -> bool:
        lags = await groups.lags(cluster, {bench.group: [bench.topic]})
        return all(one.lag == 0 for one in lags) and (last, 1) in await bench.heard()

    await wait_until(passed_over, 30, "everything to be read")
    assert sorted(version for _, version in await bench.heard()) == [1, 2]
    states = {letter.id: letter.state for letter in await all_letters(bench, consumer, 3)}
    assert states == {replayed.id: "applied", given_up.id: "skipped", garbage.id: "skipped"}


async def test_the_outbox_shows_its_leader_and_lets_a_stuck_row_go(bench: Bench) -> None:
    stuck, other = await bench.create(2)
    await bench.publish((stuck, 1), (stuck, 2), (other, 1))
    assert await outbox.status(bench.database) | {"oldest_age_seconds": 0} == {
        "pending": 3,
        "oldest_age_seconds": 0,
        "topics": {bench.topic: 3},
        "parked": [],
        "leader": None,
    }
    async with bench.database.transaction() as tx:
        first = await tx.scalar(select(func.min(outbox_table.c.id)))
        await tx.execute(update(outbox_table).where(outbox_table.c.id == first).values(parked_reason="too large"))
    bench.start_relay()

    async def other_left() -> dict[str, Any] | None:
        seen = await outbox.status(bench.database)
        return seen if seen["pending"] == 2 else None

    seen = await wait_until(other_left, 30, "the other row to leave")
    assert seen["leader"]["application"] == "orderloop-tally-relay"
    assert [(row["id"], row["key"], row["reason"]) for row in seen["parked"]] == [(first, stuck, "too large")]
    assert seen["oldest_age_seconds"] > 0
    await outbox.retry(bench.database, first, apply=False)
    assert (await outbox.status(bench.database))["pending"] == 2
    await outbox.retry(bench.database, first, apply=True)
    await wait_until(bench.outbox_empty, 30, "the outbox to drain")
    with pytest.raises(NothingSuch):
        await outbox.skip(bench.database, first, apply=True)


async def test_lag_tells_how_much_and_how_old_and_a_stopped_group_reads_again(bench: Bench) -> None:
    cluster, topics = Cluster(bench.kafka), {bench.group: [bench.topic]}
    [counter] = await bench.create(1)
    bench.start_relay()
    await bench.publish((counter, 1), (counter, 2))
    await wait_until(bench.outbox_empty, 30, "the events to be published")
    [lag] = await groups.lags(cluster, topics)
    assert (lag.group, lag.topic, lag.members, lag.lag) == (bench.group, bench.topic, 0, 2)
    assert lag.oldest_age_seconds is not None
    assert 0 <= lag.oldest_age_seconds < 60

    consumer = bench.start_consumer()
    await bench.wait_heard(2)

    async def running_and_done() -> bool:
        [lag] = await groups.lags(cluster, topics)
        return (lag.members, lag.lag, lag.oldest_age_seconds) == (1, 0, None)

    await wait_until(running_and_done, 30, "the group to be done")
    with pytest.raises(OperationError, match="stop its workers first"):
        await groups.rewind(cluster, bench.group, [bench.topic], None, apply=True)
    await consumer.end()

    [planned] = await groups.rewind(cluster, bench.group, [bench.topic], None, apply=False)
    assert (planned.offset, planned.new_offset, planned.events) == (2, 0, 2)
    assert [one.lag for one in await groups.lags(cluster, topics)] == [0]
    assert await groups.rewind(cluster, bench.group, [bench.topic], now() + timedelta(days=1), apply=True) == []
    await groups.rewind(cluster, bench.group, [bench.topic], 0, apply=True)
    assert [one.lag for one in await groups.lags(cluster, topics)] == [2]
    bench.start_consumer()
    await wait_until(running_and_done, 30, "the group to be done again")
    assert [version for _, version in await bench.heard()] == [1, 2]


async def test_topics_that_differ_from_their_declaration_are_listed_and_mended(bench: Bench) -> None:
    consumer = bench.consumer()
    undeclared = bench.topic.replace("tally.", "tally.other-")
    await ensure_topics(bench.kafka, [Topic(undeclared, 1)], [])
    wanted = [Topic(bench.topic, 12, 1000), Topic("tally.missing.v1")]
    found = {(one.topic, one.kind): one for one in await topic_differences(bench.kafka, wanted, [consumer])}
    assert found["tally.missing.v1", "missing"].declared == "6 partitions"
    assert found[bench.topic, "partitions"].actual == "6"
    assert found[bench.topic, "settings"].actual == "retention.ms=-1"
    assert (undeclared, "undeclared") in found
    assert (dead_letter_topic(bench.topic, bench.group), "missing") not in found
    await ensure_topics(bench.kafka, [Topic(bench.topic, 6, 1000)], [consumer])
    left = await topic_differences(bench.kafka, [Topic(bench.topic, 6, 1000)], [consumer])
    assert [one for one in left if one.topic == bench.topic] == []


async def test_a_projection_is_not_rebuilt_from_topics_whose_beginning_is_gone(bench: Bench) -> None:
    [key] = await bench.create(1)
    bench.start_relay()
    await bench.publish((key, 1), (key, 2))
    await wait_until(bench.outbox_empty, 30, "the events to be published")
    async with Cluster(bench.kafka).admin() as admin:
        [first] = {record.partition for record in await bench.records()}
        await admin.delete_records({TopicPartition(bench.topic, first): RecordsToDelete(1)})
    projection = Projection(bench.consumer(), [heard])
    with pytest.raises(OperationError, match="begins at offset 1"):
        await verify(Cluster(bench.kafka), bench.database, projection, lambda _events: None)


async def test_the_inbox_forgets_only_what_kafka_has_deleted(bench: Bench) -> None:
    consumer = bench.consumer()
    at = now()
    ages = [timedelta(days=days) for days in (0, 7, 20, 30)]
    rows = [
        {
            "consumer": group,
            "event_id": uuid.UUID(int=(int((at - age).timestamp() * 1000) << 80) | 7),
            "handled_at": at - age,
        }
        for age in ages
        for group in (bench.group, "tally.other")
    ]
    async with bench.database.transaction() as tx:
        await tx.execute(insert(inbox), rows)

    async def left() -> dict[str, int]:
        query = select(inbox.c.consumer, func.count().label("rows")).group_by(inbox.c.consumer)
        async with bench.database.read() as reader:
            return {row["consumer"]: row["rows"] for row in await reader.all(query)}

    week = 7 * 24 * 3600 * 1000
    for_ever = InboxPruner(bench.database, [consumer], [Topic(bench.topic)])
    assert await for_ever.prune(asyncio.Event()) == 0
    pruner = InboxPruner(bench.database, [consumer], [Topic(bench.topic, retention_ms=week)])
    assert await pruner.prune(asyncio.Event()) == 2
    assert await left() == {bench.group: 2, "tally.other": 4}


async def test_a_broken_law_is_seen_by_the_metric_and_readyz(bench: Bench) -> None:
    broken: list[str] = ["C-1 counts backwards"]

    async def forwards(_reader: Reader) -> list[str]:
        return broken

    async def holds(_reader: Reader) -> list[str]:
        return []

    watch = InvariantWatch(bench.served, {"forwards": forwards, "holds": holds}, asyncio.Event())
    await watch.look()
    assert await watch.check() == (False, "forwards: C-1 counts backwards")
    assert VIOLATIONS.labels("tally", "forwards")._value.get() == 1
    assert VIOLATIONS.labels("tally", "holds")._value.get() == 0
    broken.clear()
    await watch.look()
    assert await watch.check() == (True, "2 laws hold")

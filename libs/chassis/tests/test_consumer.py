"""The consumer runtime: each event's effect once and in order, whatever fails."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from messaging_bench import Bench, per_key
from sqlalchemy import event, func, select, text
from tally.events import Counted, Ignored
from tally.service import on_counted

from chassis.clock import new_id, now
from chassis.db import Tx
from chassis.events import EventMeta
from chassis.messaging import parking
from chassis.messaging.handlers import PermanentError
from chassis.tables import inbox, parked_event
from devkit.testing import wait_until

CUT_POOL = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'orderloop-tally'
"""


def headers(model: type[Counted], key: str, event_id: uuid.UUID | None = None) -> dict[str, bytes]:
    meta = EventMeta(event_id or new_id(), model.TYPE, "test", now(), key, correlation_id=key)
    return {name: value.encode() for name, value in meta.headers().items()}


async def test_events_are_applied_once_in_order_and_committed(bench: Bench) -> None:
    counters = await bench.create(10)
    relay, consumer = bench.start_relay(), bench.start_consumer()
    for version in range(1, 21):
        await bench.publish(*((counter, version) for counter in counters))
    found = await bench.wait_heard(200)
    assert per_key(found) == {counter: list(range(1, 21)) for counter in counters}
    await consumer.end()
    await relay.end()
    again = bench.start_consumer()
    await bench.publish((counters[0], 21))
    bench.start_relay()
    assert (await bench.wait_heard(201))[-1] == (counters[0], 21)
    assert len(await bench.heard()) == 201
    await again.end()


async def test_the_same_event_sent_twice_takes_effect_once(bench: Bench) -> None:
    [counter] = await bench.create(1)
    once, after = new_id(), new_id()
    payload = bench.model(counter_id=uuid.UUID(counter), aggregate_version=1).model_dump_json().encode()
    for event_id in (once, once, after):
        await bench.send_raw(payload, counter.encode(), headers(bench.model, counter, event_id))
    bench.start_consumer()
    assert await bench.wait_heard(2) == [(counter, 1), (counter, 1)]
    async with bench.database.read() as reader:
        assert await reader.scalar(select(func.count()).select_from(inbox)) == 2


async def test_events_nobody_handles_are_passed_over(bench: Bench) -> None:
    [counter] = await bench.create(1)
    await bench.send_raw(b"not even JSON", counter.encode(), headers(Ignored, counter))
    bench.start_relay()
    bench.start_consumer()
    await bench.publish((counter, 1))
    assert await bench.wait_heard(1) == [(counter, 1)]
    assert await bench.dead_letters() == []


class Picky:
    """Refuses version 2 of one counter until it is told to accept it."""

    def __init__(self, refused: str) -> None:
        self.refused: str | None = refused

    async def __call__(self, tx: Tx, happened: Counted, meta: EventMeta) -> None:
        if str(happened.counter_id) == self.refused and happened.aggregate_version == 2:
            raise PermanentError("version 2 makes no sense")
        await on_counted(tx, happened, meta)


async def wait_waiting(bench: Bench, how_many: int) -> None:
    async def waiting() -> bool:
        async with bench.database.read() as reader:
            return bool(await reader.scalar(select(func.count()).select_from(parked_event)) == how_many)

    await wait_until(waiting, 30, f"{how_many} parked events")


async def test_a_poison_event_is_dead_lettered_and_its_key_waits_until_released_in_order(bench: Bench) -> None:
    poisoned, healthy = await bench.create(2)
    handler = Picky(poisoned)
    bench.start_relay()
    bench.start_consumer(handler)
    for version in range(1, 6):
        await bench.publish((poisoned, version), (healthy, version))
    await wait_waiting(bench, 4)
    assert per_key(await bench.wait_heard(6)) == {poisoned: [1], healthy: [1, 2, 3, 4, 5]}

    [letter] = await bench.dead_letters()
    said = {name: value.decode() for name, value in letter.headers}
    assert letter.key.decode() == poisoned
    assert json.loads(letter.value)["aggregate_version"] == 2
    assert said["ce_type"] == "tally.Counted.v1"
    assert said["x-source-topic"] == bench.topic
    assert said["x-group"] == bench.group
    assert said["x-error-class"] == "PermanentError"
    assert said["x-error-message"] == "version 2 makes no sense"
    assert said["x-attempts"] == "1"
    assert {"x-source-partition", "x-source-offset", "x-first-failure", "x-last-failure"} <= said.keys()

    [parked] = await parking.parked(bench.database, bench.group)
    assert (parked.key, parked.waiting) == (poisoned, 4)
    assert "version 2 makes no sense" in parked.reason

    handler.refused = None
    assert await parking.release(bench.database, bench.consumer(handler), bench.topic, poisoned) == 4
    assert per_key(await bench.heard())[poisoned] == [1, 2, 3, 4, 5]
    await bench.publish((poisoned, 6))
    assert (await bench.wait_heard(11))[-1] == (poisoned, 6)
    assert await parking.parked(bench.database, bench.group) == []


async def test_a_skipped_event_is_never_applied_and_the_later_ones_are(bench: Bench) -> None:
    [poisoned] = await bench.create(1)
    handler = Picky(poisoned)
    bench.start_relay()
    bench.start_consumer(handler)
    await bench.publish(*((poisoned, version) for version in range(1, 5)))
    await wait_waiting(bench, 3)
    dropped = await parking.skip(bench.database, bench.group, bench.topic, poisoned)
    assert await parking.release(bench.database, bench.consumer(handler), bench.topic, poisoned) == 2
    assert per_key(await bench.heard())[poisoned] == [1, 3, 4]
    async with bench.database.read() as reader:
        known = await reader.scalar(select(func.count()).where(inbox.c.event_id == uuid.UUID(dropped)))
    assert known == 1


async def test_a_release_that_fails_again_keeps_the_rest_parked(bench: Bench) -> None:
    [poisoned] = await bench.create(1)
    handler = Picky(poisoned)
    bench.start_relay()
    bench.start_consumer(handler)
    await bench.publish(*((poisoned, version) for version in range(1, 4)))
    await wait_waiting(bench, 2)
    with pytest.raises(parking.StillFails, match="version 2 makes no sense"):
        await parking.release(bench.database, bench.consumer(handler), bench.topic, poisoned)
    [parked] = await parking.parked(bench.database, bench.group)
    assert parked.waiting == 2


async def test_records_nobody_can_read_become_dead_letters_with_their_bytes(bench: Bench) -> None:
    [counter] = await bench.create(1)
    broken_payload, no_headers = b'{"counter_id": 7', b"\xff\x00garbage"
    await bench.send_raw(broken_payload, b"other", headers(bench.model, "other"))
    await bench.send_raw(no_headers, b"third", {})
    await bench.send_raw(None, b"fourth", headers(bench.model, "fourth"))
    await bench.send_raw(b"no key", None, headers(bench.model, counter))
    bench.start_relay()
    bench.start_consumer()
    await bench.publish((counter, 1))
    assert await bench.wait_heard(1) == [(counter, 1)]

    async def all_letters() -> list[Any]:
        letters = await bench.dead_letters()
        return letters if len(letters) == 4 else []

    letters = await wait_until(all_letters, 30, "four dead letters")
    assert {letter.value for letter in letters} == {broken_payload, no_headers, None, b"no key"}
    assert {parked.key for parked in await parking.parked(bench.database, bench.group)} == {"other", "third", "fourth"}


async def test_an_unknown_error_is_tried_again_before_it_is_given_up(bench: Bench) -> None:
    lucky, unlucky = await bench.create(2)
    calls: dict[str, int] = {}

    async def flaky(tx: Tx, happened: Counted, meta: EventMeta) -> None:
        key = str(happened.counter_id)
        calls[key] = calls.get(key, 0) + 1
        if key == unlucky or calls[key] < 3:
            raise RuntimeError("a bug, sometimes")
        await on_counted(tx, happened, meta)

    bench.start_relay()
    bench.start_consumer(flaky)
    await bench.publish((lucky, 1), (unlucky, 1))
    await wait_waiting(bench, 1)
    assert await bench.wait_heard(1) == [(lucky, 1)]
    [letter] = await bench.dead_letters()
    assert dict(letter.headers)["x-attempts"] == b"5"


async def test_an_outage_is_waited_out_in_place_and_keeps_order(bench: Bench) -> None:
    counters = await bench.create(3)
    failures = 4

    async def away_at_first(tx: Tx, happened: Counted, meta: EventMeta) -> None:
        nonlocal failures
        if failures > 0:
            failures -= 1
            raise ConnectionRefusedError("the database is away")
        await on_counted(tx, happened, meta)

    bench.start_relay()
    bench.start_consumer(away_at_first)
    for version in range(1, 11):
        await bench.publish(*((counter, version) for counter in counters))
    assert per_key(await bench.wait_heard(30)) == {counter: list(range(1, 11)) for counter in counters}
    assert await bench.dead_letters() == []


async def test_cut_database_connections_under_load_lose_and_double_nothing(bench: Bench) -> None:
    counters = await bench.create(20)
    for version in range(1, 31):
        await bench.publish(*((counter, version) for counter in counters))
    bench.start_relay()
    bench.start_consumer()
    for reached in (50, 200, 400):
        await bench.wait_heard(reached)
        async with bench.database.engine.connect() as connection:
            await connection.execute(text(CUT_POOL))
    assert per_key(await bench.wait_heard(600)) == {counter: list(range(1, 31)) for counter in counters}
    assert len(await bench.heard()) == 600


async def test_members_joining_and_leaving_under_load_lose_and_double_nothing(bench: Bench) -> None:
    counters = await bench.create(30)
    bench.start_relay()
    first = bench.start_consumer()

    async def load() -> None:
        for version in range(1, 41):
            await bench.publish(*((counter, version) for counter in counters))

    loading = asyncio.create_task(load())
    await bench.wait_heard(50)
    second = bench.start_consumer()
    await bench.wait_heard(400)
    await first.end()
    third = bench.start_consumer()
    await bench.wait_heard(800)
    await second.end()
    await loading
    assert per_key(await bench.wait_heard(1200)) == {counter: list(range(1, 41)) for counter in counters}
    await third.end()
    assert len(await bench.heard()) == 1200


async def test_too_many_dead_letters_stop_the_consumer_and_show(bench: Bench) -> None:
    counters = await bench.create(80)

    async def broken(tx: Tx, happened: Counted, meta: EventMeta) -> None:
        raise PermanentError("a broken release refuses everything")

    bench.start_relay()
    consumer = bench.start_consumer(broken)
    await bench.publish(*((counter, 1) for counter in counters))

    async def unready() -> str:
        healthy, detail = await consumer.part.check()
        return "" if healthy else detail

    assert "dead letters" in await wait_until(unready, 60, "the consumer to stop")
    assert len(await bench.dead_letters()) == 50
    await consumer.end()
    bench.start_consumer()
    await bench.wait_heard(30)


async def test_a_chunk_costs_two_statements_beside_its_handlers(bench: Bench) -> None:
    [counter] = await bench.create(1)

    async def nothing(tx: Tx, happened: Counted, meta: EventMeta) -> None:
        pass

    statements: list[str] = []
    event.listen(
        bench.served.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: statements.append(statement),
    )
    await bench.publish(*((counter, version) for version in range(1, 501)))
    relay = bench.start_relay()
    await wait_until(bench.outbox_empty, 20)
    await relay.end()
    bench.start_consumer(nothing)

    async def all_applied() -> bool:
        async with bench.database.read() as reader:
            return bool(await reader.scalar(select(func.count()).select_from(inbox)) == 500)

    await wait_until(all_applied, 20)
    chunks = sum("INSERT INTO inbox" in s for s in statements)
    assert sum("parked_key.key" in s for s in statements) == chunks
    # Chunks grow from ten events to a hundred while they are quick.
    assert chunks <= 25

"""The outbox relay: order, nothing lost, one leader, and rows that can never be sent."""

import asyncio
import json
import random
import uuid
from collections.abc import Sequence

from messaging_bench import Bench, per_key
from sqlalchemy import RowMapping, select, text

from chassis.tables import outbox
from devkit.testing import wait_until

FORBID_DELETE = """
    CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE TRIGGER forbid BEFORE DELETE ON outbox EXECUTE FUNCTION forbid()
"""
CUT_RELAYS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE '%-relay'
"""
LEADERS = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def run_sql(bench: Bench, *statements: str) -> None:
    async with bench.database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def published(bench: Bench) -> list[tuple[str, int]]:
    return [(r.key.decode(), json.loads(r.value)["aggregate_version"]) for r in await bench.records()]


async def test_every_event_arrives_in_order_of_its_counter(bench: Bench) -> None:
    counters = await bench.create(20)
    relay = bench.start_relay()

    async def writer(mine: list[str]) -> None:
        for version in range(1, 26):
            await bench.publish(*((counter, version) for counter in random.sample(mine, len(mine))))

    await asyncio.gather(*(writer(counters[n::4]) for n in range(4)))
    await wait_until(bench.outbox_empty, 30, "the outbox to be relayed")
    await relay.end()
    assert per_key(await published(bench)) == {counter: list(range(1, 26)) for counter in counters}


async def test_an_event_carries_its_cloudevents_attributes_and_plain_payload(bench: Bench) -> None:
    [counter] = await bench.create(1)
    bench.start_relay()
    await bench.publish((counter, 1))
    await wait_until(bench.outbox_empty, 20)
    [record] = await bench.records()
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["ce_type"] == "tally.Counted.v1"
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_source"] == "orderloop/bench"
    assert headers["ce_subject"] == headers["ce_correlationid"] == record.key.decode() == counter
    assert headers["content-type"] == "application/json"
    assert uuid.UUID(headers["ce_id"]).version == 7
    assert json.loads(record.value) == {"counter_id": counter, "aggregate_version": 1, "note": ""}


async def test_a_relay_that_dies_between_acknowledgement_and_delete_loses_and_doubles_no_effect(bench: Bench) -> None:
    counters = await bench.create(5)
    expected = {counter: list(range(1, 11)) for counter in counters}
    await run_sql(bench, *FORBID_DELETE.strip().split(";\n"))
    for version in range(1, 11):
        await bench.publish(*((counter, version) for counter in counters))
    bench.start_relay()

    async def sent_twice() -> bool:
        return len(await published(bench)) >= 100

    await wait_until(sent_twice, 40, "the relay to publish again what it could not delete")
    await run_sql(bench, "DROP TRIGGER forbid ON outbox")
    await wait_until(bench.outbox_empty, 30)
    bench.start_consumer()
    assert per_key(await bench.wait_heard(50)) == expected
    await bench.publish((counters[0], 11))
    last = (await bench.wait_heard(51))[-1]
    assert last == (counters[0], 11)


async def test_a_relay_cut_off_from_its_database_again_and_again_keeps_order_and_loses_nothing(bench: Bench) -> None:
    counters = await bench.create(10)
    bench.start_relay()
    for version in range(1, 41):
        await bench.publish(*((counter, version) for counter in counters))
        if version % 10 == 0:
            await run_sql(bench, CUT_RELAYS)
    await wait_until(bench.outbox_empty, 40)
    found = per_key(await published(bench))
    firsts = {key: list(dict.fromkeys(versions)) for key, versions in found.items()}
    assert firsts == {counter: list(range(1, 41)) for counter in counters}


async def test_of_two_relays_one_leads_and_the_other_takes_over(bench: Bench) -> None:
    [counter] = await bench.create(1)
    first, second = bench.start_relay(), bench.start_relay()

    async def states() -> list[str]:
        return sorted([(await loop.part.check())[1] for loop in (first, second)])

    async def settled() -> bool:
        return await states() == ["leader", "standby"]

    await wait_until(settled, 20)
    async with bench.database.read() as reader:
        assert await reader.scalar(text(LEADERS)) == 1
    leader = first if (await first.part.check())[1] == "leader" else second
    heir = second if leader is first else first
    await bench.publish((counter, 1))
    await wait_until(bench.outbox_empty, 10)
    await leader.end()
    await bench.publish((counter, 2))
    await wait_until(bench.outbox_empty, 10, "the standby to take over")
    assert (await heir.part.check())[1] == "leader"
    assert await published(bench) == [(counter, 1), (counter, 2)]


async def test_a_row_too_large_to_send_is_parked_and_holds_back_only_its_own_key(bench: Bench) -> None:
    stuck, free = await bench.create(2)
    await bench.publish((stuck, 1))
    await bench.publish((stuck, 2), note="x" * 1_200_000)
    await bench.publish((stuck, 3), (free, 1))
    bench.start_relay()

    async def left() -> Sequence[RowMapping]:
        async with bench.database.read() as reader:
            rows = await reader.all(select(outbox.c.parked_reason).order_by(outbox.c.id))
        return rows if len(rows) == 2 else []

    rows = await wait_until(left, 20)
    assert [bool(row["parked_reason"]) for row in rows] == [True, False]
    assert "MessageSizeTooLarge" in rows[0]["parked_reason"]
    assert per_key(await published(bench)) == {stuck: [1], free: [1]}


async def test_a_large_event_goes_through_in_order(bench: Bench) -> None:
    [counter] = await bench.create(1)
    await bench.publish((counter, 1))
    await bench.publish((counter, 2), note="x" * 900_000)
    await bench.publish((counter, 3))
    bench.start_relay()
    await wait_until(bench.outbox_empty, 20)
    assert await published(bench) == [(counter, 1), (counter, 2), (counter, 3)]

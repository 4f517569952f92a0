"""Parts of the chassis that need no server."""

import asyncio
import uuid
from types import SimpleNamespace

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from tally.events import Counted
from tally.service import EVENTS, SERVICE, TOPICS, Topic

from chassis.clock import new_id, now
from chassis.events import EventMeta, MalformedEvent, read_meta
from chassis.messaging.deadletter import DeadLetterCap, DeadLetterCapExceeded
from chassis.messaging.handlers import merge
from chassis.messaging.watchdog import BUSY_SECONDS, STALLED_SECONDS, UNASSIGNED_SECONDS, ConsumerStuck, Watchdog
from chassis.runtime import check_declarations
from chassis.supervision import Supervisor, is_transient
from chassis.waiting import backoff
from devkit.testing import wait_until


def test_the_watchdog_lets_a_consumer_be_that_progresses_or_has_nothing_to_do() -> None:
    watchdog = Watchdog(0)
    assert watchdog.observe(100, assigned=6, lag=0, busy=False, progress={})
    assert watchdog.observe(200, assigned=6, lag=9, busy=False, progress={"p": 1})
    assert watchdog.observe(400, assigned=6, lag=8, busy=False, progress={"p": 2})
    assert not watchdog.observe(400 + STALLED_SECONDS, assigned=6, lag=8, busy=False, progress={"p": 2})


def test_the_watchdog_tells_a_stalled_a_busy_and_a_lost_consumer() -> None:
    stalled = Watchdog(0)
    stalled.observe(0, assigned=6, lag=9, busy=False, progress=1)
    with pytest.raises(ConsumerStuck, match="9 events wait"):
        stalled.observe(STALLED_SECONDS + 1, assigned=6, lag=9, busy=False, progress=1)
    busy = Watchdog(0)
    busy.observe(0, assigned=6, lag=9, busy=True, progress=1)
    assert not busy.observe(STALLED_SECONDS + 1, assigned=6, lag=9, busy=True, progress=1)
    with pytest.raises(ConsumerStuck):
        busy.observe(BUSY_SECONDS + 1, assigned=6, lag=9, busy=True, progress=1)
    with pytest.raises(ConsumerStuck, match="no partition"):
        Watchdog(0).observe(UNASSIGNED_SECONDS + 1, assigned=0, lag=0, busy=False, progress=1)


def test_the_dead_letter_cap_counts_a_sliding_window() -> None:
    at = 0.0
    cap = DeadLetterCap(lambda: at, limit=2, seconds=10)
    cap.admit()
    at = 6.0
    cap.admit()
    with pytest.raises(DeadLetterCapExceeded):
        cap.admit()
    at = 10.0
    cap.admit()
    with pytest.raises(DeadLetterCapExceeded):
        cap.admit()


def test_backoff_grows_and_is_capped() -> None:
    assert 0.075 <= backoff(1) <= 0.125
    assert 0.3 <= backoff(3) <= 0.5
    assert 7.5 <= backoff(60) <= 12.5


async def test_a_failing_loop_is_run_again_and_shows_only_when_it_is_a_bug() -> None:
    stopping = asyncio.Event()
    supervisor = Supervisor(stopping)
    errors: list[BaseException] = [KafkaConnectionError("away"), asyncio.CancelledError(), RuntimeError("a bug")]
    seen: list[list[str]] = []

    async def work() -> None:
        seen.append(supervisor.failed())
        if errors:
            raise errors.pop(0)
        await stopping.wait()

    running = asyncio.create_task(supervisor.run("job", work))
    await wait_until(lambda: len(seen) == 4, 10)
    assert seen == [[], [], ["job: CancelledError: "], ["job: RuntimeError: a bug"]]
    stopping.set()
    await running


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.InterfaceError("connection is closed"),
    ],
)
def test_a_database_that_is_away_is_no_bug_for_who_talks_to_the_driver(error: Exception) -> None:
    assert is_transient(error)
    assert not is_transient(asyncpg.UndefinedTableError("relation does not exist"))


async def test_a_cancelled_loop_ends() -> None:
    supervisor = Supervisor(asyncio.Event())
    running = asyncio.create_task(supervisor.run("job", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_an_envelope_survives_its_headers() -> None:
    meta = EventMeta(
        new_id(), "tally.Counted.v1", "orderloop/tally", now(), "k", "story", causation_id="cause", traceparent="trace"
    )
    assert read_meta(meta.headers()) == meta


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_source", "ce_time", "ce_subject"])
def test_an_envelope_without_a_required_attribute_is_malformed(name: str) -> None:
    headers = EventMeta(new_id(), "t", "s", now(), "k", "k").headers()
    with pytest.raises(MalformedEvent, match=name):
        read_meta({key: value for key, value in headers.items() if key != name})
    with pytest.raises(MalformedEvent):
        read_meta({**headers, "ce_id": "7"})


async def test_merged_handlers_of_one_event_run_in_the_order_given() -> None:
    ran: list[str] = []

    async def first(*_: object) -> None:
        ran.append("first")

    async def second(*_: object) -> None:
        ran.append("second")

    consumer = merge("tally.x", {Counted: first}, {Counted: second})
    happened = Counted(counter_id=uuid.uuid4(), aggregate_version=1)
    await consumer.handlers[Counted](SimpleNamespace(), happened, SimpleNamespace())  # type: ignore[arg-type]
    assert ran == ["first", "second"]
    assert consumer.topics == (Counted.TOPIC,)


def test_a_consumer_of_an_event_nobody_publishes_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="nobody publishes"):
        check_declarations(SERVICE, [Topic("another.topic")], EVENTS)
    with pytest.raises(ValueError, match="nobody publishes"):
        check_declarations(SERVICE, TOPICS, {})
    check_declarations(SERVICE, TOPICS, EVENTS)

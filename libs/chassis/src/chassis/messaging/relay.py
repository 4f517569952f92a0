"""The outbox relay: one leader per database sends committed rows to Kafka in id order and deletes the acknowledged."""

import asyncio
import json
from collections.abc import Iterable, Sequence

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from sqlalchemy import make_url

from chassis.db import Database
from chassis.messaging import metrics
from chassis.messaging.kafka import BATCH_BYTES, OPEN, Security, client_id, make_producer, stop_client
from chassis.waiting import pause

_BATCH_ROWS = 1000
_POLL_SECONDS = 0.05
_STANDBY_SECONDS = 1.0
_MEASURE_SECONDS = 5.0
_ACK_SECONDS = 30.0
_STOP_SECONDS = 1.0
# Session advisory lock of the leader; advisory locks are per database, so every service may use the same number.
LEADER_LOCK = 0x6F7574626F78
_COUNTED_ROWS = 10_000

# A parked row blocks later rows of its key: they must not overtake it.
_SELECT = """
    SELECT id, topic, key, headers, payload FROM outbox AS o
    WHERE parked_reason IS NULL AND NOT EXISTS (
        SELECT FROM outbox AS p
        WHERE p.parked_reason IS NOT NULL AND p.topic = o.topic AND p.key = o.key AND p.id < o.id)
    ORDER BY id LIMIT $1
"""
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
_PARK = "UPDATE outbox SET parked_reason = $2 WHERE id = $1"
_MEASURE = f"""
    SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT {_COUNTED_ROWS}) AS counted) AS pending,
           (SELECT count(*) FROM outbox WHERE parked_reason IS NOT NULL) AS parked,
           (SELECT EXTRACT(epoch FROM clock_timestamp() - created_at)::float8 FROM outbox
            ORDER BY id LIMIT 1) AS age
"""  # noqa: S608
log = structlog.get_logger()


class PublishFailed(KafkaError):  # type: ignore[misc]
    """Kafka did not take some rows; they stay in the outbox."""


class Relay:
    """Relays one database's outbox while this process leads; otherwise stands by to take over.

    The connection that holds the leader lock is the one that reads and deletes, so lost leadership cannot delete.
    A crash between Kafka's acknowledgement and the delete publishes again: consumers know events by their id.
    """

    def __init__(self, database: Database, bootstrap: str, stop: asyncio.Event, security: Security = OPEN) -> None:
        self._database = database
        self._bootstrap = bootstrap
        self._security = security
        self._stop = stop
        self._state = "connecting"
        self._measured_at = 0.0

    async def check(self) -> tuple[bool, str]:
        """Readiness detail."""
        return self._state in ("leader", "standby"), self._state

    async def run(self) -> None:
        """Relay until told to stop; raises when Kafka or the database goes away, to be run again."""
        service = self._database.service
        producer = make_producer(self._bootstrap, client_id(service, "relay"), security=self._security)
        try:
            await producer.start()
            connection = await self._connect()
            try:
                if await self._lead(connection):
                    metrics.RELAY_LEADER.labels(service).set(1)
                    await self._relay(connection, producer)
            finally:
                # Closing the session gives the lock up, also when it is broken.
                connection.terminate()
        except Exception as error:
            self._state = f"{type(error).__name__}: {error}"
            raise
        finally:
            metrics.RELAY_LEADER.labels(service).set(0)
            await stop_client(producer, _STOP_SECONDS)

    async def _connect(self) -> asyncpg.Connection:
        url = make_url(self._database.url).set(drivername="postgresql")
        return await asyncpg.connect(
            url.render_as_string(hide_password=False),
            timeout=3,
            command_timeout=30,
            server_settings={
                "application_name": f"orderloop-{self._database.service}-relay",
                # The server notices a vanished leader's host in about ten seconds and frees the lock.
                "tcp_keepalives_idle": "4",
                "tcp_keepalives_interval": "2",
                "tcp_keepalives_count": "3",
            },
        )

    async def _lead(self, connection: asyncpg.Connection) -> bool:
        """Wait for leadership; False when told to stop first."""
        while not self._stop.is_set():
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", LEADER_LOCK):
                self._state = "leader"
                log.info("relay_leads")
                return True
            self._state = "standby"
            await pause(self._stop, _STANDBY_SECONDS)
        return False

    async def _relay(self, connection: asyncpg.Connection, producer: AIOKafkaProducer) -> None:
        wake = self._database.wake_relay
        while not self._stop.is_set():
            wake.clear()
            rows = await connection.fetch(_SELECT, _BATCH_ROWS)
            if rows:
                await self._publish(connection, producer, rows)
            await self._measure(connection)
            if len(rows) < _BATCH_ROWS:
                await pause(wake, _POLL_SECONDS)

    async def _publish(
        self, connection: asyncpg.Connection, producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record]
    ) -> None:
        """Send rows in order and delete, per key, the acknowledged ones before the first that was not."""
        sent, error = await self._send(connection, producer, rows)
        await self._acknowledged(connection, [future for _, future in sent])
        blocked: set[tuple[str, str]] = set()
        acknowledged: list[int] = []
        for row, future in sent:
            stream = (row["topic"], row["key"])
            failure = future.exception() if future.done() else PublishFailed("no acknowledgement")
            if failure is not None:
                blocked.add(stream)
                if isinstance(failure, MessageSizeTooLargeError) and _is_large(row):
                    await self._park(connection, row, failure)
                else:
                    error = error or failure
            elif stream not in blocked:
                acknowledged.append(row["id"])
        if acknowledged:
            await connection.execute(_DELETE, acknowledged)
            metrics.OUTBOX_PUBLISHED.labels(self._database.service).inc(len(acknowledged))
        if error is not None:
            # A producer that failed a batch has a gap in its sequence numbers; the next run makes a new one.
            raise PublishFailed(f"{type(error).__name__}: {error}") from error

    async def _send(
        self, connection: asyncpg.Connection, producer: AIOKafkaProducer, rows: Iterable[asyncpg.Record]
    ) -> tuple[list[tuple[asyncpg.Record, asyncio.Future[object]]], BaseException | None]:
        """Hand rows to the producer; returns those handed over, and why if Kafka refused others."""
        sent: list[tuple[asyncpg.Record, asyncio.Future[object]]] = []
        waiting: set[tuple[str, str]] = set()
        refused: dict[str, KafkaError] = {}
        for row in rows:
            topic, stream = row["topic"], (row["topic"], row["key"])
            if stream in waiting or topic in refused:
                continue
            try:
                headers = [(name, value.encode()) for name, value in json.loads(row["headers"]).items()]
                future = await producer.send(topic, row["payload"], row["key"].encode(), headers=headers)
            except (MessageSizeTooLargeError, TypeError, ValueError, AttributeError) as error:
                await self._park(connection, row, error)
                waiting.add(stream)
            except KafkaError as error:
                refused[topic] = error
            else:
                sent.append((row, future))
                if _is_large(row):
                    # The broker may refuse it by itself; a later row of its key must not already be on the way.
                    waiting.add(stream)
        return sent, next(iter(refused.values()), None)

    async def _acknowledged(self, connection: asyncpg.Connection, futures: Sequence[asyncio.Future[object]]) -> None:
        """Wait for Kafka; an outage is waited out inside the producer, up to a limit, while we still lead."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _ACK_SECONDS
        pending = set(futures)
        try:
            while pending and loop.time() < deadline:
                _, pending = await asyncio.wait(pending, timeout=_STOP_SECONDS)
                if pending:
                    if self._stop.is_set():
                        return
                    self._state = "waiting for Kafka"
                    await connection.execute("SELECT 1")
            self._state = "leader"
        finally:
            for future in pending:
                future.add_done_callback(_take_exception)

    async def _park(self, connection: asyncpg.Connection, row: asyncpg.Record, error: BaseException) -> None:
        log.error("outbox_row_parked", id=row["id"], topic=row["topic"], key=row["key"], error=str(error))
        await connection.execute(_PARK, row["id"], f"{type(error).__name__}: {error}"[:1000])

    async def _measure(self, connection: asyncpg.Connection) -> None:
        loop_time = asyncio.get_running_loop().time()
        if loop_time - self._measured_at < _MEASURE_SECONDS:
            return
        self._measured_at = loop_time
        row = await connection.fetchrow(_MEASURE)
        service = self._database.service
        metrics.OUTBOX_PENDING.labels(service).set(row["pending"])
        metrics.OUTBOX_PARKED.labels(service).set(row["parked"])
        metrics.OUTBOX_OLDEST_AGE.labels(service).set(row["age"] or 0.0)


def _take_exception(future: asyncio.Future[object]) -> None:
    """Nobody waits for this send any more: its row is still in the outbox."""
    if not future.cancelled():
        future.exception()


def _is_large(row: asyncpg.Record) -> bool:
    return len(row["payload"]) > BATCH_BYTES // 2

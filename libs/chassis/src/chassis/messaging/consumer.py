"""The consumer runtime: one poll loop, one lane per partition, offsets committed after the database."""

import asyncio
import contextlib
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from sqlalchemy import func, select

from chassis.clock import now
from chassis.db import Database, is_unavailable
from chassis.messaging import metrics
from chassis.messaging.deadletter import DeadLetterCap, DeadLetterCapExceeded, DeadLetters
from chassis.messaging.handlers import Consumer
from chassis.messaging.kafka import OPEN, Security, client_id, make_consumer, stop_client
from chassis.messaging.lanes import Lane, drain
from chassis.messaging.retry import Processor
from chassis.messaging.watchdog import Watchdog
from chassis.tables import parked_key
from chassis.waiting import pause

_POLL_MS = 200
# While a partition is paused its lane must be looked at more often than Kafka has news.
_PAUSED_POLL_MS = 10
_COMMIT_SECONDS = 1.0
_COMMIT_TIMEOUT = 5.0
_WATCH_SECONDS = 5.0
# On revoke; well below the time the group waits for a member.
_REVOKE_DRAIN_SECONDS = 5.0
# On stop, within what the process has.
_STOP_DRAIN_SECONDS = 2.0
_STOP_SECONDS = 1.0
log = structlog.get_logger()


class ConsumerRuntime(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs one consumer group's member until `stopping` is set."""

    def __init__(
        self,
        database: Database,
        consumer: Consumer,
        bootstrap: str,
        stopping: asyncio.Event,
        slots: asyncio.Semaphore,
        *,
        security: Security = OPEN,
    ) -> None:
        self.group = consumer.group
        self._database = database
        self._consumer = consumer
        self._bootstrap = bootstrap
        self._security = security
        self._stopping = stopping
        self._slots = asyncio.Semaphore(1) if consumer.serial else slots
        self._cap = DeadLetterCap(asyncio.get_running_loop().time)
        self._lanes: dict[TopicPartition, Lane] = {}
        self._state = "connecting"
        self._halted = False
        self._joined = False
        self._kafka: AIOKafkaConsumer | None = None
        self._processor: Processor | None = None

    async def check(self) -> tuple[bool, str]:
        """Readiness detail: false only when too many dead letters stopped the consumer."""
        return not self._halted, self._state

    async def joined(self) -> tuple[bool, str]:
        """Readiness detail: whether the group has given this member its partitions, if any."""
        return self._joined, "in the group" if self._joined else "joining"

    async def run(self) -> None:
        """Consume until told to stop; raises when Kafka goes away or the consumer is stuck, to be run again."""
        dead_letters = DeadLetters(self._bootstrap, self.group, self._security)
        self._processor = Processor(self._database, self._consumer, dead_letters, self._cap, self._slots)
        name = client_id(self._database.service, "consumer")
        kafka = self._kafka = make_consumer(self._bootstrap, name, self.group, self._security)
        kafka.subscribe(self._consumer.topics, listener=self)
        polling = asyncio.create_task(self._poll(kafka))
        watching = asyncio.create_task(self._watch(kafka))
        told = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({polling, watching, told}, return_when=asyncio.FIRST_COMPLETED)
            if told.done():
                await asyncio.wait({polling}, timeout=_STOP_SECONDS)
            for task in (polling, watching):
                if task.done():
                    task.result()
        except DeadLetterCapExceeded as error:
            self._halted = True
            self._state = f"stopped: {error}"
            log.error("consumer_halted", group=self.group, reason=str(error))
        except Exception as error:
            self._state = f"{type(error).__name__}: {error}"
            raise
        finally:
            await self._close(kafka, dead_letters, polling, watching, told)
        if self._halted:
            await self._stopping.wait()

    async def _poll(self, kafka: AIOKafkaConsumer) -> None:
        # Only this loop fetches and it is never cancelled between fetches: a cancelled getmany leaves aiokafka's
        # idle-time accounting off for ever.
        await kafka.start()
        self._state = "running"
        log.info("consumer_started", group=self.group, topics=self._consumer.topics)
        loop = asyncio.get_running_loop()
        commit_at = loop.time() + _COMMIT_SECONDS
        while not self._stopping.is_set():
            paused = any(lane.paused for lane in self._lanes.values())
            fetched = await kafka.getmany(timeout_ms=_PAUSED_POLL_MS if paused else _POLL_MS)
            for partition, records in fetched.items():
                self._lane(partition, records[0].offset).offer(records)
            self._balance(kafka)
            if loop.time() >= commit_at:
                await self._commit(kafka, self._lanes.values())
                commit_at = loop.time() + _COMMIT_SECONDS

    def _lane(self, partition: TopicPartition, first_offset: int) -> Lane:
        lane = self._lanes.get(partition)
        if lane is None:
            assert self._processor is not None  # noqa: S101
            lane = self._lanes[partition] = Lane(partition, first_offset, self._processor)
        return lane

    def _balance(self, kafka: AIOKafkaConsumer) -> None:
        """Pause full lanes, resume those with room, and let a failed lane fail the consumer."""
        for partition, lane in self._lanes.items():
            if lane.task.done():
                lane.task.result()
            if lane.is_full and not lane.paused:
                kafka.pause(partition)
                lane.paused = True
            elif lane.paused and lane.has_room:
                kafka.resume(partition)
                lane.paused = False

    async def _commit(self, kafka: AIOKafkaConsumer, lanes: Iterable[Lane]) -> None:
        due = {lane: lane.next_offset for lane in lanes if lane.next_offset != lane.committed}
        if not due:
            return
        offsets = {lane.partition: OffsetAndMetadata(offset, "") for lane, offset in due.items()}
        try:
            await asyncio.wait_for(kafka.commit(offsets), _COMMIT_TIMEOUT)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions have another owner; it applies again what was not committed, and the inbox knows it.
            log.info("commit_after_loss", group=self.group, error=str(error))
        except (KafkaError, TimeoutError) as error:
            log.warning("commit_failed", group=self.group, error=repr(error))
        else:
            for lane, offset in due.items():
                lane.committed = offset

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the chunks being applied and commit, before another member takes over."""
        lanes = [lane for partition in revoked if (lane := self._lanes.pop(partition, None))]
        await drain(lanes, _REVOKE_DRAIN_SECONDS)
        if self._kafka is not None:
            await self._commit(self._kafka, lanes)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Lanes open with their partition's first records."""
        self._joined = True
        log.info("partitions_assigned", group=self.group, partitions=len(list(assigned)))

    async def _watch(self, kafka: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        watchdog = Watchdog(loop.time())
        while not await pause(self._stopping, _WATCH_SECONDS):
            parked = await self._count_parked()
            assigned = kafka.assignment()
            lags = await self._lags(kafka, assigned)
            if lags is None:
                continue
            for topic in self._consumer.topics:
                lag = sum(lag for partition, lag in lags.items() if partition.topic == topic)
                metrics.CONSUMER_LAG.labels(self.group, topic).set(lag)
            busy = any(not lane.is_idle for lane in self._lanes.values())
            progress = {partition: lane.next_offset for partition, lane in self._lanes.items()}
            if watchdog.observe(loop.time(), len(assigned), sum(lags.values()), busy, progress):
                metrics.LAST_PROGRESS.labels(self.group).set(now().timestamp())
            self._state = f"{len(assigned)} partitions, {sum(lags.values())} events behind"
            if parked:
                self._state += f", {parked} parked keys wait for an operator"

    async def _lags(
        self, kafka: AIOKafkaConsumer, assigned: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int] | None:
        """Events not yet applied by partition; None when Kafka does not say."""
        lags = {}
        try:
            ends = await asyncio.wait_for(kafka.end_offsets(assigned), _COMMIT_TIMEOUT)
            for partition, end in ends.items():
                if lane := self._lanes.get(partition):
                    done = lane.next_offset
                else:
                    done = await asyncio.wait_for(kafka.position(partition), _COMMIT_TIMEOUT)
                lags[partition] = end - done
        except (KafkaError, TimeoutError) as error:
            log.warning("lag_unknown", group=self.group, error=repr(error))
            return None
        return lags

    async def _count_parked(self) -> int:
        """Aggregates whose events wait; 0 when the database does not say."""
        count = select(func.count()).select_from(parked_key).where(parked_key.c.consumer == self.group)
        try:
            async with self._database.read() as reader:
                parked = int(await reader.scalar(count))
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("parked_keys_unknown", group=self.group, error=repr(error))
            return 0
        metrics.PARKED_KEYS.labels(self.group).set(parked)
        return parked

    async def _close(self, kafka: AIOKafkaConsumer, dead_letters: DeadLetters, *tasks: asyncio.Task[object]) -> None:
        """Stop fetching, finish the chunks being applied, commit, leave the group."""
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        lanes = list(self._lanes.values())
        self._lanes.clear()
        await drain(lanes, _STOP_DRAIN_SECONDS)
        with contextlib.suppress(asyncio.CancelledError):
            await self._commit(kafka, lanes)
        self._kafka = None
        self._joined = False
        await stop_client(kafka, _STOP_SECONDS)
        await dead_letters.stop()

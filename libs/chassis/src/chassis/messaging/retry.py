"""What happens to a chunk of events: applied in one transaction, or one by one when one of them fails.

An outside part being away is waited out in place. A permanent error, or an unknown one after several attempts, makes a
dead letter and parks the key; only then does the consumer move on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import structlog
from aiokafka import ConsumerRecord

from chassis.clock import now
from chassis.db import Database, Tx, is_conflict, is_lock_timeout, is_unstorable
from chassis.events import MalformedEvent
from chassis.messaging import inbox, metrics, parking
from chassis.messaging.deadletter import DeadLetterCap, DeadLetters, Failure
from chassis.messaging.handlers import Consumer, PermanentError
from chassis.messaging.records import Received, receive
from chassis.supervision import is_transient
from chassis.waiting import backoff, pause

ATTEMPTS = 5
_PERMANENT = (PermanentError, MalformedEvent)
log = structlog.get_logger()
T = TypeVar("T")


class Interrupted(Exception):
    """Told to stop while waiting to try again; nothing of the chunk's rest was applied."""


class Processor:
    """Applies one consumer's records under its error policy."""

    def __init__(
        self,
        database: Database,
        consumer: Consumer,
        dead_letters: DeadLetters,
        cap: DeadLetterCap,
        slots: asyncio.Semaphore,
    ) -> None:
        self._database = database
        self._consumer = consumer
        self._dead_letters = dead_letters
        self._cap = cap
        # Lanes of all consumers share the connections the pool can spare.
        self._slots = slots
        self._types = {model.TYPE: model for model in consumer.handlers}

    async def process(self, records: Sequence[ConsumerRecord], stop: asyncio.Event) -> None:
        """Apply records of one partition, in order.

        Raises Interrupted when `stop` is set while an outside part is away, DeadLetterCapExceeded when too much fails.
        """
        received = [one for one in (receive(record, self._types) for record in records) if one is not None]
        self._count("skipped", len(records) - len(received))
        if not received:
            return
        if await self._apply_together(received, stop):
            return
        for one in received:
            await self._apply_one(one, stop)

    async def _apply_together(self, received: Sequence[Received], stop: asyncio.Event) -> bool:
        """Apply in one transaction; False when an event fails or the transaction is in conflict with another."""
        try:
            await self._persist(lambda: self._apply(received), stop, conflicts=False)
        except Interrupted:
            raise
        except Exception as error:
            log.info("chunk_one_by_one", group=self._consumer.group, events=len(received), error=repr(error)[:300])
            return False
        return True

    async def _apply_one(self, one: Received, stop: asyncio.Event) -> None:
        first_at: datetime | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._persist(lambda: self._apply([one]), stop)
            except Interrupted:
                raise
            except Exception as error:
                first_at = first_at or now()
                failure = Failure(error, attempt, first_at, now())
            else:
                return
            metrics.EVENT_RETRIES.labels(self._consumer.group, "false").inc()
            if attempt == ATTEMPTS or isinstance(failure.error, _PERMANENT) or is_unstorable(failure.error):
                break
            if await pause(stop, backoff(attempt)):
                raise Interrupted from failure.error
        await self._bury(one, failure, stop)

    async def _apply(self, received: Sequence[Received]) -> None:
        """One transaction: events of parked keys are kept, the others applied."""

        async def work(tx: Tx) -> tuple[int, int]:
            keys = {one.key for one in received if one.key is not None}
            topic = received[0].record.topic
            parked = await parking.parked_among(tx, self._consumer.group, topic, keys)
            waiting = [one for one in received if one.key in parked]
            await parking.keep(tx, self._consumer.group, waiting)
            deliveries = []
            for one in received:
                if one.key in parked:
                    continue
                if one.delivery is None:
                    raise one.problem or AssertionError("neither readable nor broken")
                deliveries.append(one.delivery)
            applied = await inbox.apply(tx, self._consumer, deliveries)
            return applied, len(waiting)

        async with self._slots, self._database.transaction() as tx:
            applied, waiting = await work(tx)
        at = now()
        age = metrics.EVENT_AGE.labels(self._consumer.group)
        for one in received:
            if one.delivery:
                age.observe(max(0.0, (at - one.delivery.meta.time).total_seconds()))
        self._count("applied", applied)
        self._count("parked", waiting)
        self._count("duplicate", len(received) - applied - waiting)

    async def _bury(self, one: Received, failure: Failure, stop: asyncio.Event) -> None:
        """Dead-letter an event, then park its key with it as the first event that waits."""
        self._cap.admit()
        group, topic, key = self._consumer.group, one.record.topic, one.key
        log.error(
            "dead_letter",
            group=group,
            topic=topic,
            partition=one.record.partition,
            offset=one.record.offset,
            key=key,
            event_id=one.event_id,
            attempts=failure.attempts,
            exc_info=failure.error,
        )
        await self._persist(lambda: self._dead_letters.send(one.record, failure), stop)
        if key is None:
            return

        async def park() -> None:
            async with self._slots, self._database.transaction() as tx:
                await parking.park(tx, group, topic, key, failure.reason)
                await parking.keep(tx, group, [one])

        await self._persist(park, stop)

    async def _persist(self, work: Callable[[], Awaitable[T]], stop: asyncio.Event, conflicts: bool = True) -> T:
        """Run `work`, again with capped backoff while an outside part is away or, if asked, in conflict."""
        attempt = 0
        while True:
            try:
                return await work()
            except Exception as error:
                if not is_transient(error) or (is_conflict(error) and not conflicts):
                    raise
                attempt += 1
                metrics.EVENT_RETRIES.labels(self._consumer.group, "true").inc()
                if attempt > 1 or not is_conflict(error):
                    log.warning("event_retry", group=self._consumer.group, attempt=attempt, error=repr(error)[:300])
                # Who waited for a lock has waited; backing off further would starve it behind callers that do not.
                if await pause(stop, backoff(1 if is_lock_timeout(error) else attempt)):
                    raise Interrupted from error

    def _count(self, outcome: str, events: int) -> None:
        if events:
            metrics.EVENTS_HANDLED.labels(self._consumer.group, outcome).inc(events)

"""Dead letters: the record as it was, plus why it was given up, and a cap on how many there may be."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaProducer, ConsumerRecord

from chassis.messaging import metrics
from chassis.messaging.kafka import DEAD_LETTER_BYTES, OPEN, Security, client_id, make_producer, stop_client
from chassis.messaging.provisioner import dead_letter_topic

_MESSAGE_LENGTH = 1000
_SEND_SECONDS = 20.0
_STOP_SECONDS = 1.0
CAP, CAP_SECONDS = 50, 60.0


class DeadLetterCapExceeded(Exception):
    """Too many events fail: a broken consumer must stop instead of draining its topics into dead letters."""


@dataclass(frozen=True)
class Failure:
    """Why an event was given up."""

    error: BaseException
    attempts: int
    first_at: datetime
    last_at: datetime

    @property
    def reason(self) -> str:
        """One line for people."""
        return f"{type(self.error).__name__}: {self.error}".replace("\x00", r"\x00")[:_MESSAGE_LENGTH]


class DeadLetterCap:
    """Counts dead letters of a consumer over a sliding window; raises DeadLetterCapExceeded above the cap."""

    def __init__(self, clock: Callable[[], float], limit: int = CAP, seconds: float = CAP_SECONDS) -> None:
        self._clock = clock
        self._limit = limit
        self._seconds = seconds
        self._times: deque[float] = deque()

    def admit(self) -> None:
        """Count one more."""
        at = self._clock()
        while self._times and self._times[0] <= at - self._seconds:
            self._times.popleft()
        if len(self._times) >= self._limit:
            raise DeadLetterCapExceeded(f"more than {self._limit} dead letters in {self._seconds:g} s")
        self._times.append(at)


class DeadLetters:
    """Sends a consumer group's dead letters; its producer starts with the first."""

    def __init__(self, bootstrap: str, group: str, security: Security = OPEN) -> None:
        self._bootstrap = bootstrap
        self._security = security
        self._group = group
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, record: ConsumerRecord, failure: Failure) -> None:
        """Returns once Kafka has acknowledged it; raises KafkaError or TimeoutError, to be tried again."""
        topic = dead_letter_topic(record.topic, self._group)
        headers = [*record.headers, *((name, value.encode()) for name, value in self._why(record, failure).items())]
        async with self._lock:
            if self._producer is None:
                self._producer = await self._start()
            try:
                # aiokafka refuses a record with neither key nor value, which other producers may send.
                value = b"" if record.key is None and record.value is None else record.value
                sending = self._producer.send_and_wait(topic, value, record.key, headers=headers)
                await asyncio.wait_for(sending, _SEND_SECONDS)
            except BaseException:
                await self._stop()
                raise
        metrics.DEAD_LETTERS.labels(self._group, record.topic).inc()

    async def stop(self) -> None:
        """Stop the producer."""
        async with self._lock:
            await self._stop()

    def _why(self, record: ConsumerRecord, failure: Failure) -> dict[str, str]:
        return {
            "x-source-topic": record.topic,
            "x-source-partition": str(record.partition),
            "x-source-offset": str(record.offset),
            "x-group": self._group,
            "x-error-class": type(failure.error).__name__,
            "x-error-message": str(failure.error)[:_MESSAGE_LENGTH],
            "x-attempts": str(failure.attempts),
            "x-first-failure": failure.first_at.isoformat(),
            "x-last-failure": failure.last_at.isoformat(),
        }

    async def _start(self) -> AIOKafkaProducer:
        name = client_id(self._group, "dead-letters")
        producer = make_producer(self._bootstrap, name, DEAD_LETTER_BYTES, self._security)
        try:
            await producer.start()
        except BaseException:
            await stop_client(producer, _STOP_SECONDS)
            raise
        return producer

    async def _stop(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await stop_client(producer, _STOP_SECONDS)

"""Reading topics from a chosen place to their present end, without a group and without leaving a trace."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from chassis.messaging.kafka import OPEN, Security, client_id, stop_client

_POLL_MS = 500
_STOP_SECONDS = 5.0
_SILENCE_SECONDS = 30.0
_REQUEST_TIMEOUT_MS = 10_000


@dataclass(frozen=True)
class Cluster:
    """Where Kafka is and how to prove who we are."""

    bootstrap: str
    security: Security = OPEN

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A started admin client; raises KafkaError when Kafka is away."""
        client = AIOKafkaAdminClient(
            bootstrap_servers=self.bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS, **self.security.options()
        )
        try:
            await client.start()
            yield client
        finally:
            await client.close()

    async def partitions(self, topics: Collection[str]) -> list[TopicPartition]:
        """Every partition of those of the topics that exist."""
        async with self.admin() as admin:
            described = await admin.describe_topics()
        return sorted(
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            if topic["topic"] in topics
            for partition in topic["partitions"]
        )


class TopicReader:
    """Reads partitions in order, each from `start` (the oldest record at first) to what is its end when asked."""

    def __init__(self, kafka: AIOKafkaConsumer, beginnings: Mapping[TopicPartition, int]) -> None:
        self.kafka = kafka
        self.beginnings = beginnings
        self._next = dict(beginnings)

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Cluster, topics: Collection[str]) -> AsyncIterator["TopicReader"]:
        """A reader of all partitions of those of the topics that exist; raises KafkaError when Kafka is away."""
        partitions = await cluster.partitions(topics)
        kafka = AIOKafkaConsumer(
            bootstrap_servers=cluster.bootstrap,
            client_id=client_id("operations", "reader"),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **cluster.security.options(),
        )
        kafka.assign(partitions)
        try:
            await kafka.start()
            yield cls(kafka, await kafka.beginning_offsets(partitions))
        finally:
            await stop_client(kafka, _STOP_SECONDS)

    async def start_at(self, moment: datetime) -> None:
        """Begin with what was written at this time or later."""
        self._next.update(await self.offsets_at(moment))

    async def offsets_at(self, moment: datetime) -> dict[TopicPartition, int]:
        """Of each partition, the first offset written at this time or later; its end when there is none yet."""
        found = await self.kafka.offsets_for_times(dict.fromkeys(self.beginnings, int(moment.timestamp() * 1000)))
        ends = await self.kafka.end_offsets(list(self.beginnings))
        return {partition: at.offset if at else ends[partition] for partition, at in found.items()}

    def start_at_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Begin partitions at these offsets."""
        self._next.update(offsets)

    async def to_end(self) -> AsyncIterator[list[ConsumerRecord]]:
        """Records up to what the ends are now, in the order of each partition, batch by batch.

        Raises KafkaError when Kafka goes away meanwhile.
        """
        ends = await self.kafka.end_offsets(list(self._next))
        left = {partition for partition, end in ends.items() if self._next[partition] < end}
        self.kafka.pause(*(self._next.keys() - left))
        self.kafka.resume(*left)
        for partition in left:
            self.kafka.seek(partition, self._next[partition])
        loop = asyncio.get_running_loop()
        arrived_at = loop.time()
        while left:
            fetched = await self.kafka.getmany(*left, timeout_ms=_POLL_MS)
            if fetched:
                arrived_at = loop.time()
            elif loop.time() - arrived_at > _SILENCE_SECONDS:
                raise KafkaConnectionError(f"nothing arrives although {len(left)} partitions have more")
            for partition, records in fetched.items():
                self._next[partition] = records[-1].offset + 1
                yield [record for record in records if record.offset < ends[partition]]
                # A record beyond the end we set out for is read again next time.
                self._next[partition] = min(self._next[partition], ends[partition])
            done = {partition for partition in left if self._next[partition] >= ends[partition]}
            self.kafka.pause(*done)
            left -= done

    async def first_of(self, offsets: Mapping[TopicPartition, int], seconds: float) -> list[ConsumerRecord]:
        """The record at each of these offsets, as far as it arrives in time."""
        self.kafka.pause(*(self._next.keys() - offsets.keys()))
        self.kafka.resume(*offsets)
        for partition, offset in offsets.items():
            self.kafka.seek(partition, offset)
        found: dict[TopicPartition, ConsumerRecord] = {}
        deadline = asyncio.get_running_loop().time() + seconds
        while len(found) < len(offsets) and asyncio.get_running_loop().time() < deadline:
            for partition, records in (await self.kafka.getmany(timeout_ms=_POLL_MS)).items():
                found.setdefault(partition, records[0])
                self.kafka.pause(partition)
        return list(found.values())


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """A record's headers as text; bytes that are not UTF-8 are escaped."""
    pairs: Iterable[tuple[str, bytes]] = record.headers
    return {name: value.decode(errors="backslashreplace") for name, value in pairs}

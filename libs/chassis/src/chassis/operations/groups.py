"""Consumer groups: how far each is behind, and setting one back to read again."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError

from chassis.clock import now
from chassis.events import MalformedEvent, read_meta
from chassis.messaging.kafka import client_id, stop_client
from chassis.operations.errors import OperationError
from chassis.operations.reading import Cluster, TopicReader, headers_of

_AGE_SECONDS = 5.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Lag:
    """How far a group is behind on a topic: events not applied yet, and the age of the oldest of them."""

    group: str
    topic: str
    members: int
    lag: int
    oldest_age_seconds: float | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rewind:
    """Where a group's partition is (none when it never committed) and where it would be set."""

    topic: str
    partition: int
    offset: int | None
    new_offset: int
    # Events it would read (again).
    events: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


async def lags(cluster: Cluster, groups: Mapping[str, Collection[str]]) -> list[Lag]:
    """The lag of each group on each of its topics; raises KafkaError when Kafka is away."""
    async with cluster.admin() as admin:
        members = {group: await _members(admin, group) for group in groups}
        committed = {group: await _committed(admin, group) for group in groups}
    every = {topic for topics in groups.values() for topic in topics}
    async with TopicReader.open(cluster, every) as reader:
        ends = await reader.kafka.end_offsets(list(reader.beginnings))
        behind = {
            group: {
                partition: done
                for partition, beginning in reader.beginnings.items()
                if partition.topic in topics
                and (done := max(beginning, committed[group].get(partition, beginning))) < ends[partition]
            }
            for group, topics in groups.items()
        }
        found = []
        for group, topics in groups.items():
            ages = await _ages(reader, behind[group])
            for topic in sorted(topics):
                lag = sum(ends[p] - done for p, done in behind[group].items() if p.topic == topic)
                found.append(Lag(group, topic, members[group], lag, max(ages[topic], default=None)))
    return found


async def _ages(reader: TopicReader, behind: Mapping[TopicPartition, int]) -> dict[str, list[float]]:
    """Seconds since the first unapplied event of each partition happened, by topic."""
    ages: dict[str, list[float]] = defaultdict(list)
    for record in await reader.first_of(behind, _AGE_SECONDS) if behind else ():
        try:
            happened = read_meta(headers_of(record)).time.timestamp()
        except MalformedEvent:
            happened = record.timestamp / 1000
        ages[record.topic].append(round(max(0.0, now().timestamp() - happened), 3))
    return ages


async def rewind(
    cluster: Cluster, group: str, topics: Collection[str], start: datetime | int | None, apply: bool
) -> list[Rewind]:
    """Set a stopped group to a moment, an offset, or (None) the beginning; or only say what that would do.

    Raises OperationError when the group has members, as Kafka takes no offsets for a running group.
    """
    async with cluster.admin() as admin:
        if members := await _members(admin, group):
            raise OperationError(
                f"group {group} has {members} members: stop its workers first (Kafka takes no offsets for a running "
                "group), replay, and start them again"
            )
        committed = await _committed(admin, group)
    async with TopicReader.open(cluster, topics) as reader:
        ends = await reader.kafka.end_offsets(list(reader.beginnings))
        wanted = await _wanted(reader, ends, start)
    plan = [
        Rewind(p.topic, p.partition, committed.get(p), wanted[p], ends[p] - wanted[p])
        for p in sorted(wanted)
        if committed.get(p, reader.beginnings[p]) != wanted[p]
    ]
    if apply and plan:
        await _commit(cluster, group, {TopicPartition(one.topic, one.partition): one.new_offset for one in plan})
    return plan


async def _wanted(
    reader: TopicReader, ends: Mapping[TopicPartition, int], start: datetime | int | None
) -> dict[TopicPartition, int]:
    if isinstance(start, int):
        return {p: min(max(start, beginning), ends[p]) for p, beginning in reader.beginnings.items()}
    if start is None:
        return dict(reader.beginnings)
    return {p: min(offset, ends[p]) for p, offset in (await reader.offsets_at(start)).items()}


async def _commit(cluster: Cluster, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    kafka = AIOKafkaConsumer(
        bootstrap_servers=cluster.bootstrap,
        client_id=client_id("operations", "replay"),
        group_id=group,
        enable_auto_commit=False,
        **cluster.security.options(),
    )
    kafka.assign(list(offsets))
    try:
        await kafka.start()
        await kafka.commit({partition: OffsetAndMetadata(offset, "") for partition, offset in offsets.items()})
    except CommitFailedError as error:
        raise OperationError(f"group {group} was started meanwhile; nothing changed") from error
    finally:
        await stop_client(kafka, _STOP_SECONDS)


async def _members(admin: AIOKafkaAdminClient, group: str) -> int:
    [answer] = await admin.describe_consumer_groups([group])
    return sum(len(described[5]) for described in answer.groups)


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    offsets = await admin.list_consumer_group_offsets(group)
    return {partition: place.offset for partition, place in offsets.items() if place.offset >= 0}

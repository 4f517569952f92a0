"""Reading Kafka for a history: records of topics, dead letters, committed offsets. Leaves no trace in Kafka."""

import hashlib
import json
from collections.abc import Collection, Iterable
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chassis.messaging.provisioner import dead_letter_topic
from history.model import CommittedOffset, DeadLetter, Group, Record

_POLL_MS = 500


async def read_records(
    bootstrap: str, topics: Collection[str], keep_payloads: Collection[str] = (), read: int = 1
) -> list[Record]:
    """Everything on the topics now; `keep_payloads` are the event types whose JSON is kept."""
    return [_record(raw, keep_payloads, read) for raw in await _read(bootstrap, topics)]


async def read_dead_letters(bootstrap: str, groups: Iterable[Group]) -> list[DeadLetter]:
    """What the groups gave up, each record once however often it was given up."""
    by_topic = {dead_letter_topic(topic, group.group): group.group for group in groups for topic in group.topics}
    found: dict[DeadLetter, None] = {}
    for raw in await _read(bootstrap, by_topic):
        headers = _headers(raw)
        place = headers["x-source-topic"], int(headers["x-source-partition"]), int(headers["x-source-offset"])
        found[DeadLetter(by_topic[raw.topic], *place, headers.get("ce_id", ""))] = None
    return list(found)


async def read_offsets(bootstrap: str, groups: Iterable[Group]) -> list[CommittedOffset]:
    """What the groups have committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return [
            CommittedOffset(group.group, partition.topic, partition.partition, committed.offset)
            for group in groups
            for partition, committed in (await admin.list_consumer_group_offsets(group.group)).items()
        ]
    finally:
        await admin.close()


async def _read(bootstrap: str, topics: Collection[str]) -> list[ConsumerRecord]:
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await reader.start()
        existing = await reader._client.fetch_all_metadata()
        partitions = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in existing.partitions_for_topic(topic) or ()
        ]
        if not partitions:
            return []
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        left = {partition for partition, end in ends.items() if end > 0}
        found: list[ConsumerRecord] = []
        while left:
            for partition, records in (await reader.getmany(timeout_ms=_POLL_MS)).items():
                found += [record for record in records if record.offset < ends[partition]]
            left = {partition for partition in left if await reader.position(partition) < ends[partition]}
        return found
    finally:
        await reader.stop()


def _record(raw: ConsumerRecord, keep_payloads: Collection[str], read: int) -> Record:
    headers = _headers(raw)
    event_type = headers.get("ce_type", "")
    time = headers.get("ce_time")
    return Record(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        key=raw.key.decode(errors="backslashreplace") if raw.key is not None else None,
        event_id=headers.get("ce_id", ""),
        type=event_type,
        causation_id=headers.get("ce_causationid"),
        correlation_id=headers.get("ce_correlationid"),
        time=_time(time),
        aggregate_version=_version(raw.value),
        timestamp=raw.timestamp,
        digest=_digest(raw),
        payload=(raw.value or b"").decode(errors="replace") if event_type in keep_payloads else None,
        read=read,
    )


def _headers(raw: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode(errors="backslashreplace") for name, value in raw.headers}


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _version(value: bytes | None) -> int | None:
    try:
        version = json.loads(value or b"")["aggregate_version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None


def _digest(raw: ConsumerRecord) -> str:
    whole = repr((raw.key, raw.value, list(raw.headers))).encode()
    return hashlib.blake2b(whole, digest_size=16).hexdigest()

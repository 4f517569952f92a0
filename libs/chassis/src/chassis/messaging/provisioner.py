"""Topics as declared: missing ones are created, retention is set, a partition count is never changed silently."""

from collections.abc import Collection, Iterable
from typing import Protocol

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from chassis.messaging.handlers import Consumer
from chassis.messaging.kafka import DEAD_LETTER_BYTES, MESSAGE_BYTES, OPEN, Security

# Copies of each partition where there are as many brokers.
_REPLICAS = 3
_DEAD_LETTER_PARTITIONS = 1
_REQUEST_TIMEOUT_MS = 10_000
log = structlog.get_logger()


class Topic(Protocol):
    """A declared topic."""

    @property
    def name(self) -> str:
        """Topic name."""

    @property
    def partitions(self) -> int:
        """Number of partitions; fixed for life, because a change would map keys to other partitions."""

    @property
    def retention_ms(self) -> int:
        """How long events are kept, in milliseconds; -1 is for ever."""


def dead_letter_topic(topic: str, group: str) -> str:
    """Where a consumer group's dead letters of a topic go."""
    return f"{topic}.{group}.dlt"


async def ensure_topics(
    bootstrap: str, topics: Collection[Topic], consumers: Iterable[Consumer], security: Security = OPEN
) -> list[str]:
    """Create what is missing of the topics and the consumers' dead-letter topics; returns the names created.

    Raises KafkaError when Kafka is away or refuses.
    """
    dead_letters = {dead_letter_topic(topic, c.group) for c in consumers for topic in c.topics}
    wanted = {
        **{topic.name: (topic.partitions, _settings(topic.retention_ms)) for topic in topics},
        **{name: (_DEAD_LETTER_PARTITIONS, _settings(-1, DEAD_LETTER_BYTES)) for name in dead_letters},
    }
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS, **security.options()
    )
    try:
        await admin.start()
        described = await admin.describe_topics()
        existing = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
        created = await _create(admin, {n: wanted[n] for n in wanted if n not in existing})
        for name in wanted.keys() & existing.keys():
            if existing[name] != wanted[name][0]:
                log.error("topic_partitions_differ", topic=name, declared=wanted[name][0], actual=existing[name])
        await _align(admin, {n: wanted[n][1] for n in sorted(wanted.keys() & existing.keys())})
    finally:
        await admin.close()
    return created


def _settings(retention_ms: int, message_bytes: int = MESSAGE_BYTES) -> dict[str, str]:
    return {"retention.ms": str(retention_ms), "cleanup.policy": "delete", "max.message.bytes": str(message_bytes)}


async def _create(admin: AIOKafkaAdminClient, missing: dict[str, tuple[int, dict[str, str]]]) -> list[str]:
    if not missing:
        return []
    brokers = len((await admin.describe_cluster())["brokers"])
    made = [
        NewTopic(
            name,
            num_partitions=partitions,
            replication_factor=min(_REPLICAS, brokers),
            topic_configs=settings,
        )
        for name, (partitions, settings) in sorted(missing.items())
    ]
    answer = await admin.create_topics(made)
    for name, code, message in answer.topic_errors:
        # Another process may create the same topic at the same time.
        if for_code(code) is not TopicAlreadyExistsError:
            _raise_for(code, f"topic {name}: {message}")
    return sorted(missing)


async def _align(admin: AIOKafkaAdminClient, wanted: dict[str, dict[str, str]]) -> None:
    """Set the settings of topics that differ from what is declared."""
    if not wanted:
        return
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, settings) for name, settings in wanted.items()]
    drifted = []
    for answer in await admin.describe_configs(asked):
        for code, message, _kind, name, entries in answer.resources:
            _raise_for(code, f"settings of topic {name}: {message}")
            if {entry[0]: entry[1] for entry in entries} != wanted[name]:
                drifted.append(ConfigResource(ConfigResourceType.TOPIC, name, wanted[name]))
    if not drifted:
        return
    for answer in await admin.alter_configs(drifted):
        for code, message, _kind, name in answer.resources:
            _raise_for(code, f"settings of topic {name}: {message}")
    log.info("topic_settings_changed", topics=sorted(resource.name for resource in drifted))


def _raise_for(code: int, message: str) -> None:
    if code:
        raise for_code(code)(message)

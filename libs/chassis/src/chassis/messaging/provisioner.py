"""Topics as declared: missing ones are created, retention is set, a partition count is never changed silently."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

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


@dataclass(frozen=True)
class Difference:
    """Where a topic is not as declared: `missing`, its `partitions`, its `settings`, or nobody declares it."""

    topic: str
    kind: Literal["missing", "partitions", "settings", "undeclared"]
    declared: str | None = None
    actual: str | None = None


async def ensure_topics(
    bootstrap: str, topics: Collection[Topic], consumers: Iterable[Consumer], security: Security = OPEN
) -> list[str]:
    """Create what is missing of the topics and the consumers' dead-letter topics; returns the names created.

    Raises KafkaError when Kafka is away or refuses.
    """
    wanted = _wanted(topics, consumers)
    async with _admin(bootstrap, security) as admin:
        found = await _differences(admin, wanted)
        by_kind = {kind: sorted(one.topic for one in found if one.kind == kind) for kind in ("missing", "settings")}
        created = await _create(admin, {name: wanted[name] for name in by_kind["missing"]})
        for one in found:
            if one.kind == "partitions":
                log.error("topic_partitions_differ", topic=one.topic, declared=one.declared, actual=one.actual)
        await _align(admin, {name: wanted[name][1] for name in by_kind["settings"]})
    return created


async def topic_differences(
    bootstrap: str, topics: Collection[Topic], consumers: Iterable[Consumer], security: Security = OPEN
) -> list[Difference]:
    """Where the broker's topics differ from these and the consumers' dead-letter topics; raises KafkaError."""
    async with _admin(bootstrap, security) as admin:
        return await _differences(admin, _wanted(topics, consumers))


def _wanted(topics: Collection[Topic], consumers: Iterable[Consumer]) -> dict[str, tuple[int, dict[str, str]]]:
    dead_letters = {dead_letter_topic(topic, c.group) for c in consumers for topic in c.topics}
    return {
        **{topic.name: (topic.partitions, _settings(topic.retention_ms)) for topic in topics},
        **{name: (_DEAD_LETTER_PARTITIONS, _settings(-1, DEAD_LETTER_BYTES)) for name in dead_letters},
    }


@asynccontextmanager
async def _admin(bootstrap: str, security: Security) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS, **security.options()
    )
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _differences(
    admin: AIOKafkaAdminClient, wanted: Mapping[str, tuple[int, dict[str, str]]]
) -> list[Difference]:
    described = await admin.describe_topics()
    existing = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
    actual = await _actual_settings(admin, {name: wanted[name][1] for name in wanted.keys() & existing.keys()})
    found = []
    for name, (partitions, settings) in sorted(wanted.items()):
        if name not in existing:
            found.append(Difference(name, "missing", f"{partitions} partitions"))
            continue
        if existing[name] != partitions:
            found.append(Difference(name, "partitions", str(partitions), str(existing[name])))
        drifted = {key: value for key, value in settings.items() if actual[name].get(key) != value}
        if drifted:
            found.append(
                Difference(name, "settings", _text(drifted), _text({key: actual[name].get(key) for key in drifted}))
            )
    others = sorted(name for name in existing.keys() - wanted.keys() if not name.startswith("__"))
    return found + [Difference(name, "undeclared", actual=f"{existing[name]} partitions") for name in others]


def _text(settings: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))


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


async def _actual_settings(
    admin: AIOKafkaAdminClient, wanted: Mapping[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """The present values of the wanted settings of existing topics."""
    if not wanted:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, settings) for name, settings in wanted.items()]
    found = {}
    for answer in await admin.describe_configs(asked):
        for code, message, _kind, name, entries in answer.resources:
            _raise_for(code, f"settings of topic {name}: {message}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _align(admin: AIOKafkaAdminClient, drifted: Mapping[str, dict[str, str]]) -> None:
    """Give topics the settings that are declared."""
    if not drifted:
        return
    changed = [ConfigResource(ConfigResourceType.TOPIC, name, settings) for name, settings in drifted.items()]
    for answer in await admin.alter_configs(changed):
        for code, message, _kind, name in answer.resources:
            _raise_for(code, f"settings of topic {name}: {message}")
    log.info("topic_settings_changed", topics=sorted(drifted))


def _raise_for(code: int, message: str) -> None:
    if code:
        raise for_code(code)(message)

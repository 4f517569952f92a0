"""Looking things up in the topics of the local platform."""

from importlib import import_module

from aiokafka import ConsumerRecord

from chassis.messaging.handlers import Consumer
from chassis.messaging.provisioner import dead_letter_topic
from chassis.operations.reading import Cluster, TopicReader, headers_of
from contracts.topics import TOPICS
from devkit.ops.trace import Trace, made_at, trace
from devkit.platform.state import SERVICES


def consumers() -> list[Consumer]:
    """Every consumer of every service, as the services declare them."""
    return [one for name in SERVICES for one in import_module(f"{name}.service").SERVICE.consumers]


def groups() -> dict[str, list[str]]:
    """The topics every consumer group of every service reads."""
    return {consumer.group: list(consumer.topics) for consumer in consumers()}


def dead_letter_topics() -> dict[str, str]:
    """The group whose dead letters each dead-letter topic has."""
    return {dead_letter_topic(topic, group): group for group, topics in groups().items() for topic in topics}


async def records_of(kafka: str, event_id: str) -> list[ConsumerRecord]:
    """Every record of an event, on whatever topic; raises KafkaError when Kafka is away."""
    found = []
    async with TopicReader.open(Cluster(kafka), [*(topic.name for topic in TOPICS), *dead_letter_topics()]) as reader:
        await reader.start_at(made_at(event_id))
        async for records in reader.to_end():
            found += [record for record in records if headers_of(record).get("ce_id") == event_id]
    return found


async def trace_of(kafka: str, order_id: str) -> Trace:
    """The causal tree of an order; raises KafkaError when Kafka is away."""
    return await trace(Cluster(kafka), [topic.name for topic in TOPICS], dead_letter_topics(), order_id)

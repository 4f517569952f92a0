"""Kafka records as a consumer receives them, decoded as far as they can be."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import NAMESPACE_URL, UUID, uuid5

from aiokafka import ConsumerRecord

from chassis.events import DomainEvent, MalformedEvent, header_text, read_meta
from chassis.messaging.inbox import Delivery

# A longer key does not fit into an index.
_LONGEST_KEY = 1000


@dataclass(frozen=True)
class Received:
    """One record that concerns a consumer: an event it handles, or a record nobody can read (`problem`)."""

    record: ConsumerRecord
    key: str | None
    delivery: Delivery | None = None
    problem: MalformedEvent | None = None

    @property
    def event_id(self) -> str:
        """The event's id as far as it is known, else empty."""
        if self.delivery:
            return str(self.delivery.meta.event_id)
        return self.headers.get("ce_id", "")

    @property
    def headers(self) -> dict[str, str]:
        """The record's headers as text; what is not UTF-8 or not storable is escaped."""
        return {storable(name.encode()): storable(value) for name, value in self.record.headers}


def identity(event_id: str, topic: str, partition: int, offset: int) -> UUID:
    """The event's id, or for a record without a readable one an id made from its place in Kafka."""
    try:
        return UUID(event_id)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"kafka:{topic}/{partition}/{offset}")


def storable(value: bytes) -> str:
    """Bytes as text that PostgreSQL takes: what is not UTF-8, and NUL, is escaped."""
    return value.decode(errors="backslashreplace").replace("\x00", r"\x00")


def key_text(key: bytes) -> str:
    """A record's key as text; one of any length stays apart from every other."""
    text = storable(key)
    return text if len(text.encode()) <= _LONGEST_KEY else f"{text[:100]}… sha256:{sha256(key).hexdigest()}"


def receive(record: ConsumerRecord, types: Mapping[str, type[DomainEvent]]) -> Received | None:
    """Decode a record; None when its type is not one of `types` (``ce_type`` → event class)."""
    key = key_text(record.key) if record.key is not None else None
    try:
        headers = header_text(record.headers)
        if "ce_type" not in headers:
            raise MalformedEvent("attribute ce_type is missing")
        model = types.get(headers["ce_type"])
        return None if model is None else Received(record, key, decode(model, headers, record.value))
    except MalformedEvent as problem:
        return Received(record, key, problem=problem)


def decode(model: type[DomainEvent], headers: Mapping[str, str], payload: bytes | None) -> Delivery:
    """The event behind headers and payload; raises MalformedEvent."""
    if payload is None:
        raise MalformedEvent("the record has no payload")
    meta = read_meta(headers)
    try:
        return Delivery(meta, model.model_validate_json(payload))
    except ValueError as error:
        raise MalformedEvent(f"payload of {meta.type} is malformed: {error}") from error

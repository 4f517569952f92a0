"""What the chassis knows of a domain event, and the CloudEvents 1.0 Kafka binary-mode codec."""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol, Self
from uuid import UUID

CONTENT_TYPE = "application/json"

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""Correlation id of the request or event being worked on."""
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""W3C trace context of the request or event being worked on."""


class DomainEvent(Protocol):
    """One fact about one aggregate, as `contracts.envelope.Event` models it."""

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]

    @property
    def key(self) -> str:
        """Aggregate id."""

    @property
    def aggregate_version(self) -> int:
        """Version of the aggregate after the event."""

    def model_dump_json(self) -> str:
        """The payload as JSON text."""

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> Self:
        """The event from its JSON payload; raises ValueError."""


@dataclass(frozen=True)
class EventMeta:
    """The CloudEvents attributes of one event."""

    event_id: UUID
    type: str
    source: str
    time: datetime
    subject: str
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None

    def headers(self) -> dict[str, str]:
        """Kafka binary-mode headers by name (CloudEvents 1.0 Kafka binding §3.2)."""
        optional = {"ce_causationid": self.causation_id, "traceparent": self.traceparent}
        return {
            "ce_specversion": "1.0",
            "ce_id": str(self.event_id),
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_time": self.time.isoformat().replace("+00:00", "Z"),
            "ce_subject": self.subject,
            "ce_correlationid": self.correlation_id,
            **{name: value for name, value in optional.items() if value is not None},
            "content-type": CONTENT_TYPE,
        }


class MalformedEvent(ValueError):
    """A record is not a CloudEvent we can read; the message says what is missing or wrong."""


def header_text(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Kafka headers as text by name; the last of a repeated name wins. Raises MalformedEvent on non-UTF-8."""
    try:
        return {name: value.decode() for name, value in headers}
    except UnicodeDecodeError as error:
        raise MalformedEvent(f"header is not UTF-8: {error}") from error


def read_meta(headers: Mapping[str, str]) -> EventMeta:
    """EventMeta from binary-mode headers; raises MalformedEvent naming the missing or wrong attribute."""
    try:
        time = datetime.fromisoformat(headers["ce_time"])
        if time.tzinfo is None:
            raise ValueError("ce_time has no time zone")
        return EventMeta(
            event_id=UUID(headers["ce_id"]),
            type=headers["ce_type"],
            source=headers["ce_source"],
            time=time,
            subject=headers["ce_subject"],
            correlation_id=headers.get("ce_correlationid", headers["ce_subject"]),
            causation_id=headers.get("ce_causationid"),
            traceparent=headers.get("traceparent"),
        )
    except KeyError as error:
        raise MalformedEvent(f"attribute {error.args[0]} is missing") from error
    except ValueError as error:
        raise MalformedEvent(f"attribute is malformed: {error}") from error

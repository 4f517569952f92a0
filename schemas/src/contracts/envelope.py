"""The base of every domain event: its type, topic, key and version."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from contracts.values import Text


class Part(BaseModel):
    """A value inside an event. Consumers ignore fields they do not know (publish strict, read tolerant)."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Event(Part):
    """One fact about one aggregate.

    ``TYPE`` is ``<context>.<Event>.v<major>``; ``TOPIC`` is the aggregate's topic; ``KEY`` names the payload field
    that holds the aggregate id, which is also the Kafka key, so order holds per aggregate.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    KEY: ClassVar[str]

    aggregate_version: int = Field(
        ge=1, description="version of the aggregate after this event; grows by one per event"
    )

    @property
    def key(self) -> str:
        """The aggregate id as text: the Kafka key and the CloudEvents subject."""
        return str(getattr(self, self.KEY))


class Reason(Part):
    """Why a promise, schedule or state is what it is: a stable code, a sentence for people, the event behind it."""

    code: str = Field(max_length=64)
    text: Text
    event_id: str | None = None

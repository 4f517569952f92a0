"""The one event of the tally service; its topic is chosen per test run so that runs on one broker do not meet."""

import os
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel

TOPIC_NAME = os.environ.get("TALLY_TOPIC", "tally.counter.events.v1")


class Counted(BaseModel):
    """A counter was counted up."""

    TYPE: ClassVar[str] = "tally.Counted.v1"
    TOPIC: ClassVar[str] = TOPIC_NAME

    counter_id: UUID
    aggregate_version: int
    note: str = ""

    @property
    def key(self) -> str:
        """The counter's id."""
        return str(self.counter_id)


class Ignored(Counted):
    """An event of the same topic that nobody handles."""

    TYPE: ClassVar[str] = "tally.Ignored.v1"


def on_topic(topic: str) -> type[Counted]:
    """The event published on another topic."""
    return type("Counted", (Counted,), {"TOPIC": topic, "__annotations__": {}, "__module__": __name__})

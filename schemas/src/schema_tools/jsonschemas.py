"""One JSON Schema per event type, as the event is published."""

from typing import Any

from contracts.envelope import Event
from contracts.topics import EVENTS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def published_schemas() -> dict[str, dict[str, Any]]:
    """The schema of every event type, by type."""
    return {type_name: schema_of(EVENTS[type_name]) for type_name in sorted(EVENTS)}


def schema_of(event: type[Event]) -> dict[str, Any]:
    """The published form of one event: open, because readers ignore fields they do not know."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:orderloop:event:{event.TYPE}",
        "x-topic": event.TOPIC,
        "x-key": event.KEY,
        **event.model_json_schema(mode="serialization"),
    }


def closed(schema: Any) -> Any:
    """The same schema allowing no field it does not name: what a producer is held to."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(part) for name, part in schema.items()}
    return {"additionalProperties": False, **inner} if "properties" in inner else inner

"""The event catalogue: every topic and event on one page, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.topics import EVENTS, TOPICS, Topic
from schema_tools.jsonschemas import published_schemas

_HEAD = """# Event catalogue

Generated from `schemas/src/contracts` by `python -m schema_tools generate`; do not edit.

Every event is one Kafka record: the value is the JSON below, the key is the aggregate's id, and the CloudEvents
attributes are headers (`ce_id`, `ce_type`, `ce_time`, `ce_correlationid`, `ce_causationid`, …). Order holds per key
within a topic. A field marked with ? may be missing or null; decimals are text. Readers ignore fields they do not know.
"""


def document(consumers: Mapping[str, Sequence[str]]) -> str:
    """The page; `consumers` names the topics each consumer group reads."""
    schemas = published_schemas()
    rows = [
        f"| [`{topic.name}`](#{topic.name.replace('.', '')}) | {topic.producer} | {topic.description} "
        f"| {_readers(topic, consumers)} |"
        for topic in TOPICS
    ]
    table = ["| topic | producer | holds | read by |", "|---|---|---|---|", *rows, ""]
    return "\n".join([_HEAD, *table, *(line for topic in TOPICS for line in _section(topic, schemas))])


def _section(topic: Topic, schemas: Mapping[str, Any]) -> list[str]:
    lines = [f"## {topic.name}", "", f"{topic.description[0].upper()}{topic.description[1:]}.", ""]
    for name in sorted(name for name, event in EVENTS.items() if topic.name == event.TOPIC):
        schema = schemas[name]
        lines += [f"### {name}", "", *schema["description"].splitlines(), ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        required = schema.get("required", [])
        for field, part in schema["properties"].items():
            mark = "" if field in required else "?"
            key = " (key)" if field == schema["x-key"] else ""
            lines.append(f"| `{field}`{mark}{key} | {_type(part)} | {part.get('description', '')} |")
        lines.append("")
    return lines


def _type(part: Mapping[str, Any]) -> str:
    match part:
        case {"$ref": reference}:
            name = str(reference).removeprefix("#/$defs/")
        case {"anyOf": options}:
            name = " or ".join(_type(option) for option in options if option.get("type") != "null")
        case {"enum": values}:
            name = " ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            name = f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": values}:
            name = f"map of {_type(values)}"
        case {"pattern": pattern} if "[0-9]+" in pattern:
            name = "decimal"
        case _:
            name = str(part.get("format", part["type"]))
    return name


def _readers(topic: Topic, consumers: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"`{group}`" for group, topics in sorted(consumers.items()) if topic.name in topics)

"""What is published about the contracts is complete, up to date and true."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel

from contracts import crm, erp, mes
from contracts.envelope import Event
from contracts.topics import EVENTS, TOPICS
from schema_tools import files, services
from schema_tools.jsonschemas import closed, published_schemas

SCHEMAS = published_schemas()
EXAMPLES = list(files.examples())
TOPIC_NAMES = {topic.name: topic for topic in TOPICS}


def subclasses(base: type[Event]) -> set[type[Event]]:
    """All classes below `base`."""
    return {base, *(found for child in base.__subclasses__() for found in subclasses(child))}


def test_the_generated_files_are_up_to_date() -> None:
    assert files.stale() == [], "run python -m schema_tools generate"


def test_a_missing_a_changed_and_a_left_over_file_are_noticed(tmp_path: Path) -> None:
    assert len(files.write(tmp_path)) == len(files.generated())
    assert files.stale(tmp_path) == []
    folder = tmp_path / files.JSON_SCHEMAS
    (folder / "crm.OrderPlaced.v1.json").unlink()
    (folder / "crm.OrderAmended.v1.json").write_text("{}")
    (folder / "crm.OrderForgotten.v1.json").write_text("{}")
    noticed = [path.name for path in files.stale(tmp_path)]
    assert noticed == ["crm.OrderAmended.v1.json", "crm.OrderForgotten.v1.json", "crm.OrderPlaced.v1.json"]
    files.write(tmp_path)
    assert files.stale(tmp_path) == []


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_topic_names_say_producer_aggregate_and_version(topic: Any) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*\.events\.v[1-9]", topic.name)
    assert topic.name.split(".")[0] == topic.producer
    assert topic.partitions >= 1
    assert topic.retention_ms == -1, "read models are rebuilt from offset 0"
    assert any(topic.name == event.TOPIC for event in EVENTS.values()), "no event uses this topic"


def test_topics_are_declared_once() -> None:
    assert len(TOPIC_NAMES) == len(TOPICS)


@pytest.mark.parametrize("type_name", EVENTS)
def test_events_keep_the_naming_rules(type_name: str) -> None:
    event = EVENTS[type_name]
    context, name, version = type_name.split(".")
    topic = TOPIC_NAMES[event.TOPIC]
    assert (context, name) == (topic.producer, event.__name__)
    assert re.fullmatch(r"v[1-9]", version)
    assert event.__module__ == f"contracts.{context}"
    assert event.model_fields[event.KEY].is_required(), "the key is always known"
    assert event.__doc__, "say what happened"
    assert event.__doc__ != event.__base__.__doc__


def test_every_event_class_is_listed() -> None:
    with_type = {event for event in subclasses(Event) if "TYPE" in vars(event)}
    assert with_type == set(EVENTS.values())
    assert {event.TYPE for event in with_type} == set(EVENTS)


def test_every_event_has_an_example() -> None:
    assert {type_name for type_name, _ in EXAMPLES} == set(EVENTS)


@pytest.mark.parametrize(("type_name", "path"), EXAMPLES, ids=lambda value: getattr(value, "stem", value))
def test_an_example_is_what_its_producer_publishes(type_name: str, path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    example = json.loads(content)
    validator = Draft202012Validator(closed(SCHEMAS[type_name]), format_checker=FormatChecker())
    assert [error.message for error in validator.iter_errors(example)] == []
    event = EVENTS[type_name].model_validate_json(content)
    assert json.loads(event.model_dump_json()) == example
    assert files.text(example) == content
    assert event.key == str(example[event.KEY])


@pytest.mark.parametrize(("type_name", "path"), EXAMPLES, ids=lambda value: getattr(value, "stem", value))
def test_a_reader_ignores_what_it_does_not_know_but_wants_what_it_needs(type_name: str, path: Path) -> None:
    example = json.loads(path.read_text(encoding="utf-8"))
    event, validator = EVENTS[type_name], Draft202012Validator(SCHEMAS[type_name])
    newer = {**example, "added_later": {"x": [1]}}
    assert event.model_validate(newer) == event.model_validate(example)
    assert validator.is_valid(newer)
    assert not Draft202012Validator(closed(SCHEMAS[type_name])).is_valid(newer)
    for name in SCHEMAS[type_name]["required"]:
        assert not validator.is_valid({key: value for key, value in example.items() if key != name})


@pytest.mark.parametrize("name", services.NAMES)
def test_every_service_publishes_its_interface(name: str) -> None:
    document = json.loads(services.openapi(name))
    assert document["openapi"].startswith("3.1")
    assert any(path.startswith(("/v1/", "/oauth/", "/.well-known/")) for path in document["paths"])
    assert not [path for path in document["paths"] if path.startswith("/internal")]


def test_what_services_read_is_declared() -> None:
    for group, topics in services.consumers().items():
        assert re.fullmatch(r"(crm|erp|mes|gateway)\.[a-z-]+", group)
        assert set(topics) <= set(TOPIC_NAMES)


def test_asyncapi_has_every_topic_and_event_and_no_dangling_reference() -> None:
    document = yaml.safe_load((files.ROOT / "schemas/asyncapi.yaml").read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.1.0"
    assert {channel["address"] for channel in document["channels"].values()} == set(TOPIC_NAMES)
    assert set(document["components"]["messages"]) == set(EVENTS)
    placed = [name for channel in document["channels"].values() for name in channel["messages"]]
    assert sorted(placed) == sorted(EVENTS)
    found = list(references(document))
    assert found
    for reference in found:
        if reference.startswith("#/"):
            target: Any = document
            for part in reference[2:].split("/"):
                target = target[part]
        else:
            assert (files.ROOT / "schemas" / reference).is_file()


def references(part: Any) -> Any:
    """Every `$ref` below."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_decimals_and_times_are_published_as_text_of_known_form() -> None:
    properties = SCHEMAS["crm.OrderPlaced.v1"]["properties"]
    assert properties["placed_at"]["format"] == "date-time"
    quantity = SCHEMAS["crm.OrderPlaced.v1"]["$defs"]["OrderLine"]["properties"]["quantity"]
    assert (quantity["type"], bool(re.match(quantity["pattern"], "12.5"))) == ("string", True)


@pytest.mark.parametrize("module", [crm, erp, mes])
def test_no_float_carries_a_quantity_or_money(module: Any) -> None:
    allowed = {"percent"}
    for model in vars(module).values():
        if isinstance(model, type) and issubclass(model, BaseModel):
            floats = {
                name
                for name, field in model.model_fields.items()
                if float in (field.annotation, *get_args(field.annotation))
            }
            assert floats <= allowed

"""The compatibility gate: an added optional field passes, every other change within a major is found."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schema_tools import compatibility, files
from schema_tools.jsonschemas import published_schemas

TYPE = "crm.OrderPlaced.v1"
SCHEMAS = published_schemas()
Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> list[str]:
    """What the gate finds after a change to the schema of an order that was placed."""
    new = copy.deepcopy(SCHEMAS[TYPE])
    change(new)
    return compatibility.findings({TYPE: SCHEMAS[TYPE]}, {TYPE: new})


def test_the_present_schemas_may_follow_the_released_ones() -> None:
    released = files.released()
    assert released, "nothing is released: run python -m schema_tools release"
    assert compatibility.findings(released, SCHEMAS) == []


def test_released_schemas_understand_the_present_examples() -> None:
    released = files.released()
    for type_name, path in files.examples():
        if type_name in released:
            Draft202012Validator(released[type_name]).validate(json.loads(path.read_text(encoding="utf-8")))


ALLOWED: dict[str, Change] = {
    "nothing": lambda s: None,
    "an optional field": lambda s: s["properties"].update(note={"type": "string", "maxLength": 10}),
    "an optional nullable field": lambda s: s["properties"].update(
        note={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    ),
    "an optional field of a line": lambda s: line(s)["properties"].update(note={"type": "string"}),
    "another description": lambda s: s["properties"]["lines"].update(description="the lines", title="L"),
}

REFUSED: dict[str, Change] = {
    "field removed": lambda s: s["properties"].pop("number"),
    "optional field removed": lambda s: s["properties"].pop("customer_reference"),
    "field renamed": lambda s: s["properties"].update(no=s["properties"].pop("number")),
    "required field added": lambda s: (s["properties"].update(site={"type": "string"}), s["required"].append("site")),
    "field became required": lambda s: s["required"].append("customer_reference"),
    "field no longer required": lambda s: s["required"].remove("customer"),
    "field retyped": lambda s: s["properties"]["number"].update(type="integer"),
    "field widened": lambda s: s["properties"]["priority"].update(type="number"),
    "several types": lambda s: s["properties"]["number"].update(type=["string", "null"]),
    "null allowed": lambda s: s["properties"].update(number={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "null no longer allowed": lambda s: s["properties"].update(customer_reference={"type": "string"}),
    "alternative added": lambda s: s["properties"]["customer_reference"]["anyOf"].append({"type": "integer"}),
    "alternative retyped": lambda s: s["properties"]["customer_reference"]["anyOf"][0].update(type="integer"),
    "format changed": lambda s: s["properties"]["placed_at"].update(format="date"),
    "pattern changed": lambda s: s["properties"]["currency"].update(pattern="^[A-Z]{4}$"),
    "pattern removed": lambda s: s["properties"]["currency"].pop("pattern"),
    "maximum raised": lambda s: s["properties"]["priority"].update(maximum=100),
    "maximum lowered": lambda s: s["properties"]["priority"].update(maximum=9),
    "minimum added": lambda s: line(s)["properties"]["unit_price"].update(minLength=1),
    "list may be empty": lambda s: s["properties"]["lines"].pop("minItems"),
    "line field removed": lambda s: line(s)["properties"].pop("options"),
    "line field retyped": lambda s: line(s)["properties"]["line"].update(type="string"),
    "line field required": lambda s: line(s)["required"].append("options"),
    "option values retyped": lambda s: line(s)["properties"]["options"]["additionalProperties"].update(type="integer"),
    "lines of something else": lambda s: s["properties"]["lines"].update(items={"type": "string"}),
    "list became open": lambda s: s["properties"]["lines"].pop("items"),
    "model closed": lambda s: s.update(additionalProperties=False),
    "default changed": lambda s: s["properties"]["customer_reference"].update(default=""),
    "default removed": lambda s: s["properties"]["customer_reference"].pop("default"),
    "value fixed": lambda s: s["properties"]["currency"].update(const="EUR"),
    "topic changed": lambda s: s.update({"x-topic": "crm.orders.events.v1"}),
    "key changed": lambda s: s.update({"x-key": "number"}),
    "keyword unknown to the gate": lambda s: s.update(dependentRequired={"number": ["customer"]}),
    "unknown keyword in a new field": lambda s: s["properties"].update(note={"type": "string", "contentEncoding": "x"}),
    "unknown keyword in a line": lambda s: line(s)["properties"]["line"].update(multipleOf=2),
    "unknown keyword in an alternative": lambda s: s["properties"]["customer_reference"]["anyOf"][0].update(
        {"not": {}}
    ),
}


def line(schema: dict[str, Any]) -> Any:
    """The definition of an order line."""
    return schema["$defs"]["OrderLine"]


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_a_harmless_change_passes(change: Change) -> None:
    assert changed(change) == []


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_a_breaking_change_is_found(change: Change) -> None:
    found = changed(change)
    assert found
    assert all(finding.startswith(TYPE) for finding in found)


def test_a_removed_event_type_is_found_and_a_new_one_passes() -> None:
    assert compatibility.findings({TYPE: SCHEMAS[TYPE]}, {}) == [f"{TYPE}: removed"]
    assert compatibility.findings({}, {TYPE: SCHEMAS[TYPE]}) == []


@pytest.mark.parametrize("values", [["open"], ["open", "shipped", "lost"], ["open", "closed"]])
def test_a_changed_enumeration_is_found_and_a_reordered_one_passes(values: list[str]) -> None:
    old = {"type": "string", "enum": ["open", "shipped"]}
    assert compatibility.changes(old, {"type": "string", "enum": values})
    assert compatibility.changes(old, {"type": "string", "enum": ["shipped", "open"]}) == []


def test_true_is_not_one() -> None:
    assert compatibility.changes({"const": 1}, {"const": True})


def test_what_stands_beside_a_repeated_reference_is_compared() -> None:
    part = {"type": "object", "properties": {"x": {"type": "string"}}}
    fields = {"a": {"$ref": "#/$defs/P"}, "b": {"$ref": "#/$defs/P", "default": None}}
    old = {"$defs": {"P": part}, "type": "object", "properties": fields}
    new = copy.deepcopy(old)
    new["properties"]["b"].pop("default")  # type: ignore[index]
    assert compatibility.changes(old, new) == ["/b: default removed"]


def test_a_schema_that_holds_itself_is_compared_to_its_end() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}, "name": {"type": "string"}}}
    old = {"$defs": {"Tree": tree}, "$ref": "#/$defs/Tree"}
    new = copy.deepcopy(old)
    assert compatibility.changes(old, new) == []
    new["$defs"]["Tree"]["properties"]["name"]["type"] = "integer"  # type: ignore[index]
    assert compatibility.changes(old, new) == ["/name: type changed from string to integer"]


names = st.sampled_from(["a", "b", "c"])
leaves = st.one_of(
    st.builds(lambda longest: {"type": "string", "maxLength": longest}, st.integers(1, 5)),
    st.builds(lambda most: {"type": "integer", "maximum": most}, st.integers(0, 5)),
    st.builds(lambda values: {"enum": values}, st.lists(names, min_size=1, unique=True)),
)


def objects(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Object schemas with some fields required."""
    return st.dictionaries(names, parts, min_size=1).flatmap(
        lambda fields: st.builds(
            lambda required: {"type": "object", "properties": fields, "required": sorted(required)},
            st.sets(st.sampled_from(sorted(fields))),
        )
    )


schemas = objects(
    st.recursive(
        leaves,
        lambda parts: st.one_of(
            objects(parts),
            st.builds(lambda items: {"type": "array", "items": items}, parts),
            st.builds(lambda part: {"anyOf": [part, {"type": "null"}]}, parts),
        ),
        max_leaves=6,
    )
)


def documents(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Documents a producer held to this schema may publish."""
    made: st.SearchStrategy[Any] = st.none()
    match schema:
        case {"anyOf": options}:
            made = st.one_of([documents(option) for option in options])
        case {"enum": allowed}:
            made = st.sampled_from(allowed)
        case {"type": "object", "properties": fields, "required": required}:
            parts = {name: documents(part) for name, part in fields.items()}
            optional = {name: part for name, part in parts.items() if name not in required}
            made = st.fixed_dictionaries({name: parts[name] for name in required}, optional=optional)
        case {"type": "array", "items": items}:
            made = st.lists(documents(items), max_size=2)
        case {"type": "string", "maxLength": longest}:
            made = st.text(max_size=longest)
        case {"type": "integer", "maximum": most}:
            made = st.integers(max_value=most)
    return made


@st.composite
def edited(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema and what one edit made of it."""
    old = draw(schemas)
    new = copy.deepcopy(old)
    place = draw(st.sampled_from(list(object_schemas(new))))
    field = draw(st.sampled_from(sorted(place["properties"])))
    match draw(st.sampled_from(["add", "remove", "replace", "require", "release"])):
        case "add":
            place["properties"]["added"] = draw(leaves)
        case "remove":
            place["properties"].pop(field)
            place["required"] = [name for name in place["required"] if name != field]
        case "replace":
            place["properties"][field] = draw(leaves)
        case "require":
            place["required"] = sorted({*place["required"], field})
        case "release":
            place["required"] = [name for name in place["required"] if name != field]
    return old, new


@given(edited(), st.data())
def test_what_passes_is_understood_both_ways(pair: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject) -> None:
    old, new = pair
    if old == new or compatibility.changes(old, new):
        return
    assert Draft202012Validator(new).is_valid(data.draw(documents(old)))
    assert Draft202012Validator(old).is_valid(data.draw(documents(new)))


@given(edited(), st.data())
def test_what_breaks_a_reader_is_found(pair: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject) -> None:
    old, new = pair
    old_event, new_event = data.draw(documents(old)), data.draw(documents(new))
    understood = Draft202012Validator(new).is_valid(old_event) and Draft202012Validator(old).is_valid(new_event)
    assert understood or compatibility.changes(old, new)


@given(schemas, leaves)
def test_an_optional_field_added_anywhere_passes_and_a_required_one_does_not(
    old: dict[str, Any], leaf: dict[str, Any]
) -> None:
    places = list(object_schemas(old))
    for position in range(len(places)):
        new = copy.deepcopy(old)
        place = list(object_schemas(new))[position]
        place["properties"]["added"] = leaf
        assert compatibility.changes(old, new) == []
        place["required"].append("added")
        assert len(compatibility.changes(old, new)) == 1


def object_schemas(part: Any) -> Any:
    """Every object schema below."""
    if isinstance(part, dict):
        if "properties" in part:
            yield part
        for value in part.values():
            yield from object_schemas(value)
    elif isinstance(part, list):
        for value in part:
            yield from object_schemas(value)

"""The compatibility gate: within a major version of an event type only optional fields may be added.

Old readers must understand new events and new readers must understand old ones, which are kept for ever. So a change
is refused when either way it could break: a field removed, required or no longer required, retyped, or constrained
differently; an enumeration with more or fewer values; an event moved to another topic or key. A schema that uses a
keyword this gate does not know is refused too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_ANNOTATIONS = frozenset({"$schema", "title", "description"})
_STRUCTURE = frozenset({"$defs", "$ref", "properties", "required", "items", "anyOf", "additionalProperties"})
# Compared as a whole: what one side of the change accepts, the other may not.
_VALUES = frozenset(
    {
        "$id", "x-topic", "x-key", "type", "enum", "const", "default", "format", "pattern", "minLength", "maxLength",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    }
)  # fmt: skip
KNOWN = _ANNOTATIONS | _STRUCTURE | _VALUES


def findings(released: Mapping[str, Schema], current: Mapping[str, Schema]) -> list[str]:
    """Why `current` may not follow `released` (both by event type); empty when it may."""
    found = []
    for type_name, old in released.items():
        if type_name not in current:
            found.append(f"{type_name}: removed")
        else:
            found += [f"{type_name}{what}" for what in changes(old, current[type_name])]
    for type_name, new in current.items():
        found += [f"{type_name}{what}" for what in unknown_keywords(new)]
    return found


def changes(old: Schema, new: Schema) -> list[str]:
    """Incompatible differences between two schemas, each as a path and what happened there."""
    return list(_Comparison(old, new).of(old, new, ""))


def unknown_keywords(schema: Schema) -> list[str]:
    """Keywords the gate cannot judge, by path."""
    return list(_unknown(schema, ""))


def _unknown(schema: Any, at: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        # `true` and `false` are schemas too.
        return
    for keyword, value in schema.items():
        if keyword not in KNOWN:
            yield f"{at}: keyword {keyword!r} is not known to the gate"
        elif keyword in ("properties", "$defs"):
            for name, part in value.items():
                yield from _unknown(part, f"{at}/{name}")
        elif keyword == "anyOf":
            for part in value:
                yield from _unknown(part, at)
        elif keyword in ("items", "additionalProperties"):
            yield from _unknown(value, f"{at}/*")


class _Comparison:
    """Two documents walked side by side, their `$ref`s resolved."""

    def __init__(self, old_root: Schema, new_root: Schema) -> None:
        self.old_root, self.new_root = old_root, new_root
        self.entered: set[tuple[str, str]] = set()

    def of(self, old: Any, new: Any, at: str) -> Iterator[str]:
        """Differences between two schemas at a path."""
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            if old != new:
                yield f"{at}: changed from {old} to {new}"
            return
        pair = (old.get("$ref", ""), new.get("$ref", ""))
        if all(pair) and pair in self.entered:
            old, new = _beside_reference(old), _beside_reference(new)
        else:
            self.entered.add(pair)
            old, new = _resolved(old, self.old_root), _resolved(new, self.new_root)
        for keyword in sorted(_VALUES):
            if _comparable(keyword, old.get(keyword)) != _comparable(keyword, new.get(keyword)):
                yield f"{at}: {keyword} changed from {old.get(keyword)} to {new.get(keyword)}"
            elif (keyword in old) != (keyword in new):
                yield f"{at}: {keyword} {'added' if keyword in new else 'removed'}"
        yield from self._properties(old, new, at)
        yield from self._alternatives(old.get("anyOf", []), new.get("anyOf", []), at)
        for keyword in ("items", "additionalProperties"):
            if (keyword in old) != (keyword in new):
                yield f"{at}: {keyword} {'added' if keyword in new else 'removed'}"
            elif keyword in old:
                yield from self.of(old[keyword], new[keyword], f"{at}/*")

    def _properties(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield f"{at}/{name}: field removed"
            else:
                yield from self.of(before[name], after[name], f"{at}/{name}")
        for name in sorted(is_required - was_required):
            yield f"{at}/{name}: {'field became' if name in before else 'added field is'} required"
        for name in sorted((was_required - is_required) & set(after)):
            yield f"{at}/{name}: field is no longer required"

    def _alternatives(self, old: list[Any], new: list[Any], at: str) -> Iterator[str]:
        if len(old) != len(new):
            yield f"{at}: has {len(new)} alternatives instead of {len(old)}"
            return
        for before, after in zip(old, new, strict=True):
            yield from self.of(before, after, at)


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema a reference names, with what stands beside the reference."""
    if "$ref" not in schema:
        return schema
    named = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return {**_resolved(named, root), **_beside_reference(schema)}


def _beside_reference(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != "$ref"}


def _comparable(keyword: str, value: Any) -> Any:
    # True equals 1 in Python but not in JSON; the order of an enumeration means nothing.
    if isinstance(value, list) and keyword in ("enum", "type"):
        return sorted(map(repr, value))
    return repr(value)

"""Events out of the contracts' own definitions: any that are valid, and records that are not."""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ValidationError

from chassis.clock import new_id
from chassis.events import EventMeta
from contracts.envelope import Event

# Few of each, so that events meet: the same order, plan and lot again and again. A test adds the ids it knows.
IDS = [UUID(int=1), UUID(int=2)]
CODES = ["RAW", "SUB", "TOP", "UNKNOWN", "L-1", "L-2", "Ünïcødé 🪑", "x" * 64]
_texts = st.one_of(
    st.sampled_from(CODES), st.sampled_from(["", "a\x00b", "x" * 5000, "' OR 1=1 --"]), st.text(max_size=20)
)
_times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
Strategy = st.SearchStrategy[Any]


@cache
def events(model: type[BaseModel]) -> Strategy:
    """Any instance of a contract's class, as JSON data."""
    required, optional = {}, {}
    for name, known in model.model_fields.items():
        field = _values(known.annotation, tuple(known.metadata))
        (required if known.is_required() else optional)[name] = field
    return st.fixed_dictionaries(required, optional=optional)


def _values(annotation: Any, limits: tuple[Any, ...]) -> Strategy:
    origin, inner = get_origin(annotation), get_args(annotation)
    limits = tuple(part for limit in limits for part in (getattr(limit, "metadata", None) or [limit]))
    if origin is None:
        return events(annotation) if issubclass(annotation, BaseModel) else _plain(annotation, limits)
    least = int(_limit(limits, MinLen, "min_length", 0))
    made: Mapping[Any, Callable[[], Strategy]] = {
        Annotated: lambda: _values(inner[0], (*limits, *inner[1:])),
        Union: lambda: st.one_of(*(_values(each, limits) for each in inner)),
        types.UnionType: lambda: st.one_of(*(_values(each, limits) for each in inner)),
        Literal: lambda: st.sampled_from(inner),
        list: lambda: st.lists(_values(inner[0], ()), min_size=least, max_size=3),
        dict: lambda: st.dictionaries(_texts, _texts, max_size=2),
    }
    return made[origin]()


def _plain(annotation: Any, limits: tuple[Any, ...]) -> Strategy:
    low, high = _limit(limits, Ge, "ge", None), _limit(limits, Le, "le", None)
    if annotation is Decimal:
        smallest = _limit(limits, Gt, "gt", None)
        amounts = st.sampled_from([Decimal(1), Decimal(2), Decimal(3), Decimal("0.5"), *([high] if high else [])])
        least = [] if low is None or smallest is not None else [low]
        return st.one_of(amounts, st.sampled_from(least)).map(str) if least else amounts.map(str)
    return {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(0, 29).flatmap(lambda n: st.just(2**40) if n == 29 and not high else _small(low, high)),
        float: st.floats(low, high, allow_nan=False),
        str: _codes(limits),
        UUID: st.integers(0, 100).map(lambda number: str(IDS[number % len(IDS)])),
        date: st.dates(date(1970, 1, 1), date(2200, 1, 1)).map(str),
        AwareDatetime: _times.map(lambda time: time.isoformat().replace("+00:00", "Z")),
    }[annotation]


def _small(low: Any, high: Any) -> Strategy:
    return st.integers(low if low is not None else -3, high or 5)


def _codes(limits: tuple[Any, ...]) -> Strategy:
    pattern = next((limit.pattern for limit in limits if getattr(limit, "pattern", None)), None)
    if pattern == r"^[A-Z]{3}$":
        return st.sampled_from(["EUR", "JPY"])
    if pattern:
        return st.sampled_from(CODES)
    longest = int(_limit(limits, MaxLen, "max_length", 10_000))
    return _texts.map(lambda text: text[:longest])


def _limit(limits: tuple[Any, ...], kind: type, name: str, default: Any) -> Any:
    found = [getattr(limit, name) for limit in limits if getattr(limit, name, None) is not None]
    return found[0] if found else default


@dataclass(frozen=True)
class Record:
    """What lies in Kafka, and what a consumer that handles `model` is to make of it."""

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]
    fate: Literal["judged", "refused", "skipped"]


@st.composite
def records(draw: st.DrawFn, model: type[Event]) -> Record:
    """A record of an event type: valid, of an older or newer version, of an unknown type, or broken."""
    data = draw(events(model))
    key = str(data[model.KEY]).encode()
    meta = EventMeta(new_id(), model.TYPE, "fuzz", draw(_times), key.decode(), correlation_id=key.decode())
    headers = {name: value.encode() for name, value in meta.headers().items()}
    kind = draw(st.sampled_from(["valid", "valid", "valid", "newer", "type", "payload", "header", "key", "bytes"]))
    if kind == "newer":
        data = {**data, "added_later": draw(_texts), "added_too": {"deep": [1, None]}}
    elif kind == "type":
        stem, _, _ = model.TYPE.rpartition(".")
        headers["ce_type"] = draw(st.sampled_from([f"{stem}.v2", f"{stem}Again.v1", "", "nonsense"])).encode()
        return Record(key, draw(st.sampled_from([b"", b"no JSON"])), headers, "skipped")
    elif kind == "header":
        return Record(key, json.dumps(data).encode(), draw(_broken(headers)), "refused")
    elif kind == "payload":
        data = draw(_spoilt(data))
    elif kind == "key":
        key = draw(st.sampled_from([None, b"", b"\xff\xfe", b"a\x00b", b"k" * 5000]))
    elif kind == "bytes":
        broken = st.sampled_from([None, b"", b"{", b"[]", b"null", b"\xff\x00", b'{"a": NaN}', b"[" * 5000])
        return Record(key, draw(broken), headers, "refused")
    value = json.dumps(data).encode()
    return Record(key, value, headers, "judged" if _is_valid(model, value) else "refused")


@st.composite
def _broken(draw: st.DrawFn, headers: dict[str, bytes]) -> dict[str, bytes]:
    name = draw(st.sampled_from(["ce_id", "ce_type", "ce_source", "ce_time", "ce_subject"]))
    spoilt = {
        "ce_id": [b"7", b"\x00"],
        "ce_type": [b"\xff"],
        "ce_time": [b"yesterday", b"2026-01-01T00:00:00", b"2026-13-01T00:00:00Z"],
    }
    value = draw(st.sampled_from([None, *spoilt.get(name, [])]))
    return {key: known for key, known in headers.items() if key != name} | ({} if value is None else {name: value})


@st.composite
def _spoilt(draw: st.DrawFn, data: dict[str, Any]) -> dict[str, Any]:
    """The data without a field, or with a field of another type."""
    name = draw(st.sampled_from(sorted(data)))
    rest = {key: known for key, known in data.items() if key != name}
    other = st.sampled_from([None, True, -1, 10**30, "", "NaN", "1e400", [], {}, [[]], {"line": {}}, 0.1])
    return rest if draw(st.booleans()) else {**rest, name: draw(other)}


def _is_valid(model: type[Event], value: bytes) -> bool:
    try:
        model.model_validate_json(value)
    except ValidationError:
        return False
    return True

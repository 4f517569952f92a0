"""Bodies made to break a parser or a database are refused on every operation, and what follows still works."""

import json
import re
from typing import Any

import pytest
from contract.surface import Operation, Surface

from gateway.access.rules import SCOPES

_NUMBERS = ("1e999999", "-1e999999", "1e-999999", "9" * 5000, "0." + "1" * 5000)


def _filled(value: Any, text: str) -> Any:
    """The body with every text and number in it replaced."""
    if isinstance(value, dict):
        return {name: _filled(inner, text) for name, inner in value.items()}
    return [_filled(inner, text) for inner in value] if isinstance(value, list) else text


def _bodies(kind: str, operation: Operation) -> list[bytes]:
    body = json.loads(operation.request()["content"])
    match kind:
        case "too deep":
            return [b"[" * 20_000, b'{"a":' * 20_000, b'{"lines":' + b"[" * 20_000 + b"]" * 20_000 + b"}"]
        case "huge numbers":
            quoted = [json.dumps(_filled(body, number)) for number in _NUMBERS]
            bare = [re.sub(r'"(-?[0-9][0-9.e-]*)"', r"\1", text) for text in quoted]
            return [text.encode() for text in (*quoted, *bare)]
        case "odd text":
            texts = ("\x00", "\ud800", "a" * 100_000, "'; DROP TABLE outbox; --", "../../etc/passwd", "\u202e")
            return [json.dumps(_filled(body, text)).encode() for text in texts]
    return [b"\xff\xfe\x00", b'{"a": 1, "a": 2}', b"null", b"1", b'"x"', b"{" + b'"x": 1,' * 10_000 + b'"x": 1}']


@pytest.mark.parametrize("kind", ["too deep", "huge numbers", "odd text", "not an object"])
async def test_a_hostile_body_is_refused(surface: Surface, kind: str) -> None:
    headers = {**surface.bearer(*SCOPES), "Content-Type": "application/json"}
    wrong = []
    tried = 0
    for operation in surface.operations():
        if operation.app == "gateway" and not operation.path.startswith("/v1/clients"):
            continue
        if "application/json" in operation.described.get("requestBody", {}).get("content", {}):
            for body in _bodies(kind, operation):
                answer = await surface.send(operation, headers=headers, content=body)
                tried += 1
                if answer.status_code >= 500 or operation.broken(answer):
                    wrong.append(f"{operation} {body[:60]!r}: {answer.status_code} {operation.broken(answer)[:1]}")
    assert not wrong, "\n".join(wrong)
    assert tried > 80

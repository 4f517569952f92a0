"""The OpenAPI document: what the HTTP shell adds to every operation, said once for all."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

_METHODS = ("get", "post", "put", "patch", "delete")
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a repeat with the same key and body is answered as the first was and changes nothing",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_HEADERS = {
    "X-Correlation-Id": ("the request's own, or one made for it", {"type": "string"}),
    "ETag": ("the record's version, for If-Match", {"type": "string"}),
    "Idempotent-Replay": ("`true` on the answer to a repeat", {"type": "string", "const": "true"}),
    "Retry-After": ("seconds", {"type": "integer"}),
}
_PROBLEM = "application/problem+json"


def install(app: FastAPI) -> None:
    """Let the app's document say what the shell adds."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(plain())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add to a document of FastAPI's the headers, the error answers' media type and 503; returns it."""
    components = document.setdefault("components", {})
    components["headers"] = {name: {"description": text, "schema": schema} for name, (text, schema) in _HEADERS.items()}
    components["parameters"] = {"Idempotency-Key": _KEY}
    for method, operation in _operations(document):
        writes = method != "get" and bool(operation.get("security"))
        if writes:
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/Idempotency-Key"})
        for parameter in operation.get("parameters", ()):
            if method == "patch" and parameter.get("name") == "if-match":
                parameter["required"] = True
        _describe_answers(operation["responses"], components.get("schemas", {}), writes)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in document["paths"].values():
        for method in _METHODS:
            if method in item:
                yield method, item[method]


def _describe_answers(answers: dict[str, Any], schemas: dict[str, Any], writes: bool) -> None:
    refused = answers.get("4XX")
    if refused is not None:
        answers["503"] = {**refused, "description": "A part this request needs is away; nothing was changed"}
    for status, answer in answers.items():
        content = answer.get("content", {})
        headers = ["X-Correlation-Id"]
        if status.startswith("2"):
            headers += ["Idempotent-Replay"] if writes else []
            headers += ["ETag"] if _is_record(content, schemas) else []
        else:
            headers += ["Retry-After"] if status in ("429", "503") else []
            answer["content"] = {_PROBLEM: next(iter(content.values()))}
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def _is_record(content: dict[str, Any], schemas: dict[str, Any]) -> bool:
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    properties: dict[str, Any] = schemas.get(reference.rpartition("/")[2], {}).get("properties", {})
    return {"id", "version"} <= properties.keys()

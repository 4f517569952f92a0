"""The OpenAPI document: what the HTTP shell adds to every operation, said once for all."""

import re
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
# Refusals that say when to try again.
_LATER = ("429", "502", "503", "504")
# What FastAPI writes where an app refuses; each operation's own refusals stand in its place.
REFUSED = "4XX"
_REFUSALS = {
    "400": "The body is not JSON",
    "401": "No token, or a bad or expired one",
    "403": "The token lacks the scope",
    "404": "Unknown, or not the caller's",
    "409": "The record's state does not allow it, or the same Idempotency-Key is still running",
    "412": "The record is at another version than If-Match says",
    "413": "The body is too large",
    "415": "The body is not application/json",
    "422": "An input breaks a rule",
    "428": "If-Match is missing",
    "429": "Too many requests",
    "502": "The service went away after it got the request: it may have been done",
    "503": "A part this request needs is away; nothing was changed",
    "504": "No answer in time, or the commit was not confirmed: it may have been done",
}


def install(app: FastAPI) -> None:
    """Let the app's document say what the shell adds."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(plain())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add to a document of FastAPI's the headers, each operation's refusals, and links; returns it."""
    components = document.setdefault("components", {})
    components["headers"] = {name: {"description": text, "schema": schema} for name, (text, schema) in _HEADERS.items()}
    components["parameters"] = {"Idempotency-Key": _KEY}
    for _, method, operation in operations(document):
        writes = method != "get" and bool(operation.get("security"))
        if writes:
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/Idempotency-Key"})
        for parameter in operation.get("parameters", ()):
            if method == "patch" and parameter.get("name") == "if-match":
                parameter["required"] = True
        refused = operation["responses"].pop(REFUSED, None)
        if refused:
            add_refusals(operation, *_refusals(method, operation))
        _describe_answers(operation["responses"], components.get("schemas", {}), writes)
    return link(document)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every operation of a document."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def add_refusals(operation: dict[str, Any], *statuses: str) -> None:
    """Say that the operation may be refused with these statuses, unless it says so itself."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    for status in statuses:
        headers = ["X-Correlation-Id", *(["Retry-After"] if status in _LATER else [])]
        answer = {
            "description": _REFUSALS[status],
            "content": {_PROBLEM: {"schema": schema}},
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        }
        operation["responses"].setdefault(status, answer)


def _refusals(method: str, operation: dict[str, Any]) -> Iterator[str]:
    """The statuses an operation may be refused with, as its parts say."""
    parameters = operation.get("parameters", ())
    security = operation.get("security", ())
    body = operation.get("requestBody", {}).get("content", {})
    if security:
        yield "401"
    if any(scopes for scheme in security for scopes in scheme.values()):
        yield "403"
    if any(parameter.get("in") == "path" for parameter in parameters):
        yield "404"
    if "application/json" in body:
        yield "400"
    if method != "get":
        yield from ("409", "415") if security else ()
        yield from ("413", "504")
    for parameter in parameters:
        if parameter.get("name") == "if-match":
            yield from ("412", "428") if parameter.get("required") else ("412",)
    yield from ("422", "503")


def _describe_answers(answers: dict[str, Any], schemas: dict[str, Any], writes: bool) -> None:
    for status, answer in answers.items():
        content = answer.get("content", {})
        headers = ["X-Correlation-Id"]
        if status.startswith("2"):
            headers += ["Idempotent-Replay"] if writes else []
            headers += ["ETag"] if _is_record(answer, schemas) else []
        else:
            headers += ["Retry-After"] if status in _LATER else []
            answer["content"] = {_PROBLEM: next(iter(content.values()))}
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def link(document: dict[str, Any]) -> dict[str, Any]:
    """Link the answer that made a record to what can be asked about it and done with it; returns the document."""
    schemas = document["components"].get("schemas", {})
    for path, method, operation in operations(document):
        made = operation["responses"].get("201")
        if method != "post" or not made or not _is_record(made, schemas):
            continue
        below = [other for where, _, other in operations(document) if re.match(rf"{re.escape(path)}/{{[^{{]*$", where)]
        if below:
            made["links"] = {
                other["operationId"]: {"operationId": other["operationId"], "parameters": _of_record(other)}
                for other in below
            }
    return document


def _of_record(operation: dict[str, Any]) -> dict[str, str]:
    """Parameters of an operation on a record, taken from the answer that made the record."""
    sources = {"path": "$response.body#/id", "if-match": "$response.header.ETag"}
    found = ((p.get("name"), sources.get(p.get("name")) or sources.get(p.get("in"))) for p in operation["parameters"])
    return {name: source for name, source in found if source}


def _is_record(answer: dict[str, Any], schemas: dict[str, Any]) -> bool:
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    properties: dict[str, Any] = schemas.get(reference.rpartition("/")[2], {}).get("properties", {})
    return {"id", "version"} <= properties.keys()

"""The public OpenAPI document: our own paths and those of every service, fetched from them."""

import asyncio
import copy
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.http.document import add_refusals, link, operations
from chassis.http.problems import Problem
from gateway.orders.rules import GATEWAY, SERVICES, owner_of
from gateway.upstreams import SAFE_METHODS, Outgoing, Upstreams

PATH = "/openapi.json"
_FRESH_SECONDS = 60.0
_FETCH_SECONDS = 3.0
_REF = "#/components/schemas/"
log = structlog.get_logger()


class PublicDocument:
    """Middleware and cache: before the document is shown, bring the services' parts up to date."""

    def __init__(self, app: FastAPI, upstreams: Upstreams, scopes: Sequence[str]) -> None:
        self._own = app.openapi
        self._scopes = scopes
        self._upstreams = upstreams
        self._parts: dict[str, dict[str, Any]] = {}
        self._asked_at: dict[str, float] = {}

    def document(self) -> dict[str, Any]:
        """Our own document with the parts of the services that have answered so far."""
        return compose(self._own(), self._parts, self._scopes)

    async def refresh(self) -> None:
        """Fetch the documents that are missing or old; one that cannot be fetched stays as it was."""
        await asyncio.gather(*(self._fetch(name) for name in SERVICES))

    async def _fetch(self, name: str) -> None:
        now = time.monotonic()
        if name in self._parts and now - self._asked_at[name] < _FRESH_SECONDS:
            return
        try:
            answer = await self._upstreams[name].send(Outgoing("GET", PATH.encode(), {}), _FETCH_SECONDS)
            self._parts[name] = answer.raise_for_status().json()
            self._asked_at[name] = now
        except (Problem, httpx.HTTPStatusError, ValueError) as error:
            log.warning("openapi_part_missing", service=name, error=repr(error))


class RefreshedDocument:
    """ASGI middleware: refreshes the document before it is served."""

    def __init__(self, app: ASGIApp, document: PublicDocument) -> None:
        self.app = app
        self.document = document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await self.document.refresh()
        await self.app(scope, receive, send)


def compose(own: dict[str, Any], parts: Mapping[str, dict[str, Any]], scopes: Sequence[str]) -> dict[str, Any]:
    """One document of ours and the services' public paths; a schema name with two shapes gets its service's name."""
    whole = copy.deepcopy(own)
    components = whole.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for service, part in sorted(parts.items()):
        theirs = part.get("components", {}).get("schemas", {})
        renamed = {
            name: f"{service.title()}{name}"
            for name, schema in theirs.items()
            if name in schemas and schemas[name] != schema
        }
        referring = _with_references(part, renamed)
        for name, schema in referring.get("components", {}).get("schemas", {}).items():
            schemas[renamed.get(name, name)] = schema
        for path, item in referring.get("paths", {}).items():
            if owner_of(path) == service:
                whole["paths"].setdefault(path, {}).update(item)
    flow = {"tokenUrl": "/oauth/token", "scopes": dict.fromkeys(scopes, "")}
    components["securitySchemes"] = {"client_credentials": {"type": "oauth2", "flows": {"clientCredentials": flow}}}
    for path, method, operation in operations(whole):
        if operation.get("security"):
            add_refusals(operation, "429")
        if owner_of(path) not in (GATEWAY, None):
            add_refusals(operation, "504", *([] if method.upper() in SAFE_METHODS else ["502"]))
    return link(whole)


def _with_references(part: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A copy of a document whose references follow the renaming."""

    def follow(found: dict[str, Any]) -> dict[str, Any]:
        reference = found.get("$ref")
        if isinstance(reference, str) and reference.startswith(_REF):
            name = reference.removeprefix(_REF)
            found["$ref"] = _REF + renamed.get(name, name)
        return found

    copied: dict[str, Any] = json.loads(json.dumps(part), object_hook=follow)
    return copied

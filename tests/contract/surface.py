"""The services' apps in-process, each on a database of its own, their documented operations, and requests to them."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import jwt
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from chassis.http.auth import Principal, sign_token
from chassis.http.document import operations
from chassis.service import Context, Service, create_app
from chassis.testing import TestIssuer
from devkit.platform.signing import KeyRing
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer
from gateway.access.keys import SigningKey
from gateway.access.rules import SCOPES
from gateway.orders.openapi import compose
from gateway.upstreams import Upstreams

NAMES = ("crm", "erp", "mes", "gateway")
_SAMPLES = {"": ("X-1", "EUR", "buyer@example.com"), "date": ("2030-01-31",), "date-time": ("2030-01-31T08:00:00Z",)}


@dataclass(frozen=True)
class Operation:
    """One operation of one app's document."""

    app: str
    path: str
    method: str
    described: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    document: Mapping[str, Any] = field(repr=False, hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.app} {self.method.upper()} {self.path}"

    @property
    def scopes(self) -> frozenset[str] | None:
        """The scopes it needs; none when any token will do, None when it needs no token."""
        security = self.described.get("security")
        return None if security is None else frozenset(scope for one in security for s in one.values() for scope in s)

    @property
    def documented(self) -> set[int]:
        """The statuses its document names."""
        return {int(status) for status in self.described["responses"]}

    def parameter(self, name: str) -> bool:
        """Whether it declares a parameter of this name."""
        return any(parameter.get("name") == name for parameter in self.described.get("parameters", ()))

    def request(self, record: str = "UNKNOWN-1", **parts: Any) -> dict[str, Any]:
        """A well-formed request about a record, in the arguments of httpx."""
        path = re.sub(r"{[^}]+}", record, self.path)
        headers = {"If-Match": '"1"'} if self.parameter("if-match") else {}
        for media_type, body in self.described.get("requestBody", {}).get("content", {}).items():
            headers["Content-Type"] = media_type
            if media_type == "application/json":
                parts.setdefault("content", json.dumps(self._example(body["schema"])).encode())
        return {"method": self.method, "url": path, **parts, "headers": {**headers, **parts.get("headers", {})}}

    def _example(self, schema: Mapping[str, Any]) -> Any:
        """The smallest value of a JSON schema, or the example it gives."""
        if choices := schema.get("examples") or schema.get("enum"):
            return choices[0]
        if "$ref" in schema or "anyOf" in schema:
            name = schema.get("$ref", "").rpartition("/")[2]
            return self._example(self.document["components"]["schemas"][name] if name else schema["anyOf"][0])
        match schema.get("type"):
            case "object":
                wanted = schema.get("required", ())
                return {name: self._example(value) for name, value in schema["properties"].items() if name in wanted}
            case "array":
                return [self._example(schema["items"])] * schema.get("minItems", 0)
            case "string":
                samples = _SAMPLES.get(schema.get("format", ""), _SAMPLES[""])
                return next(sample for sample in samples if re.search(schema.get("pattern", ""), sample))
            case _:
                return max(1, schema.get("minimum", 1))

    def broken(self, answer: httpx.Response) -> list[str]:
        """What the answer has that its document does not say."""
        described = self.described["responses"].get(str(answer.status_code))
        if described is None:
            return [f"{answer.status_code} is not documented: {answer.text[:200]}"]
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        content = described.get("content", {}).get(media_type)
        if content is None:
            return [f"{answer.status_code} has the undocumented media type {media_type!r}"]
        missing = [name for name in described["headers"] if name in _ALWAYS and name not in answer.headers]
        schema = {**content.get("schema", {}), "components": self.document["components"]}
        wrong = [error.message for error in Draft202012Validator(schema).iter_errors(answer.json())]
        return [*wrong, *(f"{answer.status_code} lacks {name}" for name in missing)]


# `Idempotent-Replay` is on repeats only, and an empty list has no ETag.
_ALWAYS = ("X-Correlation-Id", "Retry-After")


@dataclass
class Surface:
    """The apps under test, and who signs the tokens they accept."""

    apps: dict[str, FastAPI]
    clients: dict[str, httpx.AsyncClient]
    contexts: dict[str, Context]
    issuer: TestIssuer
    keys: Path

    def bearer(self, *scopes: str, **claims: Any) -> dict[str, str]:
        """Headers of a caller with these scopes."""
        return {"Authorization": f"Bearer {self.issuer.token(*scopes, **claims)}"}

    def bad_token(self, kind: str) -> str:
        """An admin's token with one thing wrong."""
        principal = Principal("tester", "admin", frozenset(SCOPES))
        match kind:
            case "expired":
                return sign_token(self.issuer.key, "orderloop", "orderloop", principal, -1)
            case "of another issuer":
                return sign_token(self.issuer.key, "elsewhere", "orderloop", principal, 600)
            case "for another audience":
                return sign_token(self.issuer.key, "orderloop", "elsewhere", principal, 600)
            case "unsigned":
                claims = jwt.decode(self.issuer.token(*SCOPES), options={"verify_signature": False})
                return jwt.encode(claims, None, "none", headers={"kid": self.issuer.key.key_id})
        raise ValueError(kind)

    def documents(self) -> dict[str, dict[str, Any]]:
        """The document of each service, and the public one as `gateway`."""
        own = {name: app.openapi() for name, app in self.apps.items()}
        parts = {name: own[name] for name in NAMES if name != "gateway"}
        return {**parts, "gateway": compose(own["gateway"], parts, SCOPES)}

    def operations(self) -> list[Operation]:
        """Every operation of every document: those of the services twice, directly and through the gateway."""
        return [
            Operation(app, path, method, described, document)
            for app, document in self.documents().items()
            for path, method, described in operations(document)
        ]

    async def send(self, operation: Operation, **parts: Any) -> httpx.Response:
        """Send a request of an operation to the app whose document declares it."""
        return await self.clients[operation.app].request(**operation.request(**parts))


def service(name: str) -> Service:
    """The declaration of a service."""
    declared: Service = import_module(f"{name}.service").SERVICE
    return declared


@asynccontextmanager
async def running(server: PostgresTestServer, folder: Path, database_url: str | None = None) -> AsyncIterator[Surface]:
    """All four apps, the gateway before the others, on new databases unless a database is given."""
    ring = KeyRing(folder)
    ring.ensure()
    issuer = TestIssuer(SigningKey.load(ring.signing_key).jwk, ring.jwks)
    made = Surface({}, {}, {}, issuer, folder)
    async with AsyncExitStack() as stack:
        for name in NAMES:
            url = database_url or stack.enter_context(fresh_database(server, name))
            more = {"signing_key_file": ring.signing_key} if name == "gateway" else {}
            declared = service(name)
            context = declared.context(declared.settings(database_url=url, jwks=str(ring.jwks), **more))
            app = create_app(declared, context)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url=f"http://{name}")
            made.apps[name], made.contexts[name] = app, context
            made.clients[name] = await stack.enter_async_context(client)
            stack.push_async_callback(context.database.dispose)
        await made.apps["gateway"].state.upstreams.aclose()
        transports = {name: made.clients[name]._transport for name in NAMES if name != "gateway"}
        made.apps["gateway"].state.upstreams = Upstreams({name: f"http://{name}" for name in transports}, transports)
        yield made
        await made.apps["gateway"].state.upstreams.aclose()

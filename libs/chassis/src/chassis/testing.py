"""For tests: a key set of our own, tokens signed with it, and a client on a service's app."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chassis.clock import new_id, now
from chassis.db import Database
from chassis.events import DomainEvent, EventMeta
from chassis.http.auth import Principal, sign_token
from chassis.messaging.handlers import Consumer
from chassis.messaging.inbox import Delivery, handle
from chassis.service import Context, Service, create_app
from chassis.tables import outbox

E = TypeVar("E", bound=DomainEvent)


@dataclass(frozen=True)
class TestIssuer:
    """Signs tokens a service under test accepts."""

    __test__ = False

    key: jwt.PyJWK
    jwks: Path

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new key pair; the public half is written to ``jwks.json`` in `folder`."""
        private = Ed25519PrivateKey.generate()
        algorithm = jwt.algorithms.OKPAlgorithm()
        common = {"kid": "test", "alg": "EdDSA", "use": "sig"}
        path = folder / "jwks.json"
        path.write_text(json.dumps({"keys": [{**algorithm.to_jwk(private.public_key(), as_dict=True), **common}]}))
        return cls(jwt.PyJWK({**algorithm.to_jwk(private, as_dict=True), **common}), path)

    def token(
        self, *scopes: str, client: str = "tester", customer: str | None = None, role: str = "", seconds: int = 600
    ) -> str:
        """A bearer token with these scopes."""
        principal = Principal(client, role, frozenset(scopes), customer)
        return sign_token(self.key, "orderloop", "orderloop", principal, seconds)


def client_of(service: Service, database_url: str, issuer: TestIssuer, token: str) -> tuple[httpx.AsyncClient, Context]:
    """A client that calls the service's app in-process, and the app's context (dispose its database after)."""
    settings = service.settings(database_url=database_url, jwks=str(issuer.jwks))
    context = service.context(settings)
    transport = httpx.ASGITransport(create_app(service, context))
    client = httpx.AsyncClient(
        transport=transport, base_url=f"http://{service.name}", headers={"Authorization": f"Bearer {token}"}
    )
    return client, context


async def deliver(
    database: Database, consumer: Consumer, *happened: DomainEvent, event_id: UUID | None = None
) -> list[UUID]:
    """Hand events to a consumer as the runtime would, one transaction each; returns their ids.

    ``event_id`` delivers (again) under a known id, to try duplicates.
    """
    ids = []
    for event in happened:
        meta = EventMeta(event_id or new_id(), event.TYPE, "test", now(), event.key, correlation_id=event.key)
        await handle(database, consumer, [Delivery(meta, event)])
        ids.append(meta.event_id)
    return ids


async def published(database: Database, model: type[E]) -> list[E]:
    """Events of one type waiting in the outbox, oldest first (no relay runs in a service's own tests)."""
    query = select(outbox.c.payload).where(outbox.c.type == model.TYPE).order_by(outbox.c.id)
    async with database.read() as reader:
        return [model.model_validate_json(row["payload"]) for row in await reader.all(query)]

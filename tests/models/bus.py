"""All four services in one process on real databases, and a hand on every event between them.

What a service commits is taken from its outbox, as the relay would, and laid into one stream per topic and key. The
test then decides which consumer hears of which stream next: any interleaving that Kafka allows, and no other.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from sqlalchemy import delete

import crm.service
import erp.service
import gateway.service
import mes.service
from chassis.db import Database
from chassis.messaging.handlers import Consumer
from chassis.messaging.inbox import handle
from chassis.messaging.records import decode
from chassis.service import Service
from chassis.tables import outbox
from chassis.testing import TestIssuer, client_of
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer

MODULES: Mapping[str, ModuleType] = {
    "crm": crm.service,
    "erp": erp.service,
    "mes": mes.service,
    "gateway": gateway.service,
}
AREAS = ("customers", "orders", "items", "stock", "purchasing", "shipping", "production", "quality")
SCOPES = (*(f"{area}:{verb}" for area in AREAS for verb in ("read", "write")), "execution:write", "finance:read")


@contextmanager
def databases(server: PostgresTestServer) -> Iterator[dict[str, str]]:
    """A migrated database per service; their URLs."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(fresh_database(server, name)) for name in MODULES}


@dataclass(frozen=True)
class Published:
    """An event as it would lie in Kafka."""

    topic: str
    key: str
    type: str
    headers: Mapping[str, str]
    payload: bytes


@dataclass(frozen=True, order=True)
class Place:
    """Where a consumer group stands in one stream."""

    group: str
    topic: str
    key: str


@dataclass
class Bus:
    """The services and the streams between them."""

    clients: dict[str, httpx.AsyncClient]
    databases: dict[str, Database]
    consumers: dict[str, tuple[str, Consumer]]
    streams: dict[tuple[str, str], list[Published]] = field(default_factory=lambda: defaultdict(list))
    places: dict[Place, int] = field(default_factory=dict)

    @classmethod
    async def open(cls, stack: AsyncExitStack, urls: Mapping[str, str], keys: Path) -> "Bus":
        """Start the services in the running event loop."""
        issuer = TestIssuer.create(keys)
        clients, opened, consumers = {}, {}, {}
        for name, module in MODULES.items():
            service: Service = module.SERVICE
            opened[name] = Database(urls[name], name)
            stack.push_async_callback(opened[name].dispose)
            consumers |= {consumer.group: (name, consumer) for consumer in service.consumers}
            if name != "gateway":
                token = issuer.token(*SCOPES, seconds=3600)
                client, context = client_of(service, urls[name], issuer, token)
                clients[name] = await stack.enter_async_context(client)
                stack.push_async_callback(context.database.dispose)
        return cls(clients, opened, consumers)

    async def relay(self) -> None:
        """Take what was committed into the streams, in the order of the outboxes."""
        for name in ("crm", "erp", "mes"):
            async with self.databases[name].transaction() as tx:
                rows = await tx.all(delete(outbox).returning(outbox))
            for row in sorted(rows, key=lambda row: row["id"]):
                event = Published(row["topic"], row["key"], row["type"], row["headers"], bytes(row["payload"]))
                self.streams[event.topic, event.key].append(event)
                for group, (_, consumer) in self.consumers.items():
                    if event.topic in consumer.topics:
                        self.places.setdefault(Place(group, event.topic, event.key), 0)

    def pending(self) -> list[Place]:
        """The places with something to hear, in a stable order."""
        return sorted(place for place, heard in self.places.items() if heard < len(self._stream(place)))

    async def deliver(self, place: Place, at_most: int = 1) -> None:
        """Let a group hear the next events of one stream, in one transaction."""
        heard = self.places[place]
        chunk = self._stream(place)[heard : heard + at_most]
        await self._handle(place, chunk)
        self.places[place] = heard + len(chunk)
        await self.relay()

    async def deliver_again(self, place: Place, which: int) -> None:
        """Let a group hear once more an event it has heard; nothing may come of it."""
        heard = self.places[place]
        if heard:
            assert await self._handle(place, [self._stream(place)[which % heard]]) == 0
            async with self.databases[self.consumers[place.group][0]].transaction() as tx:
                assert await tx.all(delete(outbox).returning(outbox.c.type)) == []

    async def deliver_all(self) -> None:
        """Deliver until nothing is left to hear."""
        while places := self.pending():
            for place in places:
                await self.deliver(place, 100)

    async def call(self, service: str, method: str, path: str, **how: Any) -> httpx.Response:
        """Call a service's API; what it commits is in the streams afterwards. No answer may be a 5xx."""
        answer = await self.clients[service].request(method, path, **how)
        assert answer.status_code < 500, answer.text
        await self.relay()
        return answer

    def _stream(self, place: Place) -> list[Published]:
        return self.streams[place.topic, place.key]

    async def _handle(self, place: Place, events: list[Published]) -> int:
        name, consumer = self.consumers[place.group]
        types = {model.TYPE: model for model in consumer.handlers}
        known = [decode(types[e.type], e.headers, e.payload) for e in events if e.type in types]
        return await handle(self.databases[name], consumer, known)

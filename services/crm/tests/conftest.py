"""What every test of CRM has: a database of its own, clients of several kinds, and its consumers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import event, text

from chassis.clock import now
from chassis.db import Database
from chassis.events import DomainEvent
from chassis.messaging.handlers import Consumer
from chassis.testing import TestIssuer, client_of, deliver
from contracts.erp import ItemDefined
from crm.service import SERVICE
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer

SALES = ("customers:read", "customers:write", "orders:read", "orders:write")
TABLES = ("customer", "customer_order", "order_line", "notification", "outbox", "idempotency_key", "catalogue_item")
PRICES = {"PRT-1": "12.50", "SOFA-3S": "899", "RM-1": "0.0512"}


@dataclass
class Crm:
    """The running service as its tests use it."""

    client: httpx.AsyncClient
    database: Database
    issuer: TestIssuer

    def consumer(self, group: str) -> Consumer:
        """The consumer of this group."""
        return next(consumer for consumer in SERVICE.consumers if consumer.group == group)

    async def tell(self, *happened: DomainEvent, event_id: UUID | None = None) -> list[UUID]:
        """Deliver what ERP and MES report about orders."""
        return await deliver(self.database, self.consumer("crm.order-state"), *happened, event_id=event_id)

    async def define(self, item: str, price: str, version: int = 1) -> None:
        """ERP defines an item."""
        defined = ItemDefined(
            aggregate_version=version, item=item, name=item, unit="pcs", source="make", price=Decimal(price),
            standard_cost=Decimal(1), lead_time_days=0,
        )  # fmt: skip
        await deliver(self.database, self.consumer("crm.catalogue"), defined)

    def headers(self, *scopes: str, **claims: Any) -> dict[str, str]:
        """Headers of another caller."""
        return {"Authorization": f"Bearer {self.issuer.token(*scopes, **claims)}"}

    def as_customer(self, number: str) -> dict[str, str]:
        """Headers of a client bound to a customer."""
        return self.headers("orders:read", "orders:write", client=f"app-{number}", customer=number, role="customer")

    async def place(self, **fields: Any) -> dict[str, Any]:
        """Place an order of C-77 for ten PRT-1 unless said otherwise."""
        answer = await self.client.post("/v1/orders", json=order(**fields))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def get(self, reference: str) -> dict[str, Any]:
        """An order as it is now."""
        return dict((await self.client.get(f"/v1/orders/{reference}")).json())

    async def contents(self) -> dict[str, str]:
        """A fingerprint of every table, to see that nothing changed."""
        async with self.database.read() as reader:
            return {
                name: await reader.scalar(
                    text(f"SELECT md5(coalesce(string_agg(t::text, '\n' ORDER BY t::text), '')) FROM {name} t")
                )
                for name in TABLES
            }

    def statements(self) -> list[str]:
        """The statements run from now on, without BEGIN and COMMIT."""
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            seen.append(statement)

        event.listen(self.database.engine.sync_engine, "before_cursor_execute", note)
        return seen


def day(days: int) -> str:
    """A day from today, as text."""
    return (now().date() + timedelta(days=days)).isoformat()


def order(**fields: Any) -> dict[str, Any]:
    """A body for POST /orders."""
    return {"customer": "C-77", "requested_date": day(5), "lines": [{"item": "PRT-1", "quantity": "10"}], **fields}


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> TestIssuer:
    """Signs the tokens of the tests."""
    return TestIssuer.create(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A migrated CRM database."""
    with fresh_database(postgres_server, "crm") as url:
        yield url


@asynccontextmanager
async def running(database_url: str, issuer: TestIssuer) -> AsyncIterator[Crm]:
    """CRM on this database, called as sales."""
    client, context = client_of(SERVICE, database_url, issuer, issuer.token(*SALES))
    async with client:
        yield Crm(client, context.database, issuer)
    await context.database.dispose()


async def stock(crm: Crm) -> None:
    """Customers C-77 (priority 30) and C-78, and three items."""
    for number, priority in (("C-77", 30), ("C-78", 0)):
        body = {"number": number, "name": f"Customer {number}", "priority": priority}
        assert (await crm.client.post("/v1/customers", json=body)).status_code == 201
    for item, price in PRICES.items():
        await crm.define(item, price)


@pytest.fixture
async def empty(database_url: str, issuer: TestIssuer) -> AsyncIterator[Crm]:
    """CRM without any data."""
    async with running(database_url, issuer) as crm:
        yield crm


@pytest.fixture
async def crm(empty: Crm) -> Crm:
    """CRM with two customers and three items."""
    await stock(empty)
    return empty


@pytest.fixture(scope="session")
async def shared_crm(postgres_server: PostgresTestServer, issuer: TestIssuer) -> AsyncIterator[Crm]:
    """CRM with two customers and three items, one for all tests that change nothing."""
    with fresh_database(postgres_server, "crm") as url:
        async with running(url, issuer) as crm:
            await stock(crm)
            yield crm


@pytest.fixture
def new_order() -> Any:
    """Makes bodies for POST /orders."""
    return order


@pytest.fixture
def days_ahead() -> Any:
    """Makes days from today, as text."""
    return day

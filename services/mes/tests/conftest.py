"""What every test of MES has: a database of its own, a client with all scopes, and its consumer."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import pytest

from chassis.clock import new_id, now
from chassis.db import Database
from chassis.service import Context
from chassis.testing import TestIssuer, client_of, deliver, published
from contracts.envelope import Event
from contracts.erp import PlanChanged, PlanReleased, StockMoved
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer
from mes.scheduling import worker
from mes.service import LOTS, PLANS, SERVICE

E = TypeVar("E", bound=Event)

SCOPES = ("production:read", "production:write", "execution:write", "quality:read", "quality:write")


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> TestIssuer:
    """Signs the tokens of the tests."""
    return TestIssuer.create(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A migrated MES database."""
    with fresh_database(postgres_server, "mes") as url:
        yield url


@pytest.fixture
async def running(database_url: str, issuer: TestIssuer) -> AsyncIterator[tuple[httpx.AsyncClient, Context]]:
    """The MES app: a client that may do everything, and the app's context."""
    client, context = client_of(SERVICE, database_url, issuer, issuer.token(*SCOPES))
    async with client:
        yield client, context
    await context.database.dispose()


@pytest.fixture
def client(running: tuple[httpx.AsyncClient, Context]) -> httpx.AsyncClient:
    """A client that may do everything in MES."""
    return running[0]


@pytest.fixture
def database(running: tuple[httpx.AsyncClient, Context]) -> Database:
    """The database behind `client`."""
    return running[1].database


@dataclass
class Shop:
    """The shop floor under test: ERP's plans and receipts come in, operators and machines use the API."""

    client: httpx.AsyncClient
    database: Database
    orders: int = 0

    async def release(
        self, item: str = "SOFA", quantity: str = "10", **fields: Any
    ) -> tuple[PlanReleased, dict[str, Any]]:
        """Deliver a released plan; returns it and the work order it became."""
        self.orders += 1
        number = self.orders
        values: dict[str, Any] = {
            "aggregate_version": 1,
            "plan_id": new_id(),
            "plan": f"PL-{number:06d}",
            "item": item,
            "quantity": quantity,
            "unit": "pcs",
            "due": now() + timedelta(days=5),
            "priority": 50,
            "pegs": [{"order_id": new_id(), "order": f"SO-{number:06d}", "line": 1, "quantity": quantity}],
            "material_status": "ready",
            "bom_version": 3,
            "routing_version": 2,
            "components": [],
            "routing": [step(10, "CUT", 30, 6), step(20, "SEW", 0, 12)],
        }
        plan = PlanReleased.model_validate({**values, **fields})
        await deliver(self.database, PLANS, plan)
        return plan, await self.work_order(plan)

    async def work_order(self, plan: PlanReleased) -> dict[str, Any]:
        """The work order of a plan, as the API shows it."""
        (found,) = await self.items("/v1/work-orders", plan=plan.plan)
        return found

    async def change(self, plan: PlanReleased, version: int, **fields: Any) -> None:
        """Deliver a changed version of a plan."""
        state = plan.model_dump(exclude={"bom_version", "routing_version", "components", "routing"})
        event = PlanChanged.model_validate({**state, **fields, "aggregate_version": version})
        await deliver(self.database, PLANS, event)

    async def receive(self, item: str, lot: str, quantity: str) -> None:
        """Stock of an item arrived in a lot."""
        moved = StockMoved(
            aggregate_version=1,
            item=item,
            lot=lot,
            quantity=Decimal(quantity),
            reason="receipt",
            balance=Decimal(quantity),
        )
        await deliver(self.database, LOTS, moved)

    async def machines(self, work_center: str, *codes: str) -> None:
        """A work center with these machines."""
        await self.post("/v1/work-centers", {"work_center": work_center})
        for code in codes:
            await self.post("/v1/machines", {"machine": code, "work_center": work_center})

    async def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """The items of a list."""
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def get(self, path: str) -> dict[str, Any]:
        """A record."""
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A write that succeeds."""
        answer = await self.client.post(path, json=body or {})
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def refused(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """A write that is refused: its status, and the rule of the first field or else the code."""
        answer = await self.client.post(path, json=body or {})
        assert answer.status_code >= 400, answer.text
        problem = answer.json()
        return answer.status_code, problem["errors"][0]["rule"] if problem.get("errors") else problem["code"]

    async def report(self, operation: str, **body: Any) -> dict[str, Any]:
        """Report an operation, by number."""
        return await self.post(f"/v1/operations/{operation}/reports", body)

    async def reschedule(self) -> int:
        """Run the scheduler once; how many work orders were told."""
        return await self.database.write(worker.reschedule)

    async def last(self, event: type[E]) -> E:
        """The newest event of a type."""
        return (await published(self.database, event))[-1]


def step(operation: int, work_center: str, setup_minutes: float, minutes_per_unit: float) -> dict[str, Any]:
    """One step of a routing."""
    return {
        "operation": operation,
        "work_center": work_center,
        "setup_minutes": str(setup_minutes),
        "minutes_per_unit": str(minutes_per_unit),
    }


@pytest.fixture
def shop(client: httpx.AsyncClient, database: Database) -> Shop:
    """The shop floor under test."""
    return Shop(client, database)

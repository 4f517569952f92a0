"""One migrated database per test, a client on the service's app, and a planner's eye on its outbox."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import event

from chassis.db import Database
from chassis.testing import TestIssuer, client_of
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer
from erp.service import SERVICE

SCOPES = [
    "items:read",
    "items:write",
    "stock:read",
    "stock:write",
    "purchasing:read",
    "purchasing:write",
    "shipping:read",
    "shipping:write",
    "production:read",
    "quality:read",
    "finance:read",
    "invoices:read",
    "orders:read",
    "orders:write",
]


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> TestIssuer:
    """Signs the tests' tokens."""
    folder: Path = tmp_path_factory.mktemp("keys")
    return TestIssuer.create(folder)


@pytest.fixture
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A database at the newest revision."""
    with fresh_database(postgres_server, "erp") as url:
        yield url


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The test's own way into the database."""
    opened = Database(database_url, "erp")
    yield opened
    await opened.dispose()


@pytest_asyncio.fixture
async def client(database_url: str, issuer: TestIssuer) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may do everything."""
    opened, context = client_of(SERVICE, database_url, issuer, issuer.token(*SCOPES))
    async with opened:
        yield opened
    await context.database.dispose()


@pytest.fixture
def statements(database: Database) -> Callable[[], list[str]]:
    """Starts recording: a list that gets every statement the test's database handle runs, once per execution."""

    def record() -> list[str]:
        seen: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            seen.append(statement)

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        return seen

    return record

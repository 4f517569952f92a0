"""What every test of MES has: a database of its own, a client with all scopes, and its consumer."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from chassis.db import Database
from chassis.service import Context
from chassis.testing import TestIssuer, client_of
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer
from mes.service import SERVICE

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

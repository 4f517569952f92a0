"""A gateway on its own database; what tests share beside fixtures is in gateway_support."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from chassis.service import create_app
from chassis.testing import TestIssuer
from devkit.platform.signing import KeyRing
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer, free_port
from gateway.access.keys import SigningKey
from gateway.access.rules import secret_digest
from gateway.service import SERVICE
from gateway.settings import GatewaySettings

# Tests are imported by path (import-mode importlib), which leaves their folder off the path.
sys.path.append(str(Path(__file__).parent))

from gateway_support import SECRETS, Behind, Gateway, MakeGateway, served


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signing key, its key set and a clients file."""
    folder = tmp_path_factory.mktemp("keys")
    KeyRing(folder).ensure()
    return folder


@pytest.fixture
def clients_file(tmp_path: Path) -> Path:
    """The platform's clients: admin, sales, and customer bound to C-77."""
    path = tmp_path / "clients.json"
    entries = [
        {
            "client_id": f"demo-{role}",
            "client_secret_sha256": secret_digest(secret),
            "role": role,
            "customer": "C-77" if role == "customer" else None,
        }
        for role, secret in SECRETS.items()
    ]
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A database at the newest revision."""
    with fresh_database(postgres_server, "gateway") as url:
        yield url


@pytest.fixture
def make_gateway(database_url: str, keys: Path, clients_file: Path) -> MakeGateway:
    """Makes a gateway; name the URLs of the services that are up."""

    @asynccontextmanager
    async def make(*, trusted_proxies: list[str] | None = None, **urls: str) -> AsyncIterator[Gateway]:
        nowhere = f"http://127.0.0.1:{free_port()}"
        settings = GatewaySettings(
            database_url=database_url,
            jwks=str(keys / "jwks.json"),
            signing_key_file=keys / "signing-key.pem",
            clients_file=clients_file,
            trusted_proxies=trusted_proxies or [],
            **{f"{name}_url": urls.get(name, nowhere) for name in ("crm", "erp", "mes")},
        )
        context = SERVICE.context(settings)
        app = create_app(SERVICE, context)
        issuer = TestIssuer(SigningKey.load(keys / "signing-key.pem").jwk, keys / "jwks.json")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(client, app, context, issuer)
        context.stopping.set()
        await app.state.upstreams.aclose()
        await context.database.dispose()

    return make


@pytest_asyncio.fixture
async def gateway(make_gateway: MakeGateway) -> AsyncIterator[Gateway]:
    """A gateway with no service behind it."""
    async with make_gateway() as made:
        yield made


@pytest_asyncio.fixture
async def behind() -> AsyncIterator[Behind]:
    """A service on a socket."""
    made = Behind()
    async with served(made.app()) as url:
        made.url = url
        yield made

"""A service's database role reaches its own database and nothing else of the server."""

import secrets
from collections.abc import Iterator

import asyncpg
import pytest

from devkit.platform.postgres import ensure_databases, execute_admin, identifier, url_for
from devkit.testing import PostgresTestServer

SERVICES = ("crm", "erp", "mes", "gateway")


@pytest.fixture(scope="module")
def urls(postgres_server: PostgresTestServer) -> Iterator[dict[str, str]]:
    """The URL of each service's database, as the platform makes them; under names no other test uses."""
    suffix = secrets.token_hex(4)
    passwords = {f"{service}_{suffix}": secrets.token_hex(16) for service in SERVICES}
    ensure_databases(postgres_server.admin_url, passwords)
    yield {name: url_for(postgres_server.admin_url, name, name, password) for name, password in passwords.items()}
    names = [identifier(name) for name in passwords]
    execute_admin(postgres_server.admin_url, [f"DROP DATABASE {name} WITH (FORCE)" for name in names])
    execute_admin(postgres_server.admin_url, [f"DROP ROLE {name}" for name in names])


async def test_no_role_reaches_anothers_database(urls: dict[str, str]) -> None:
    for role, url in urls.items():
        own = await asyncpg.connect(url)
        assert await own.fetchval("SELECT current_database()") == role
        await own.close()
        for other in urls.keys() - {role}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(url, database=other)


async def test_no_role_can_become_more(urls: dict[str, str]) -> None:
    powers = ("rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication", "rolbypassrls")
    for role, url in urls.items():
        connection = await asyncpg.connect(url)
        row = await connection.fetchrow(f"SELECT {', '.join(powers)} FROM pg_roles WHERE rolname = $1", role)
        assert dict(row) == dict.fromkeys(powers, False)
        for forbidden in (
            "CREATE DATABASE more",
            "CREATE ROLE more",
            "SET ROLE postgres",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/hostname')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        await connection.close()


async def test_a_wrong_password_is_refused(urls: dict[str, str]) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(next(iter(urls.values())), password="guess")

"""Pytest plugin: one real PostgreSQL and one real Kafka per test session, and helpers to wait instead of sleeping.

`ORDERLOOP_TEST_POSTGRES` (a superuser's URL) and `ORDERLOOP_TEST_KAFKA` (`host:port`) name servers to use instead.
"""

import asyncio
import inspect
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest

from devkit.platform.kafka import start_kafka, stop_kafka
from devkit.platform.ports import free_port
from devkit.platform.postgres import (
    admin_url,
    execute_admin,
    identifier,
    sqlalchemy_url,
    start_postgres,
    stop_postgres,
    url_for,
)

__all__ = ["KafkaTestServer", "PostgresTestServer", "free_port", "kafka_server", "postgres_server", "wait_until"]

T = TypeVar("T")
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class PostgresTestServer:
    """A PostgreSQL server tests may make databases in; `admin_url` is a plain `postgresql://` superuser URL."""

    admin_url: str

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, empty or a copy of `template` (to which nobody may be connected); its SQLAlchemy URL."""
        copied = f" TEMPLATE {identifier(template)} STRATEGY FILE_COPY" if template else ""
        execute_admin(self.admin_url, [f"CREATE DATABASE {identifier(name)}{copied}"])
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database if it exists, cutting connections to it."""
        execute_admin(self.admin_url, [f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)"])

    def url(self, name: str) -> str:
        """The SQLAlchemy URL (`postgresql+asyncpg://`) of a database of this server."""
        return sqlalchemy_url(url_for(self.admin_url, name))


@dataclass(frozen=True)
class KafkaTestServer:
    """A Kafka broker tests may use; `bootstrap` is its `host:port`."""

    bootstrap: str


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresTestServer]:
    """A PostgreSQL server of this test session, started when first asked for."""
    if given := os.environ.get("ORDERLOOP_TEST_POSTGRES"):
        yield PostgresTestServer(given)
        return
    folder = tmp_path_factory.mktemp("postgres")
    port, password = free_port(), secrets.token_hex(16)
    server = start_postgres(folder / "data", port, password, folder / "postgres.log", durable=False, tied_to_us=True)
    yield PostgresTestServer(admin_url(port, password))
    stop_postgres(server)


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaTestServer]:
    """A Kafka broker of this test session, started when first asked for."""
    if given := os.environ.get("ORDERLOOP_TEST_KAFKA"):
        yield KafkaTestServer(given)
        return
    folder = tmp_path_factory.mktemp("kafka")
    port = free_port()
    server = start_kafka(folder / "data", port, free_port(), folder / "kafka.log", tied_to_us=True)
    yield KafkaTestServer(f"127.0.0.1:{port}")
    stop_kafka(server)


async def wait_until(
    predicate: Callable[[], T | Awaitable[T]], deadline_seconds: float = 10.0, what: str = "the condition"
) -> T:
    """Poll until `predicate` (plain or async) gives something true and return that; AssertionError at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        outcome = predicate()
        value: T = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {deadline_seconds:g} s for {what}; last seen: {value!r}")
        await asyncio.sleep(_POLL_SECONDS)

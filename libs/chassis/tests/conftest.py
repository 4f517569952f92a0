"""What the chassis' tests share: the tally service, and a database and a topic of their own."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

from messaging_bench import Bench  # noqa: E402

from chassis import logs  # noqa: E402
from chassis.testing import TestIssuer  # noqa: E402
from devkit.service_testing import fresh_database  # noqa: E402
from devkit.testing import KafkaTestServer, PostgresTestServer  # noqa: E402

logs.configure("tally", "WARNING")


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> TestIssuer:
    """Signs the tests' tokens."""
    return TestIssuer.create(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A migrated database of the tally service."""
    with fresh_database(postgres_server, "tally") as url:
        yield url


@pytest.fixture
async def bench(database_url: str, kafka_server: KafkaTestServer) -> AsyncIterator[Bench]:
    """A database, and a topic with six partitions, of one test."""
    async with Bench.open(database_url, kafka_server.bootstrap) as bench:
        yield bench

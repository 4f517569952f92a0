"""A stage per test: the tally service's database, a topic and a group of its own, and the history of what happened."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "libs/chassis/tests/support"))

from chassis import logs
from devkit.service_testing import fresh_database
from devkit.testing import KafkaTestServer, PostgresTestServer
from guarantees.stage import Stage

logs.configure("tally", "CRITICAL")


@pytest.fixture
def database_url(postgres_server: PostgresTestServer) -> Iterator[str]:
    """A migrated database of the tally service."""
    with fresh_database(postgres_server, "tally") as url:
        yield url


@pytest.fixture
async def stage(database_url: str, kafka_server: KafkaTestServer) -> AsyncIterator[Stage]:
    """A stage whose topic has one partition, so that the last event applied means that all were looked at."""
    async with Stage.open(database_url, kafka_server.bootstrap, partitions=1) as stage:
        yield stage


@pytest.fixture
async def wide_stage(database_url: str, kafka_server: KafkaTestServer) -> AsyncIterator[Stage]:
    """A stage whose topic has two partitions."""
    async with Stage.open(database_url, kafka_server.bootstrap, partitions=2) as stage:
        yield stage

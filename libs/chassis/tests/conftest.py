"""What the chassis' tests share: the tally service, and a database and a topic of their own."""

import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

from messaging_bench import Bench  # noqa: E402
from tally.events import on_topic  # noqa: E402
from tally.service import Topic  # noqa: E402

from chassis import logs  # noqa: E402
from chassis.db import Database  # noqa: E402
from chassis.messaging.provisioner import ensure_topics  # noqa: E402
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
    suffix = uuid.uuid4().hex[:10]
    made = Bench(
        Database(database_url, "bench"),
        Database(database_url, "tally"),
        kafka_server.bootstrap,
        on_topic(f"tally.{suffix}.events.v1"),
        f"tally.{suffix}",
    )
    names = await ensure_topics(made.kafka, [Topic(made.topic)], [made.consumer()])
    yield made
    for loop in made.loops:
        await loop.end()
    await made.database.dispose()
    await made.served.dispose()
    admin = AIOKafkaAdminClient(bootstrap_servers=made.kafka)
    await admin.start()
    await admin.delete_topics(names)
    await admin.close()

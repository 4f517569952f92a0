"""Databases the state machines share: each example uses items and customers of its own."""

from collections.abc import Iterator

import pytest

from chassis import logs
from devkit.testing import PostgresTestServer
from models.bus import databases

logs.configure("models", "WARNING")


@pytest.fixture(scope="module")
def urls(postgres_server: PostgresTestServer) -> Iterator[dict[str, str]]:
    """A migrated database per service."""
    with databases(postgres_server) as made:
        yield made

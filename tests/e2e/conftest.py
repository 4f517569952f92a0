"""One real platform for all end-to-end tests: its own PostgreSQL, Kafka and services on free ports."""

from collections.abc import AsyncIterator, Iterator

import pytest

from devkit.platform import Platform
from e2e.plant import Plant


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The running platform."""
    platform = Platform(tmp_path_factory.mktemp("e2e") / "state", throwaway=True)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()


@pytest.fixture
async def plant(platform: Platform) -> AsyncIterator[Plant]:
    """What a client can do, with one client per role."""
    async with Plant.connect(platform) as plant:
        yield plant

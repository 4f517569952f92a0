"""The apps the contract tests ask."""

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from rich.console import Console

from contract.surface import Surface, running
from devkit.demo.story import load_furniture, place_orders
from devkit.demo.target import local
from devkit.platform import Platform
from devkit.testing import PostgresTestServer


@pytest.fixture(scope="package", autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of refused requests are not worth a line each."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.fixture(scope="package")
async def surface(
    postgres_server: PostgresTestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Surface]:
    """All four apps on empty databases."""
    async with running(postgres_server, tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="package")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """A running platform in which the furniture factory has taken its orders."""
    platform = Platform(tmp_path_factory.mktemp("contract") / "state", throwaway=True)
    try:
        platform.start()
        dataset, _ = await load_furniture(local(platform), Console(quiet=True))
        await place_orders(local(platform), dataset)
        yield platform
    finally:
        platform.stop()

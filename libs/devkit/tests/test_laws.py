"""The laws between services: what is still under way is waited for, what stays broken is named."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import asyncpg
import pytest

from devkit.ops.laws import broken
from devkit.platform.postgres import plain_url
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer

ORDER, CUSTOMER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
PLACED = f"""
    INSERT INTO customer VALUES ('{CUSTOMER}', 'C-1', 'One', NULL, 0, 1, now(), now());
    INSERT INTO customer_order (id, number, version, customer_id, customer, requested_date, priority, currency, state,
                                created_at, updated_at)
    VALUES ('{ORDER}', 'SO-1', 2, '{CUSTOMER}', 'C-1', '2030-01-01', 0, 'EUR', 'placed', now(), now());
    INSERT INTO order_line VALUES ('{ORDER}', 1, 'A', 5, 1, '{{}}', false), ('{ORDER}', 2, 'B', 7, 1, '{{}}', true);
"""
FULFILLED = f"""
    INSERT INTO fulfilment (id, number, version, state, order_version, customer, currency, created_at, updated_at)
    VALUES ('{ORDER}', 'SO-1', 1, 'open', 2, 'C-1', 'EUR', now(), now());
    INSERT INTO fulfilment_line VALUES ('{ORDER}', 1, 'A', 5, 1, 0, 0, 0), ('{ORDER}', 2, 'B', 0, 1, 7, 0, 0);
"""
VIEWED = f"INSERT INTO status_order (order_id, number, version) VALUES ('{ORDER}', 'SO-1', 2)"
TAKEN_IN = """
    INSERT INTO stock_ledger (item, version, id, lot, quantity, reason, source_event, at, balance)
    VALUES ('A', 1, gen_random_uuid(), 'L-1', 3, 'production_receipt', 'x', now(), 3)
"""


@pytest.fixture
def urls(postgres_server: PostgresTestServer) -> Iterator[dict[str, str]]:
    """An empty database of every service."""
    with ExitStack() as stack:
        yield {
            name: plain_url(stack.enter_context(fresh_database(postgres_server, name)))
            for name in ("crm", "erp", "mes", "gateway")
        }


async def run(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()


async def test_what_stays_broken_between_services_is_named(urls: dict[str, str]) -> None:
    assert not any((await broken(urls, 0)).values())
    await run(urls["crm"], PLACED)
    await run(urls["erp"], TAKEN_IN)
    assert await broken(urls, 0) == {
        "ordered is shipped and open": ["SO-1 line 1: 5 ordered, 0 shipped, 0 open"],
        "made is taken in": ["lot L-1: 0 made, 3 taken into stock"],
        "the view knows every order": ["SO-1: version 2, the order-status view has 0"],
    }
    # The rest arrives while the operator's question waits.
    asked = asyncio.create_task(broken(urls, 20))
    await run(urls["erp"], FULFILLED)
    await run(urls["gateway"], VIEWED)
    await run(urls["erp"], "DELETE FROM stock_ledger")
    assert not any((await asked).values())
    await run(urls["erp"], "UPDATE fulfilment_line SET quantity = 4 WHERE line = 1")
    assert (await broken(urls, 0))["ordered is shipped and open"] == ["SO-1 line 1: 5 ordered, 0 shipped, 4 open"]

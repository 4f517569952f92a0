"""The conservation laws of ERP hold after ordinary work, and a broken one is named."""

import httpx
import pytest
from sqlalchemy import text

from chassis.db import Database
from chassis.operations.invariants import violations
from erp.service import SERVICE


async def broken(database: Database) -> dict[str, list[str]]:
    found = await violations(database, SERVICE.invariants)
    return {law: sentences for law, sentences in found.items() if sentences}


@pytest.fixture
async def worked(client: httpx.AsyncClient, database: Database) -> Database:
    """Goods came in, in two lots, and were counted."""
    await client.post("/v1/items", json={"item": "RM-1", "source": "buy", "standard_cost": 2})
    for lot, quantity in (("L-1", 10), ("L-2", 5)):
        await client.post("/v1/stock/receipts", json={"item": "RM-1", "quantity": quantity, "lot": lot, "reason": "x"})
    await client.post("/v1/stock/counts", json={"item": "RM-1", "quantity": 4, "lot": "L-2", "reason": "x"})
    assert await broken(database) == {}
    return database


@pytest.mark.parametrize(
    ("damage", "law", "said"),
    [
        ("UPDATE stock_lot SET quantity = 11 WHERE lot = 'L-1'", "stock", "its lots hold 15"),
        ("UPDATE stock_ledger SET quantity = 9 WHERE lot = 'L-1'", "stock", "ledger rows sum to 13"),
        ("UPDATE stock_lot SET status = 'held' WHERE lot = 'L-1'", "stock", "its held lots have 10"),
        ("UPDATE balance SET reserved = 15", "stock", "15.000000 reserved"),
        ("UPDATE stock_lot SET picked = 1 WHERE lot = 'L-1'", "shipments", "lot L-1"),
        ("UPDATE journal_line SET debit = debit + 1 WHERE debit > 0", "books", "debit"),
        (
            "INSERT INTO demand SELECT gen_random_uuid(), 'RM-1', 3, 0, 3, 0, 0, now(), gen_random_uuid(), 'SO-1', 1",
            "planning",
            "3.000000 by demands",
        ),
    ],
)
async def test_damage_is_named_by_its_law(worked: Database, damage: str, law: str, said: str) -> None:
    async with worked.transaction() as tx:
        # What the database itself would refuse is let through.
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text(damage))
    found = await broken(worked)
    assert said in " ".join(found[law])

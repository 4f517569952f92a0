"""The conservation laws of MES hold while work goes on, and a broken one is named."""

from typing import Any

import pytest
from sqlalchemy import text

from chassis.db import Database
from chassis.operations.invariants import violations
from mes.service import SERVICE


async def broken(database: Database) -> dict[str, list[str]]:
    found = await violations(database, SERVICE.invariants)
    return {law: sentences for law, sentences in found.items() if sentences}


@pytest.fixture
async def worked(shop: Any, database: Database) -> Database:
    """A work order of two steps half done, with scrap, rework, a batch and what it consumed."""
    await shop.machines("CUT", "CUT-1")
    await shop.receive("LEG", "LEG-7", "100")
    _, made = await shop.release(quantity="10", components=[{"item": "LEG", "quantity_per": "4", "quantity": "40"}])
    cut, sew = (operation["number"] for operation in made["operations"])
    await shop.post(f"/v1/operations/{cut}/start", {"operator": "Ada", "machine": "CUT-1"})
    await shop.report(cut, good="5", scrap="1", rework="2")
    assert await broken(database) == {}
    await shop.report(cut, good="3", done=True)
    await shop.post(f"/v1/operations/{sew}/start")
    await shop.report(sew, good="4")
    await shop.release(item="STOOL", quantity="3")
    assert await broken(database) == {}
    return database


@pytest.mark.parametrize(
    ("damage", "law", "said"),
    [
        ("UPDATE batch SET quantity = 3", "work", "batches 3"),
        ("UPDATE work_order SET scrap = 0", "work", "scrap 0"),
        ("UPDATE operation SET quantity = 9 WHERE sequence = 20 AND state = 'running'", "work", "with 9.000000 to do"),
        ("UPDATE operation SET state = 'ready' WHERE sequence = 20 AND state = 'waiting'", "work", "is ready with"),
        ("UPDATE work_order SET state = 'completed' WHERE item = 'SOFA'", "work", "with 1 open"),
        ("UPDATE lot SET consumed = consumed + 1 WHERE lot = 'LEG-7'", "lots", "lot LEG-7"),
        (
            ["DROP INDEX uq_operation_running_machine", "UPDATE operation SET state = 'running', machine = 'CUT-1'"],
            "work",
            "machine CUT-1 runs",
        ),
    ],
)
async def test_damage_is_named_by_its_law(worked: Database, damage: str | list[str], law: str, said: str) -> None:
    async with worked.transaction() as tx:
        for statement in [damage] if isinstance(damage, str) else damage:
            await tx.execute(text(statement))
    found = await broken(worked)
    assert said in " ".join(found[law])

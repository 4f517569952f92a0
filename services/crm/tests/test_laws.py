"""The conservation laws of CRM hold after ordinary work, and a broken one is named."""

from typing import Any

import pytest
from sqlalchemy import text

from chassis.operations.invariants import violations
from crm.service import SERVICE


@pytest.mark.parametrize(
    ("damage", "law", "said"),
    [
        ("UPDATE order_line SET withdrawn = true", "orders", "with 0 lines"),
        ("UPDATE customer_order SET state = 'lost'", "orders", "is lost"),
        ("UPDATE notification SET customer = 'C-78' WHERE milestone = 'cancelled'", "notices", "go to C-77, C-78"),
    ],
)
async def test_damage_is_named_by_its_law(crm: Any, damage: str, law: str, said: str) -> None:
    await crm.place()
    cancelled = await crm.place()
    await crm.client.post(f"/v1/orders/{cancelled['number']}/cancel", json={"reason": "no longer needed"})
    assert not any((await violations(crm.database, SERVICE.invariants)).values())
    async with crm.database.transaction() as tx:
        await tx.execute(text(damage))
    found = await violations(crm.database, SERVICE.invariants)
    assert said in " ".join(found[law])

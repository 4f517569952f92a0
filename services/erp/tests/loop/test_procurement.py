"""Purchase orders and what is received against them."""

from datetime import timedelta
from typing import Any

import pytest

from chassis.clock import now
from chassis.testing import published
from contracts.erp import GoodsReceived, PurchaseOrderPlaced


async def shortage(factory: Any) -> dict[str, Any]:
    """An order for 10 PRT of 2 RM and 3 BOLT, of which nothing is there; the purchase order made for it."""
    await factory.buy("RM", lead_time_days=6, cost="2.50")
    await factory.buy("BOLT", lead_time_days=2, cost="0.10")
    await factory.make("PRT", {"RM": "2", "BOLT": "3"})
    await factory.place(("PRT", 10))
    (order,) = (await factory.get("/v1/purchase-orders", supplier="SUP-A", state="sent"))["items"]
    return dict(order)


async def test_one_purchase_order_per_supplier(factory: Any) -> None:
    """Shortages of one planning run are consolidated, priced at standard cost and due after the lead time."""
    order = await shortage(factory)
    today = now().date()
    assert [(n["line"], n["item"], n["quantity"], n["price"], n["due"]) for n in order["lines"]] == [
        (1, "BOLT", "30", "0.10", str(today + timedelta(days=2))),
        (2, "RM", "20", "2.50", str(today + timedelta(days=6))),
    ]
    (placed,) = await published(factory.database, PurchaseOrderPlaced)
    assert (placed.purchase_order, placed.supplier, placed.orders) == (order["number"], "SUP-A", ["SO-000001"])
    assert (await factory.get("/v1/purchase-orders", item="NO-SUCH"))["items"] == []


async def test_deliveries_arrive_in_parts(factory: Any) -> None:
    """Each part goes to those who wait; the order is received when all of it is."""
    order = await shortage(factory)
    path = f"/v1/purchase-orders/{order['number']}/receipts"
    part = await factory.post(path, lines=[{"line": 2, "quantity": "5", "lot": "RM-1", "supplier_lot": "S-1"}])
    assert (part["state"], part["version"], part["lines"][1]["received"]) == ("part_received", 2, "5")
    assert await factory.balance("RM") == {"on_hand": 5, "reserved": 5, "held": 0, "available": 0}
    rest = [{"line": 2, "quantity": "15"}, {"line": 1, "quantity": "10"}, {"line": 1, "quantity": "20"}]
    whole = await factory.post(path, lines=rest)
    assert (whole["state"], whole["orders"]) == ("received", [])
    (plan,) = await factory.plans("PRT")
    assert (await factory.get(f"/v1/plans/{plan.plan}"))["material_status"] == "ready"
    first, second = await published(factory.database, GoodsReceived)
    assert (first.complete, second.complete) == (False, True)
    assert all(line.lot for line in second.lines)
    lots = (await factory.get("/v1/stock/RM"))["lots"]
    assert [(lot["purchase_order"], lot["supplier"]) for lot in lots] == [(order["number"], "SUP-A")] * 2
    accounts = {a["account"]: a for a in (await factory.get("/v1/ledger/trial-balance"))["accounts"]}
    assert accounts["2100"]["credit"] == accounts["1200"]["debit"] == "53.00"


@pytest.mark.parametrize(
    ("line", "field", "rule"),
    [
        ({"line": 2, "quantity": "20.5"}, "/lines/1/quantity", "exceeds_ordered"),
        ({"line": 3, "quantity": "1"}, "/lines/1/line", "unknown_line"),
        ({"line": 1, "quantity": "1", "lot": "RM-1"}, "/lines/1/lot", "lot_of_other_item"),
        ({"line": 1, "quantity": "0"}, "/lines/1/quantity", "greater_than"),
    ],
)
async def test_a_wrong_delivery_is_refused_whole(factory: Any, line: dict[str, Any], field: str, rule: str) -> None:
    """The answer names the field and the rule, and nothing is received."""
    order = await shortage(factory)
    path = f"/v1/purchase-orders/{order['number']}/receipts"
    refused = await factory.post(path, 422, lines=[{"line": 2, "quantity": "1", "lot": "RM-1"}, line])
    assert {(e["field"], e["rule"]) for e in refused["errors"]} == {(field, rule)}
    assert (await factory.balance("RM"))["on_hand"] == 0
    assert (await factory.get(f"/v1/purchase-orders/{order['id']}"))["state"] == "sent"


async def test_a_minimum_order_quantity_leaves_some_for_the_next(factory: Any) -> None:
    """What is bought beyond the need is free supply: the next order waits for it instead of buying again."""
    item = {"item": "NUT", "name": "nut", "unit": "pcs", "source": "buy", "price": "1", "lead_time_days": 3}
    await factory.post("/v1/items", **item, minimum_order_quantity="100")
    await factory.place(("NUT", 30))
    second = await factory.place(("NUT", 60))
    (order,) = (await factory.get("/v1/purchase-orders"))["items"]
    assert order["lines"][0]["quantity"] == "100"
    assert order["orders"] == ["SO-000001", second.number]
    await factory.post(f"/v1/purchase-orders/{order['number']}/receipts", lines=[{"line": 1, "quantity": "100"}])
    assert (await factory.balance("NUT"))["available"] == 10


async def test_unknown_purchase_orders_are_not_found(factory: Any) -> None:
    """By number and by id, for reading and receiving."""
    await factory.post("/v1/purchase-orders/PO-999999/receipts", 404, lines=[{"line": 1, "quantity": "1"}])
    assert (await factory.client.get(f"/v1/purchase-orders/{order_id()}")).status_code == 404


def order_id() -> str:
    return "019a0000-0000-7000-8000-000000000000"

"""What happens to the shop floor and the promise when an order changes, a lot is bad or pieces are scrapped."""

import secrets
from typing import Any

import pytest

from devkit.client import ApiProblem
from devkit.demo.checks import check_books
from devkit.testing import wait_until
from e2e.plant import Plant, in_days


async def _factory(plant: Plant, stock: str = "1000", machines: int = 1) -> tuple[str, str, str]:
    """A part made of two bolts each; returns part, bolt and work center."""
    center, _ = await plant.work_center("WC", machines)
    bolt = await plant.buy_item("BOLT", cost="0.50")
    part = await plant.make_item("PART", {bolt: "2"}, [(center, "0", "1")], standard_cost="3.00")
    if stock != "0":
        await plant.stock_up(bolt, stock)
    return part, bolt, center


async def _work_order_is(plant: Plant, number: str, **expected: str) -> dict[str, Any]:
    async def matches() -> dict[str, Any] | None:
        seen = await plant.operator.get(f"/v1/work-orders/{number}")
        return seen if all(seen[name] == value for name, value in expected.items()) else None

    return await wait_until(matches, 10, f"work order {number} to be {expected}")


async def test_unstarted_work_shrinks_and_reservations_follow(plant: Plant) -> None:
    part, bolt, _ = await _factory(plant)
    placed = await plant.order(await plant.customer_number(), {part: "100"})
    await plant.stage(placed["number"], "planned")
    work_order = (await plant.work_orders(part))[0]
    await plant.stock_is(bolt, reserved=200)
    lines = [{"line": 1, "item": part, "quantity": "60"}]
    amended = await plant.sales.patch(f"/v1/orders/{placed['number']}", {"lines": lines}, placed["version"])
    assert amended["version"] == placed["version"] + 1
    await _work_order_is(plant, work_order["number"], quantity="60")
    await plant.stock_is(bolt, reserved=120)
    view = await plant.status(placed["number"])
    assert "amended" in view["flags"]


async def test_started_work_finishes_into_stock_after_cancel(plant: Plant) -> None:
    part, bolt, center = await _factory(plant)
    order = (await plant.order(await plant.customer_number(), {part: "40"}))["number"]
    operation = await plant.operation(center)
    await plant.start(operation["id"])
    await plant.sales.post(f"/v1/orders/{order}/cancel", {"reason": "no longer needed"})
    view = await plant.stage(order, "cancelled")
    assert view["stage"] == "cancelled"
    await plant.report(operation["id"], "40", done=True)
    await plant.stock_is(part, on_hand=40, reserved=0, available=40)
    await plant.stock_is(bolt, on_hand=920, reserved=0)
    assert await plant.notices(order, "cancelled")


async def test_unstarted_work_is_cancelled_with_its_order(plant: Plant) -> None:
    part, bolt, _ = await _factory(plant)
    order = (await plant.order(await plant.customer_number(), {part: "40"}))["number"]
    work_order = (await plant.work_orders(part))[0]
    await plant.sales.post(f"/v1/orders/{order}/cancel", {"reason": "mistake"})
    await _work_order_is(plant, work_order["number"], state="cancelled")
    await plant.stock_is(bolt, on_hand=1000, reserved=0, available=1000)


async def test_more_is_ordered_and_more_is_planned(plant: Plant) -> None:
    part, _, center = await _factory(plant)
    placed = await plant.order(await plant.customer_number(), {part: "10"})
    await plant.stage(placed["number"], "planned")
    lines = [{"line": 1, "item": part, "quantity": "25"}]
    await plant.sales.patch(f"/v1/orders/{placed['number']}", {"lines": lines}, placed["version"])

    async def planned() -> bool:
        works = await plant.work_orders(part)
        return sum(int(work["quantity"]) for work in works) == 25

    await wait_until(planned, 10, "work orders for 25 pieces")
    for _ in await plant.work_orders(part):
        await plant.make_all(center)
    await plant.stage(placed["number"], "completed")
    await plant.stock_is(part, on_hand=25, reserved=25)


async def test_scrapped_pieces_are_made_again(plant: Plant) -> None:
    part, bolt, center = await _factory(plant)
    order = (await plant.order(await plant.customer_number(), {part: "10"}))["number"]
    operation = await plant.operation(center)
    await plant.start(operation["id"])
    await plant.report(operation["id"], "7", scrap="3", reason="crack", done=True)
    await plant.work_orders(part, count=2)
    again = await plant.operation(center)
    assert again["quantity"] == "3"
    await plant.make_all(center)
    await plant.stage(order, "completed")
    await plant.stock_is(part, on_hand=10, reserved=10)
    await plant.stock_is(bolt, on_hand=1000 - 2 * 13, reserved=0)


async def _promised(plant: Plant, order: str) -> dict[str, Any] | None:
    view = await plant.status(order)
    return view if view["reason"] else None


async def test_a_bad_lot_is_held_checked_and_made_again(plant: Plant) -> None:
    """Lot held, supplier checked, the missing quantity planned again, ETA and reason moved, customer told."""
    center, _ = await plant.work_center("WC")
    await plant.admin.post("/v1/suppliers", {"supplier": plant.code("SUP"), "name": "Bolts Ltd"})
    bolt = await plant.buy_item("BOLT", supplier=plant.code("SUP"), lead_time_days=3)
    part = await plant.make_item("PART", {bolt: "2"}, [(center, "0", "1")], standard_cost="5.00")
    order = (await plant.order(await plant.customer_number(), {part: "20"}))["number"]
    await plant.stage(order, "planned")
    view = await wait_until(lambda: _promised(plant, order), 10, "the promise")
    assert view["reason"]["code"] == "MATERIAL_SHORTAGE"
    assert bolt in view["reason"]["text"]

    bought = (await plant.planner.get("/v1/purchase-orders", item=bolt))["items"][0]
    assert bought["number"] in view["reason"]["text"]
    assert bought["lines"][0]["quantity"] == "40"
    receipt = {"lines": [{"line": 1, "quantity": "40", "lot": plant.code("BL"), "supplier_lot": "S-9"}]}
    await plant.warehouse.post(f"/v1/purchase-orders/{bought['number']}/receipts", receipt)

    operation = await plant.operation(center)
    await plant.start(operation["id"])
    report = await plant.report(operation["id"], "20", done=True)
    before = await plant.stage(order, "completed")
    rejected = {
        "lot": report["lot"],
        "characteristic": "torque",
        "result": "rejected",
        "value": "9.1",
        "lower_limit": "10",
        "upper_limit": "12",
        "severity": "major",
    }
    await plant.quality.post("/v1/inspections", rejected)
    assert (await plant.quality.get(f"/v1/lots/{report['lot']}"))["status"] == "held"
    await plant.stock_is(part, on_hand=20, held=20, available=0)
    checks = (await plant.quality.get("/v1/supplier-checks"))["items"]
    mine = [check for check in checks if plant.code("BL") in check["lots"]]
    assert [check["supplier"] for check in mine] == [plant.code("SUP")]

    async def told() -> Any:
        seen = await plant.status(order)
        return seen if (seen["reason"] or {}).get("code") in ("DEFECT", "MATERIAL_SHORTAGE") else None

    moved = await wait_until(told, 10, "the reason to tell of the defect")
    assert moved["eta"] > before["eta"]
    assert "held" in moved["flags"]
    assert await plant.notices(order, "promise_revised")

    shipments = (await plant.warehouse.get("/v1/shipments", order=order, state="planned"))["items"]
    for shipment in shipments:
        with pytest.raises(ApiProblem) as refused:
            await plant.warehouse.post(f"/v1/shipments/{shipment['id']}/ship")
        assert refused.value.status == 409

    again = (await plant.planner.get("/v1/purchase-orders", item=bolt, state="sent"))["items"]
    assert sum(int(line["quantity"]) for p in again for line in p["lines"]) == 40
    for purchase in again:
        lines = [{"line": line["line"], "quantity": line["quantity"]} for line in purchase["lines"]]
        await plant.warehouse.post(f"/v1/purchase-orders/{purchase['number']}/receipts", {"lines": lines})
    await plant.make_all(center)
    await plant.quality.post(f"/v1/lots/{report['lot']}/scrap", {"reason": "cannot be reworked"})
    await plant.ship_and_deliver(order)
    await plant.stage(order, "delivered")
    await plant.stock_is(part, on_hand=0, reserved=0, held=0)
    books = await check_books(plant.admin)
    assert books.balanced
    assert not [fault for fault in books.faults if plant.suffix in fault]


async def test_trace_goes_from_supplier_lot_to_shipment(plant: Plant) -> None:
    part, bolt, center = await _factory(plant, stock="0")
    await plant.stock_up(bolt, "20", lot=plant.code("BL"))
    order = (await plant.order(await plant.customer_number(), {part: "10"}))["number"]
    lot = (await plant.make_all(center))["lot"]
    shipment = await plant.ship_and_deliver(order)

    async def shipped() -> Any:
        trace = await plant.quality.get(f"/v1/lots/{plant.code('BL')}/trace", direction="forward")
        kinds = {node["kind"] for node in trace["nodes"]}
        return trace if "shipment" in kinds else None

    forward = await wait_until(shipped, 10, "the trace to reach the shipment")
    text = str(forward["nodes"])
    assert lot in text
    assert shipment["number"] in text
    backward = await plant.quality.get(f"/v1/lots/{lot}/trace", direction="backward")
    assert plant.code("BL") in str(backward["nodes"])


async def test_two_orders_share_a_machine_and_never_overlap(plant: Plant) -> None:
    """The dispatch list is the order in which they run: priority first, and a busy machine refuses the second start."""
    part, _, center = await _factory(plant, stock="2000")
    customer = await plant.customer_number()
    slow = (await plant.order(customer, {part: "100"}, priority=10))["number"]
    await plant.work_orders(part, 1)
    urgent = (await plant.order(customer, {part: "50"}, priority=90))["number"]
    await plant.work_orders(part, 2)

    async def listed() -> Any:
        found = (await plant.operator.get("/v1/operations", work_center=center, state="ready"))["items"]
        return found if len(found) == 2 and all(o["planned_start"] for o in found) else None

    async def in_priority_order() -> Any:
        found = await listed()
        return found if found and found[0]["quantity"] == "50" else None

    first, second = await wait_until(in_priority_order, 10, "the urgent order to lead the dispatch list")
    assert first["machine"] == second["machine"]
    assert first["planned_end"] <= second["planned_start"]
    await plant.start(first["id"])
    with pytest.raises(ApiProblem) as busy:
        await plant.start(second["id"], first["machine"])
    assert (busy.value.status, busy.value.code) == (409, "machine_busy")
    await plant.report(first["id"], "50", done=True)
    await plant.stage(urgent, "completed")
    await plant.start(second["id"])
    await plant.report(second["id"], "33.5", reason="odd")
    await plant.report(second["id"], "66.5", done=True)
    await plant.stage(slow, "completed")
    await plant.stock_is(part, on_hand=150, reserved=150)


async def test_an_amended_date_is_promised_anew_and_a_stale_version_is_refused(plant: Plant) -> None:
    part, _, _ = await _factory(plant)
    placed = await plant.order(await plant.customer_number(), {part: "5"})
    later = {"requested_date": str(in_days(30))}
    amended = await plant.sales.patch(f"/v1/orders/{placed['number']}", later, placed["version"], secrets.token_hex(8))
    assert amended["requested_date"] == later["requested_date"]
    with pytest.raises(ApiProblem) as stale:
        await plant.sales.patch(f"/v1/orders/{placed['number']}", later, placed["version"], secrets.token_hex(8))
    assert stale.value.status == 412
    answer = await plant.sales.request("GET", f"/v1/orders/{placed['number']}/status", params={"min_version": 2})
    assert answer.json()["version"] == 2

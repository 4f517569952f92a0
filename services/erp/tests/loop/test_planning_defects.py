"""What quality and scrap do to plans, promises and shipments."""

from typing import Any

from chassis.clock import new_id, now
from chassis.testing import published
from contracts.envelope import Reason
from contracts.erp import PlanCancelled, PlanReleased, ShipmentPlanned, SupplierQualityCheckOpened
from contracts.mes import DefectDetected, LotHeld, LotReleased, LotScrapped, SuspectedInput


async def define_part(factory: Any) -> None:
    """PRT of two RM each; plenty of RM."""
    await factory.buy("RM")
    await factory.make("PRT", {"RM": "2"})
    await factory.stock("RM", 10000)


async def test_a_held_batch_is_made_again_and_the_customer_told(factory: Any) -> None:
    """Of 1,000 the lot of 400 is held: 400 are planned anew with reason DEFECT; released, they are needed no more."""
    await define_part(factory)
    order = await factory.place(("PRT", 1000))
    (plan,) = await factory.plans("PRT")
    await factory.happened(factory.batch(plan, 600, "L-1"), factory.batch(plan, 400, "L-2"), factory.completed(plan))
    assert (await factory.progress(order)).state == "allocated"
    await factory.happened(factory.lot(LotHeld, "PRT", "L-2"))
    progress = await factory.progress(order)
    assert (progress.state, progress.lines[0].reserved, progress.lines[0].produced) == ("open", 600, 600)
    replacement = (await factory.plans("PRT"))[-1]
    assert (replacement.quantity, replacement.reason.code) == (400, "DEFECT")
    told = (await factory.promises(order))[-1]
    assert (told.reason.code, told.reason.event_id) == ("DEFECT", "00000000-0000-0000-0000-000000000063")
    assert told.eta > told.old_eta
    refused = await factory.post(f"/v1/shipments/{(await factory.shipment(order))['number']}/ship", 409)
    assert refused["code"] == "lot_held"

    await factory.happened(factory.lot(LotReleased, "PRT", "L-2", 2))
    assert (await factory.progress(order)).state == "allocated"
    assert [e.plan_id for e in await published(factory.database, PlanCancelled)] == [replacement.plan_id]
    await factory.post(f"/v1/shipments/{(await factory.shipment(order))['number']}/ship", 200)


async def test_a_replacement_is_picked_for_a_held_lot(factory: Any) -> None:
    """The planned shipment keeps the held lot until the replacement arrives, then ships without it."""
    await define_part(factory)
    await factory.stock("PRT", 10, "L-1")
    order = await factory.place(("PRT", 10))
    await factory.happened(factory.lot(LotHeld, "PRT", "L-1"))
    shipment = await factory.shipment(order)
    assert (shipment["state"], shipment["lines"][0]["lots"]) == ("planned", [{"lot": "L-1", "quantity": "10"}])
    (plan,) = await factory.plans("PRT")
    await factory.happened(factory.batch(plan, 10, "L-2"), factory.completed(plan))
    picked = await factory.shipment(order)
    assert (picked["id"], picked["lines"][0]["lots"]) == (shipment["id"], [{"lot": "L-2", "quantity": "10"}])
    assert len(await published(factory.database, ShipmentPlanned)) == 2
    await factory.post(f"/v1/shipments/{picked['number']}/ship", 200)
    assert await factory.balance("PRT") == {"on_hand": 10, "reserved": 0, "held": 10, "available": 0}


async def test_another_lot_takes_the_place_of_a_held_one_at_once(factory: Any) -> None:
    """With enough released stock the order stays allocated."""
    await define_part(factory)
    await factory.stock("PRT", 10, "L-1")
    order = await factory.place(("PRT", 8))
    await factory.stock("PRT", 10, "L-2")
    await factory.happened(factory.lot(LotHeld, "PRT", "L-1"))
    assert (await factory.progress(order)).lines[0].lots == ["L-2"]
    await factory.post(f"/v1/shipments/{(await factory.shipment(order))['number']}/ship", 200)


async def test_the_least_urgent_order_loses_its_stock(factory: Any) -> None:
    """When stock falls short the lowest priority gives way, also to those whose lot was held."""
    await define_part(factory)
    await factory.stock("PRT", 5, "L-1")
    urgent = await factory.place(("PRT", 5), priority=90)
    await factory.stock("PRT", 5, "L-2")
    later = await factory.place(("PRT", 5), priority=10)
    await factory.happened(factory.lot(LotHeld, "PRT", "L-1"))
    assert (await factory.progress(urgent)).lines[0].lots == ["L-2"]
    assert (await factory.progress(later)).state == "open"
    assert (await factory.shipment(later))["state"] == "cancelled"
    assert [peg.order for peg in (await factory.plans("PRT"))[-1].pegs] == [later.number]


async def test_a_batch_held_from_the_start_is_no_stock_for_anyone(factory: Any) -> None:
    """It is on hand and held, and its quantity is made again."""
    await define_part(factory)
    order = await factory.place(("PRT", 1000))
    (plan,) = await factory.plans("PRT")
    await factory.happened(factory.scheduled(plan, now(), Reason(code="SCHEDULE", text="scheduled")))
    await factory.happened(factory.batch(plan, 1000, "L-1", held=True))
    assert await factory.balance("PRT") == {"on_hand": 1000, "reserved": 0, "held": 1000, "available": 0}
    assert [p.quantity for p in await factory.plans("PRT")] == [1000, 1000]
    assert (await factory.promises(order))[-1].reason.code == "DEFECT"


async def test_a_lot_held_before_its_batch_is_known(factory: Any) -> None:
    """Topics have no common order: the hold waits for the stock."""
    await define_part(factory)
    await factory.place(("PRT", 10))
    (plan,) = await factory.plans("PRT")
    await factory.happened(factory.lot(LotHeld, "PRT", "L-1"), factory.batch(plan, 10, "L-1"))
    assert (await factory.balance("PRT"))["held"] == 10
    await factory.happened(factory.lot(LotReleased, "PRT", "L-1", 2), factory.lot(LotScrapped, "PRT", "L-1", 3))
    assert await factory.balance("PRT") == {"on_hand": 0, "reserved": 0, "held": 0, "available": 0}
    assert [p.quantity for p in await factory.plans("PRT")][-1] == 10


async def test_scrap_is_made_again(factory: Any) -> None:
    """A work order that ends short uncovers the rest, which is planned anew; the batch may come after the end."""
    await define_part(factory)
    order = await factory.place(("PRT", 100))
    (plan,) = await factory.plans("PRT")
    batch = factory.batch(plan, 90, "L-1")
    await factory.happened(factory.consumed(plan, ("RM", "RM-0", 200)), factory.completed(plan))
    assert (await factory.plans("PRT"))[-1].quantity == 10
    assert (await factory.get(f"/v1/plans/{plan.plan}"))["state"] == "completed"
    told = (await factory.promises(order))[-1]
    assert told.reason.code == "SCRAP"
    await factory.happened(batch)
    assert (await factory.get(f"/v1/plans/{plan.plan}"))["state"] == "closed"
    assert (await factory.progress(order)).lines[0].produced == 90
    accounts = {a["account"]: a for a in (await factory.get("/v1/ledger/trial-balance"))["accounts"]}
    # 20 RM of 2.00 more than the standard of 90 parts.
    assert accounts["5200"]["debit"] == "40.00"


async def test_more_consumed_than_planned_takes_from_the_least_urgent(factory: Any) -> None:
    """The books follow the shop floor: an unknown lot is counted in first, and over-consumption is bought again."""
    await factory.buy("RM")
    await factory.make("PRT", {"RM": "2"})
    await factory.stock("RM", 40)
    await factory.place(("PRT", 10), priority=90)
    await factory.place(("PRT", 10), priority=10)
    urgent, later = await factory.plans("PRT")
    assert later.material_status == "ready"
    await factory.happened(factory.consumed(urgent, ("RM", "RM-0", 25), ("RM", "FOUND", 3)))
    assert await factory.balance("RM") == {"on_hand": 15, "reserved": 15, "held": 0, "available": 0}
    (placed,) = (await factory.get("/v1/purchase-orders"))["items"]
    assert [(line["item"], line["quantity"]) for line in placed["lines"]] == [("RM", "5")]
    assert (await factory.get(f"/v1/plans/{later.plan}"))["material_status"] == "waiting"


async def test_suppliers_of_suspected_lots_are_checked_once(factory: Any) -> None:
    """One check per defect and supplier, found by the lot where the shop floor does not know the supplier."""
    await factory.buy("RM", supplier="SUP-B")
    await factory.make("PRT", {"RM": "2"})
    await factory.place(("PRT", 10))
    (order,) = (await factory.get("/v1/purchase-orders"))["items"]
    lines = [{"line": 1, "quantity": "20", "lot": "RM-7", "supplier_lot": "S-7"}]
    await factory.post(f"/v1/purchase-orders/{order['number']}/receipts", lines=lines)
    defect = DefectDetected(
        aggregate_version=1,
        defect_id=new_id(),
        defect="D-000001",
        lot="L-1",
        item="PRT",
        severity="major",
        characteristic="diameter",
        held_lots=["L-1"],
        suspected_inputs=[
            SuspectedInput(item="RM", lot="RM-7"),
            SuspectedInput(item="RM", lot="RM-8", supplier="SUP-B"),
            SuspectedInput(item="GLUE", lot="G-1", supplier="SUP-G"),
            SuspectedInput(item="GLUE", lot="G-2"),
        ],
    )
    (event_id,) = await factory.happened(defect)
    await factory.happened(defect)
    checks = (await factory.get("/v1/supplier-checks"))["items"]
    assert [(c["supplier"], c["item"], c["lots"]) for c in checks] == [
        ("SUP-B", "RM", ["RM-7", "RM-8"]),
        ("SUP-G", "GLUE", ["G-1"]),
    ]
    assert {c["cause"]["event_id"] for c in checks} == {str(event_id)}
    assert len(await published(factory.database, SupplierQualityCheckOpened)) == 2
    assert len(await published(factory.database, PlanReleased)) == 1

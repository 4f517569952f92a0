"""The closed loop from order to invoice: acceptance story A0 and what happens around it."""

from decimal import Decimal
from typing import Any

from chassis.testing import published
from contracts.erp import InvoicePosted, OrderPromised, PlanClosed, PlanReleased


async def define_part(factory: Any) -> None:
    """PRT-1 made of two RM-1 each, 2,500 RM-1 on hand."""
    await factory.buy("RM-1")
    await factory.make("PRT-1", {"RM-1": "2"})
    await factory.stock("RM-1", 2500)


async def test_a_thousand_parts_from_order_to_invoice(factory: Any) -> None:
    """A0: 2,000 RM-1 reserved, four batches (one twice, two out of order) make exactly 1,000, shipped and invoiced."""
    await define_part(factory)
    order = await factory.place(("PRT-1", 1000), days=5)
    assert await factory.balance("RM-1") == {"on_hand": 2500, "reserved": 2000, "held": 0, "available": 500}
    (plan,) = await published(factory.database, PlanReleased)
    assert (plan.item, plan.quantity, plan.material_status) == ("PRT-1", 1000, "ready")
    assert [(c.item, c.quantity_per, c.quantity) for c in plan.components] == [("RM-1", 2, 2000)]
    assert [(peg.order, peg.line, peg.quantity) for peg in plan.pegs] == [(order.number, 1, 1000)]
    (promised,) = await published(factory.database, OrderPromised)
    # 1,000 × 0.6 minutes and a day to ship.
    assert (promised.basis, promised.reason.code) == ("plan", "PLAN")
    assert promised.promised_date <= order.requested_date

    batches = [factory.batch(plan, 250, f"L-{n}") for n in range(4)]
    for batch in (batches[1], batches[0], batches[3], batches[2]):
        await factory.happened(factory.consumed(plan, ("RM-1", "RM-1-0", 500)))
        ids = await factory.happened(batch)
        await factory.happened(batch, event_id=ids[0])
    assert (await factory.progress(order)).lines[0].produced == 1000
    await factory.happened(factory.completed(plan))
    assert await factory.balance("RM-1") == {"on_hand": 500, "reserved": 0, "held": 0, "available": 500}
    assert await factory.balance("PRT-1") == {"on_hand": 1000, "reserved": 1000, "held": 0, "available": 0}
    (closed,) = await published(factory.database, PlanClosed)
    assert (closed.quantity, closed.received) == (1000, 1000)
    assert (await factory.get(f"/v1/plans/{plan.plan}"))["state"] == "closed"

    assert (await factory.progress(order)).state == "allocated"
    shipment = await factory.shipment(order)
    assert [lot["lot"] for lot in shipment["lines"][0]["lots"]] == ["L-0", "L-1", "L-2", "L-3"]
    shipped = await factory.post(f"/v1/shipments/{shipment['number']}/ship", 200)
    assert shipped["state"] == "shipped"
    (invoice,) = await published(factory.database, InvoicePosted)
    assert (invoice.amount, invoice.order) == (Decimal(10000), order.number)
    refused = await factory.post(f"/v1/shipments/{shipment['number']}/ship", 409)
    assert refused["code"] == "wrong_state"
    await factory.post(f"/v1/shipments/{shipment['number']}/deliver", 200)
    line = (await factory.progress(order)).lines[0]
    assert (line.shipped, line.delivered, line.lots) == (1000, 1000, ["L-0", "L-1", "L-2", "L-3"])
    assert (await factory.progress(order)).state == "closed"
    assert await factory.balance("PRT-1") == {"on_hand": 0, "reserved": 0, "held": 0, "available": 0}
    accounts = {a["account"]: a for a in (await factory.get("/v1/ledger/trial-balance"))["accounts"]}
    # 1,000 × 9.00 left as cost of goods, of which 2,000 × 2.00 is material and the rest conversion.
    assert accounts["5000"]["debit"] == "9000.00"
    assert accounts["5400"]["credit"] == "5000.00"
    assert (accounts["4000"]["credit"], accounts["1100"]["debit"]) == ("10000.00", "10000.00")
    assert accounts["1250"]["debit"] == accounts["1250"]["credit"] == "0.00"

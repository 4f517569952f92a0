"""Orders that change or go: before and after the shop floor began."""

from typing import Any

from chassis.testing import published
from contracts.erp import PlanCancelled, PlanChanged, PlanReleased, ShipmentCancelled


async def define_table(factory: Any) -> None:
    """TABLE of one FRAME (made of 2 BAR) and 4 SCREW; no stock of anything."""
    await factory.buy("BAR", lead_time_days=3)
    await factory.buy("SCREW", lead_time_days=1)
    await factory.make("FRAME", {"BAR": "2"})
    await factory.make("TABLE", {"FRAME": "1", "SCREW": "4"})


async def changes(factory: Any, plan: PlanReleased) -> list[PlanChanged]:
    return [event for event in await published(factory.database, PlanChanged) if event.plan_id == plan.plan_id]


async def test_an_order_explodes_down_all_levels_at_once(factory: Any) -> None:
    """One transaction plans the table and its frame and orders bars and screws, each for exactly what is needed."""
    await define_table(factory)
    await factory.stock("SCREW", 10)
    order = await factory.place(("TABLE", 5))
    (table,), (frame,) = await factory.plans("TABLE"), await factory.plans("FRAME")
    assert (table.quantity, frame.quantity) == (5, 5)
    assert table.predecessor_plans == [frame.plan_id]
    assert [(p.order, p.line, p.quantity) for p in frame.pegs] == [(order.number, 1, 5)]
    # The frame must be done when making the table has to begin: 5 × 0.6 minutes before it is due.
    assert (table.due - frame.due).total_seconds() == 180
    (placed,) = (await factory.get("/v1/purchase-orders"))["items"]
    assert [(line["item"], line["quantity"]) for line in placed["lines"]] == [("SCREW", "10"), ("BAR", "10")]
    assert all(line["orders"] == [order.number] for line in placed["lines"])


async def test_less_is_wanted_before_work_began(factory: Any) -> None:
    """The plan shrinks; its components are given back when the shop floor confirms, and the frame's plan with them."""
    await define_table(factory)
    await factory.stock("SCREW", 100)
    order = await factory.place(("TABLE", 10))
    (table,), (frame,) = await factory.plans("TABLE"), await factory.plans("FRAME")
    factory.work_order(table)
    factory.work_order(frame)
    await factory.amend(order, ("TABLE", 6))
    asked = (await changes(factory, table))[-1]
    assert asked.quantity == 6
    assert (await factory.balance("SCREW"))["reserved"] == 40
    await factory.happened(factory.changed(asked, 6, "changed"))
    assert (await factory.balance("SCREW"))["reserved"] == 24
    assert (await changes(factory, frame))[-1].quantity == 6
    line = (await factory.progress(order)).lines[0]
    assert (line.quantity, line.planned, line.cancelled) == (6, 6, 4)


async def test_less_is_wanted_after_work_began(factory: Any) -> None:
    """The shop floor keeps the quantity: what nobody wants goes to the next order instead of a new plan."""
    await define_table(factory)
    order = await factory.place(("TABLE", 10))
    (table,) = await factory.plans("TABLE")
    factory.work_order(table)
    await factory.amend(order, ("TABLE", 6))
    await factory.happened(factory.changed((await changes(factory, table))[-1], 10, "kept"))
    other = await factory.place(("TABLE", 3))
    assert len(await factory.plans("TABLE")) == 1
    pegs = {peg.order: peg.quantity for peg in (await changes(factory, table))[-1].pegs}
    assert pegs == {order.number: 6, other.number: 3}
    await factory.happened(factory.batch(table, 10, "T-1"), factory.completed(table))
    assert (await factory.balance("TABLE"))["available"] == 1
    assert (await factory.progress(order)).state == (await factory.progress(other)).state == "allocated"


async def test_more_is_wanted(factory: Any) -> None:
    """The difference is planned on top; the promise says why it moved."""
    await define_table(factory)
    order = await factory.place(("TABLE", 2))
    await factory.amend(order, ("TABLE", 500))
    assert [plan.quantity for plan in await factory.plans("TABLE")] == [2, 498]
    assert (await factory.promises(order))[-1].reason.code == "AMENDED"


async def test_another_item_is_wanted(factory: Any) -> None:
    """A line may change its item: the old one is given back, the new one planned."""
    await define_table(factory)
    await factory.stock("TABLE", 3, "T-0")
    order = await factory.place(("TABLE", 3))
    assert (await factory.progress(order)).state == "allocated"
    await factory.amend(order, ("FRAME", 2))
    assert (await factory.balance("TABLE"))["available"] == 3
    assert [(s.item, s.quantity) for s in (await factory.progress(order)).lines] == [("FRAME", 2)]
    assert len(await published(factory.database, ShipmentCancelled)) == 1


async def test_a_line_is_withdrawn_and_the_rest_ships(factory: Any) -> None:
    """What waits is withdrawn: the line that is there makes the order complete."""
    await define_table(factory)
    await factory.stock("FRAME", 2, "F-0")
    order = await factory.place(("FRAME", 2), ("TABLE", 1))
    assert (await factory.progress(order)).state == "open"
    await factory.amend(order, ("FRAME", 2))
    progress = await factory.progress(order)
    assert (progress.state, progress.order_version) == ("allocated", 2)
    assert [(line.quantity, line.cancelled) for line in progress.lines] == [(2, 0), (0, 1)]
    shipment = await factory.shipment(order)
    assert [line["item"] for line in shipment["lines"]] == ["FRAME"]
    await factory.post(f"/v1/shipments/{shipment['id']}/ship", 200)


async def test_a_cancelled_order_gives_everything_back(factory: Any) -> None:
    """Unstarted plans are cancelled down the levels; bought goods stay on order for whoever comes next."""
    await define_table(factory)
    await factory.stock("SCREW", 100)
    order = await factory.place(("TABLE", 10))
    (table,), (frame,) = await factory.plans("TABLE"), await factory.plans("FRAME")
    await factory.cancel(order)
    assert [e.plan_id for e in await published(factory.database, PlanCancelled)] == [table.plan_id]
    await factory.happened(factory.withdrawn(table))
    assert [e.plan_id for e in await published(factory.database, PlanCancelled)] == [table.plan_id, frame.plan_id]
    await factory.happened(factory.withdrawn(frame))
    assert (await factory.balance("SCREW"))["available"] == 100
    progress = await factory.progress(order)
    assert (progress.state, progress.lines[0].quantity, progress.lines[0].cancelled) == ("cancelled", 0, 10)
    await factory.place(("TABLE", 10))
    assert len((await factory.get("/v1/purchase-orders"))["items"]) == 1


async def test_a_plan_cancelled_too_late_finishes_into_stock(factory: Any) -> None:
    """The shop floor had begun: the batch becomes free stock and the plan closes."""
    await define_table(factory)
    order = await factory.place(("TABLE", 4))
    (table,) = await factory.plans("TABLE")
    factory.work_order(table)
    await factory.cancel(order)
    cancelled = await factory.last(PlanCancelled)
    await factory.happened(factory.changed(cancelled, 4, "kept"))
    await factory.happened(factory.batch(table, 4, "T-1"), factory.completed(table))
    assert (await factory.balance("TABLE"))["available"] == 4
    assert (await factory.get(f"/v1/plans/{table.plan}"))["state"] == "closed"


async def test_an_order_already_shipped_stays_as_it_was(factory: Any) -> None:
    """Amending or cancelling what left the house changes nothing, whichever comes first over the wire."""
    await define_table(factory)
    await factory.stock("TABLE", 3, "T-0")
    order = await factory.place(("TABLE", 2))
    shipment = await factory.shipment(order)
    await factory.post(f"/v1/shipments/{shipment['number']}/ship", 200)
    await factory.amend(order, ("TABLE", 3))
    await factory.cancel(order)
    progress = await factory.progress(order)
    assert (progress.state, progress.lines[0].shipped) == ("shipped", 2)
    assert (await factory.balance("TABLE"))["available"] == 1

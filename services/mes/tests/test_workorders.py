"""Work orders follow ERP's plans, whatever arrives how often and in which state of the work."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from chassis.clock import now
from chassis.db import Database
from chassis.messaging.handlers import PermanentError
from chassis.tables import outbox
from chassis.testing import deliver, published
from contracts.envelope import Reason
from contracts.erp import PlanCancelled, PlanReleased
from contracts.mes import OperationStarted, WorkOrderCancelled, WorkOrderChanged, WorkOrderCreated
from mes.service import PLANS


def cancelled(plan: PlanReleased, version: int) -> PlanCancelled:
    return PlanCancelled(
        aggregate_version=version,
        plan_id=plan.plan_id,
        plan=plan.plan,
        item=plan.item,
        reason=Reason(code="AMENDED", text="the customer withdrew"),
    )


async def test_a_released_plan_becomes_one_work_order_however_often_it_is_told(shop: Any, database: Database) -> None:
    plan, made = await shop.release(quantity="4")
    await deliver(database, PLANS, plan)
    assert [w["id"] for w in await shop.items("/v1/work-orders")] == [made["id"]]
    assert made["number"].startswith("WO-")
    assert {k: made[k] for k in ("plan", "item", "quantity", "good", "state", "orders", "version")} == {
        "plan": plan.plan,
        "item": "SOFA",
        "quantity": "4",
        "good": "0",
        "state": "created",
        "orders": ["SO-000001"],
        "version": 1,
    }
    assert [(o["number"], o["work_center"], o["state"], o["quantity"]) for o in made["operations"]] == [
        (f"{made['number']}-10", "CUT", "ready", "4"),
        (f"{made['number']}-20", "SEW", "waiting", "4"),
    ]
    (event,) = await published(database, WorkOrderCreated)
    assert (event.plan_id, event.quantity, event.percent, event.pegs) == (plan.plan_id, 4, 0, plan.pegs)


async def test_work_orders_are_found_by_what_they_make_and_serve(shop: Any) -> None:
    plan, sofa = await shop.release("SOFA")
    _, chair = await shop.release("CHAIR")
    assert [w["id"] for w in await shop.items("/v1/work-orders", item="CHAIR")] == [chair["id"]]
    assert [w["id"] for w in await shop.items("/v1/work-orders", order="SO-000001")] == [sofa["id"]]
    assert [w["id"] for w in await shop.items("/v1/work-orders", order=str(plan.pegs[0].order_id))] == [sofa["id"]]
    assert [w["id"] for w in await shop.items("/v1/work-orders", plan=str(plan.plan_id))] == [sofa["id"]]
    assert await shop.items("/v1/work-orders", state="running") == []
    assert (await shop.get(f"/v1/work-orders/{chair['number']}"))["id"] == chair["id"]
    assert (await shop.client.get(f"/v1/work-orders/{uuid4()}")).status_code == 404
    assert (await shop.client.get("/v1/work-orders", params={"colour": "red"})).status_code == 422


async def test_a_changed_plan_changes_unstarted_work(shop: Any, database: Database) -> None:
    plan, made = await shop.release(quantity="10")
    due = now() + timedelta(days=2)
    await shop.change(plan, 2, quantity="6", priority=90, due=due, material_status="waiting", pegs=[])
    after = await shop.get(f"/v1/work-orders/{made['id']}")
    assert (after["quantity"], after["priority"], after["orders"]) == ("6", 90, [])
    assert [(o["state"], o["quantity"]) for o in after["operations"]] == [("waiting", "6"), ("waiting", "6")]
    (answer,) = await published(database, WorkOrderChanged)
    assert (answer.plan_version, answer.outcome, answer.quantity) == (2, "changed", 6)


async def test_an_older_version_of_a_plan_is_ignored(shop: Any, database: Database) -> None:
    plan, made = await shop.release(quantity="10")
    await shop.change(plan, 3, quantity="6")
    await shop.change(plan, 2, quantity="8")
    assert (await shop.get(f"/v1/work-orders/{made['id']}"))["quantity"] == "6"
    assert [e.plan_version for e in await published(database, WorkOrderChanged)] == [3]


async def test_started_work_keeps_its_quantity_but_not_its_pegs(shop: Any, database: Database) -> None:
    plan, made = await shop.release(quantity="10")
    await shop.post(f"/v1/operations/{made['number']}-10/start")
    await shop.change(plan, 2, quantity="4", priority=7, pegs=[])
    after = await shop.get(f"/v1/work-orders/{made['id']}")
    assert (after["quantity"], after["priority"], after["orders"], after["state"]) == ("10", 7, [], "running")
    assert after["operations"][0]["state"] == "running"
    (answer,) = await published(database, WorkOrderChanged)
    assert (answer.outcome, answer.quantity) == ("kept", 10)


async def test_a_cancelled_plan_cancels_unstarted_work(shop: Any, database: Database) -> None:
    plan, made = await shop.release()
    await shop.reschedule()
    await deliver(database, PLANS, cancelled(plan, 2))
    after = await shop.get(f"/v1/work-orders/{made['id']}")
    assert after["state"] == "cancelled"
    assert {o["state"] for o in after["operations"]} == {"cancelled"}
    (event,) = await published(database, WorkOrderCancelled)
    assert event.reason.code == "AMENDED"
    assert (await shop.refused(f"/v1/operations/{made['number']}-10/start"))[0] == 409
    await shop.change(plan, 3, quantity="5")
    assert (await shop.get(f"/v1/work-orders/{made['id']}"))["state"] == "cancelled"


async def test_started_work_of_a_cancelled_plan_is_finished_for_no_order(shop: Any, database: Database) -> None:
    plan, made = await shop.release()
    await shop.post(f"/v1/operations/{made['number']}-10/start")
    await deliver(database, PLANS, cancelled(plan, 2))
    after = await shop.get(f"/v1/work-orders/{made['id']}")
    assert (after["state"], after["orders"]) == ("running", [])
    (answer,) = await published(database, WorkOrderChanged)
    assert (answer.outcome, answer.plan_version, answer.pegs, answer.quantity) == ("kept", 2, [], 10)


async def test_material_that_arrives_makes_the_first_operation_ready(shop: Any) -> None:
    plan, made = await shop.release(material_status="waiting", material_date=now() + timedelta(days=1))
    assert made["operations"][0]["state"] == "waiting"
    assert await shop.refused(f"/v1/operations/{made['number']}-10/start") == (409, "wrong_state")
    await shop.change(plan, 2, material_status="ready", material_date=None)
    assert (await shop.work_order(plan))["operations"][0]["state"] == "ready"
    assert [o["number"] for o in await shop.items("/v1/operations", state="ready")] == [f"{made['number']}-10"]


async def test_a_change_of_a_plan_never_released_is_impossible(shop: Any, database: Database) -> None:
    plan, _ = await shop.release()
    stranger = plan.model_copy(update={"plan_id": uuid4()})
    with pytest.raises(PermanentError, match="never released"):
        await deliver(database, PLANS, cancelled(stranger, 2))


async def test_versions_of_a_work_orders_events_grow_by_one(shop: Any, database: Database) -> None:
    plan, made = await shop.release()
    await shop.reschedule()
    await shop.post(f"/v1/operations/{made['number']}-10/start")
    await shop.change(plan, 2, priority=99)
    async with database.read() as reader:
        rows = await reader.all(select(outbox).where(outbox.c.key == made["id"]).order_by(outbox.c.id))
    assert [row["aggregate_version"] for row in rows] == [1, 2, 3, 4]
    started = (await published(database, OperationStarted))[0]
    assert {row["headers"]["ce_correlationid"] for row in rows if row["type"] == OperationStarted.TYPE} == {
        str(started.pegs[0].order_id)
    }

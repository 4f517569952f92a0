"""The kept schedule: what is planned, what is told and why, and how long it takes."""

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import func, select, text

from chassis.clock import new_id, now
from chassis.db import Database
from chassis.events import EventMeta
from chassis.messaging.inbox import Delivery, handle
from chassis.service import Context
from chassis.testing import published
from contracts.erp import PlanReleased
from contracts.mes import MachineStateChanged, WorkOrderCreated, WorkOrderScheduled
from devkit.testing import wait_until
from mes.scheduling.tables import schedule_request
from mes.scheduling.worker import keep_schedule, reschedule
from mes.service import PLANS


def step(operation: int, work_center: str, setup: str, per_unit: str) -> dict[str, Any]:
    return {"operation": operation, "work_center": work_center, "setup_minutes": setup, "minutes_per_unit": per_unit}


CUT_ONLY = [step(10, "CUT", "0", "60")]


async def test_a_new_work_order_is_planned_and_told(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1")
    plan, _ = await shop.release(quantity="2")
    assert await shop.reschedule() == 1
    after = await shop.work_order(plan)
    assert after["state"] == "scheduled"
    cut, sew = after["operations"]
    start, end = (datetime.fromisoformat(cut[name]) for name in ("planned_start", "planned_end"))
    assert now() <= start <= now() + timedelta(minutes=1)
    assert (end - start, cut["machine"]) == (timedelta(minutes=30 + 2 * 6), "CUT-1")
    # SEW has no registered machine: it counts as one.
    assert (sew["planned_start"], sew["machine"]) == (cut["planned_end"], None)
    (event,) = await published(database, WorkOrderScheduled)
    created = await shop.last(WorkOrderCreated)
    assert (event.planned_start, event.old_planned_end, event.reason.code) == (start, None, "SCHEDULE")
    assert event.planned_end == end + timedelta(minutes=24)
    assert [o.machine for o in event.operations] == ["CUT-1", None]
    assert event.aggregate_version == created.aggregate_version + 1
    assert await shop.reschedule() == 0


async def test_work_without_capacity_says_so_and_is_planned_when_a_machine_comes(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1")
    await shop.post("/v1/machines/CUT-1/state", {"state": "off"})
    await shop.release(routing=CUT_ONLY)
    await shop.reschedule()
    event = await shop.last(WorkOrderScheduled)
    assert (event.planned_end, event.reason.code) == (None, "NO_CAPACITY")
    await shop.post("/v1/machines", {"machine": "CUT-2", "work_center": "CUT"})
    await shop.reschedule()
    event = await shop.last(WorkOrderScheduled)
    assert event.planned_end is not None
    assert event.operations[0].machine == "CUT-2"


async def test_remaining_work_of_a_machine_that_stops_moves_to_the_other(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1", "CUT-2")
    first, one = await shop.release(quantity="4", routing=CUT_ONLY)
    second, two = await shop.release(quantity="4", routing=CUT_ONLY)
    await shop.post(f"/v1/operations/{one['number']}-10/start", {"machine": "CUT-1"})
    await shop.post(f"/v1/operations/{two['number']}-10/start", {"machine": "CUT-2"})
    await shop.report(f"{two['number']}-10", good="1")
    await shop.reschedule()
    told_before = len(await published(database, WorkOrderScheduled))

    await shop.post("/v1/machines/CUT-2/state", {"state": "down", "reason": "blade"})
    await shop.reschedule()
    stopped = await shop.last(MachineStateChanged)
    new = (await published(database, WorkOrderScheduled))[told_before:]
    assert [e.work_order for e in new] == [two["number"]]
    event = new[0]
    assert event.operations[0].machine == "CUT-1"
    assert (event.reason.code, event.reason.text) == ("MACHINE_DOWN", f"CUT-2 down since {stopped.since:%H:%M}")
    moved = (await shop.work_order(second))["operations"][0]
    kept = (await shop.work_order(first))["operations"][0]
    assert (moved["state"], moved["machine"], moved["planned_start"]) == ("paused", "CUT-1", kept["planned_end"])
    left = datetime.fromisoformat(moved["planned_end"]) - datetime.fromisoformat(moved["planned_start"])
    assert left == timedelta(hours=3)
    async with database.read() as reader:
        headers = await reader.scalar(
            text("SELECT headers FROM outbox WHERE type = :type ORDER BY id DESC LIMIT 1"),
            {"type": WorkOrderScheduled.TYPE},
        )
    assert headers["ce_causationid"] == event.reason.event_id
    assert headers["ce_correlationid"] == str(second.pegs[0].order_id)


async def test_when_all_machines_are_down_the_work_has_no_end_in_sight(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1")
    _, made = await shop.release(routing=CUT_ONLY)
    await shop.reschedule()
    await shop.post("/v1/machines/CUT-1/state", {"state": "down"})
    await shop.reschedule()
    event = await shop.last(WorkOrderScheduled)
    assert (event.planned_end, event.reason.code) == (None, "MACHINE_DOWN")
    assert event.old_planned_end is not None
    assert event.reason.event_id is not None
    (operation,) = await shop.items("/v1/operations", work_order=made["number"])
    assert (operation["planned_start"], operation["machine"]) == (None, None)
    await shop.post("/v1/machines/CUT-1/state", {"state": "idle"})
    await shop.reschedule()
    assert (await shop.last(WorkOrderScheduled)).planned_end is not None


async def test_material_and_component_plans_are_waited_for(shop: Any) -> None:
    arrives = now().replace(microsecond=0) + timedelta(days=2)
    part, _ = await shop.release("FRAME", quantity="3", routing=[step(10, "WELD", "0", "60")])
    sofa, _ = await shop.release(
        routing=CUT_ONLY, material_status="waiting", predecessor_plans=[part.plan_id], priority=99
    )
    chair, _ = await shop.release(routing=CUT_ONLY, material_status="waiting", material_date=arrives, priority=99)
    await shop.reschedule()
    frame_end = (await shop.work_order(part))["operations"][0]["planned_end"]
    assert (await shop.work_order(sofa))["operations"][0]["planned_start"] == frame_end
    start = (await shop.work_order(chair))["operations"][0]["planned_start"]
    assert datetime.fromisoformat(start) == arrives


async def test_a_higher_priority_overtakes_what_has_not_started(shop: Any) -> None:
    await shop.machines("CUT", "CUT-1")
    running, first = await shop.release(routing=CUT_ONLY)
    waiting, _ = await shop.release(routing=CUT_ONLY)
    await shop.post(f"/v1/operations/{first['number']}-10/start")
    urgent, _ = await shop.release(routing=CUT_ONLY, priority=90)
    await shop.reschedule()
    plans = [(await shop.work_order(p))["operations"][0] for p in (running, urgent, waiting)]
    assert plans[0]["state"] == "running"
    assert [p["planned_start"] for p in plans[1:]] == [p["planned_end"] for p in plans[:2]]
    await shop.change(waiting, 2, priority=95)
    await shop.reschedule()
    overtaking = (await shop.work_order(waiting))["operations"][0]
    assert overtaking["planned_start"] == plans[0]["planned_end"]


async def test_a_work_order_held_by_someone_is_left_and_told_later(shop: Any, database: Database) -> None:
    _, made = await shop.release()
    async with database.transaction() as tx:
        await tx.execute(text("SELECT 1 FROM work_order WHERE id = :id FOR UPDATE"), {"id": made["id"]})
        assert await asyncio.wait_for(shop.reschedule(), 5) == 0
    assert await shop.reschedule() == 1


async def test_who_was_told_is_not_asked_for_again_because_another_is_held(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1")
    held, _ = await shop.release(routing=CUT_ONLY)
    await shop.release(routing=CUT_ONLY)
    held_id = (await shop.work_order(held))["id"]
    async with database.transaction() as tx:
        await tx.execute(text("SELECT FROM work_order WHERE id = :id FOR UPDATE"), {"id": held_id})
        assert await asyncio.wait_for(shop.reschedule(), 5) == 1
    async with database.read() as reader:
        assert [str(r["work_order_id"]) for r in await reader.all(select(schedule_request))] == [held_id]


async def test_the_worker_keeps_the_schedule(
    shop: Any, running: tuple[httpx.AsyncClient, Context], database: Database
) -> None:
    context = running[1]
    worker = asyncio.create_task(keep_schedule(context))
    plan, _ = await shop.release()

    async def is_scheduled() -> bool:
        return bool((await shop.work_order(plan))["state"] == "scheduled")

    await wait_until(is_scheduled, 5, "the work order to be scheduled")
    context.stopping.set()
    await asyncio.wait_for(worker, 5)
    context.stopping.clear()


async def test_five_thousand_operations_are_planned_in_one_run(database: Database) -> None:
    work_orders = 1667
    plans = [
        PlanReleased.model_validate(
            {
                "aggregate_version": 1,
                "plan_id": new_id(),
                "plan": f"PL-{n}",
                "item": "SOFA",
                "quantity": "10",
                "unit": "pcs",
                "due": now() + timedelta(days=n % 30),
                "priority": n % 100,
                "pegs": [{"order_id": new_id(), "order": f"SO-{n}", "line": 1, "quantity": "10"}],
                "material_status": "ready",
                "bom_version": 1,
                "routing_version": 1,
                "components": [],
                "routing": [step(s, f"WC-{(n + s) % 20}", "10", "1.5") for s in (10, 20, 30)],
            }
        )
        for n in range(work_orders)
    ]
    for start in range(0, work_orders, 500):
        chunk = [
            Delivery(EventMeta(new_id(), p.TYPE, "test", now(), p.key, correlation_id=p.key), p)
            for p in plans[start : start + 500]
        ]
        await handle(database, PLANS, chunk)
    began = time.perf_counter()
    assert await database.write(reschedule) == work_orders
    first = time.perf_counter() - began
    async with database.transaction() as tx:
        await tx.execute(text("INSERT INTO schedule_request (urgent, code, text) VALUES (true, 'SCHEDULE', 'again')"))
    began = time.perf_counter()
    await database.write(reschedule)
    print(f"5,000 operations: first {first:.2f} s, again {time.perf_counter() - began:.2f} s")
    async with database.read() as reader:
        planned = await reader.scalar(select(func.count()).select_from(text("operation WHERE planned_end IS NOT NULL")))
    assert planned == 3 * work_orders

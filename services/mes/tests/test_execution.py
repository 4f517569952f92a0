"""Operators start, pause and report; quantities always add up and a machine does one thing at a time."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from chassis.db import Database
from chassis.testing import published
from contracts.mes import (
    BatchCompleted,
    MaterialConsumed,
    OperationCompleted,
    OperationPaused,
    OperationStarted,
    ProductionProgressed,
    WorkOrderCompleted,
)

ONE_STEP = [{"operation": 10, "work_center": "CUT", "setup_minutes": "0", "minutes_per_unit": "1"}]


async def test_a_work_order_from_start_to_finished_lot(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1")
    await shop.receive("LEG", "LEG-7", "100")
    plan, made = await shop.release(
        quantity="10", components=[{"item": "LEG", "quantity_per": "4.2", "quantity": "42"}]
    )
    cut, sew = (o["number"] for o in made["operations"])
    started = await shop.post(f"/v1/operations/{cut}/start", {"operator": "Ada", "machine": "CUT-1"})
    assert (started["state"], started["machine"], started["work_order"]) == ("running", "CUT-1", made["number"])
    assert (await shop.get("/v1/machines/CUT-1"))["operation"] == cut
    assert (await shop.get("/v1/machines/CUT-1"))["state"] == "running"
    half = await shop.report(cut, good="5", scrap="1")
    assert (half["good"], half["scrap"], half["state"], half["batch"], half["lot"]) == ("5", "1", "running", None, None)
    assert (await shop.report(cut, good="4"))["state"] == "done"
    assert (await shop.get("/v1/machines/CUT-1"))["state"] == "idle"

    after = await shop.work_order(plan)
    assert [(o["state"], o["quantity"]) for o in after["operations"]] == [("done", "10"), ("ready", "9")]
    await shop.post(f"/v1/operations/{sew}/start")
    first = await shop.report(sew, good="4")
    second = await shop.report(sew, good="5")
    assert second["state"] == "done"
    batches = await shop.items("/v1/batches", work_order=made["number"])
    assert [(b["number"], b["lot"], b["quantity"], b["state"]) for b in batches] == [
        (first["batch"], first["lot"], "4", "released"),
        (second["batch"], second["lot"], "5", "released"),
    ]
    assert (await shop.get(f"/v1/batches/{first['batch']}"))["work_order"] == made["number"]
    final = await shop.work_order(plan)
    assert (final["state"], final["good"], final["scrap"]) == ("completed", "9", "1")

    # 10 pieces were cut, one was scrapped before the first batch: 4.2 × 5, then 4.2 × 5.
    assert [
        (e.backflushed, e.consumed[0].lot, e.consumed[0].quantity) for e in await published(database, MaterialConsumed)
    ] == [
        (True, "LEG-7", Decimal("21")),
        (True, "LEG-7", Decimal("21")),
    ]
    assert (await shop.get("/v1/lots/LEG-7"))["quantity"] == "58"
    told = await published(database, BatchCompleted)
    assert [(b.good, b.lots_out[0].lot, b.inputs[0].quantity, b.bom_version) for b in told] == [
        (4, first["lot"], 21, 3),
        (5, second["lot"], 21, 3),
    ]
    progressed = await published(database, ProductionProgressed)
    percents = [e.percent for e in progressed]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert progressed[0].pegs == plan.pegs
    (completed,) = await published(database, WorkOrderCompleted)
    assert (completed.good, completed.scrap, completed.batches, completed.percent) == (9, 1, 2, 100)
    assert [e.operation for e in await published(database, OperationCompleted)] == [10, 20]


async def test_reported_lots_are_not_backflushed_again(shop: Any, database: Database) -> None:
    await shop.receive("LEG", "LEG-7", "100")
    await shop.receive("LEG", "LEG-8", "100")
    await shop.receive("FOAM", "FOAM-1", "100")
    components = [
        {"item": "LEG", "quantity_per": "4", "quantity": "8"},
        {"item": "FOAM", "quantity_per": "2", "quantity": "4"},
    ]
    _, made = await shop.release(quantity="2", components=components, routing=ONE_STEP)
    cut = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{cut}/start")
    await shop.report(cut, good="2", consumed=[{"item": "LEG", "lot": "LEG-8", "quantity": "9"}])
    used = [
        (e.backflushed, [(c.lot, c.quantity) for c in e.consumed]) for e in await published(database, MaterialConsumed)
    ]
    assert used == [(False, [("LEG-8", 9)]), (True, [("FOAM-1", 4)])]


@pytest.mark.parametrize(
    ("consumed", "expected"),
    [
        ({"item": "GLUE", "lot": "LEG-7", "quantity": "1"}, (422, "not_a_component")),
        ({"item": "LEG", "lot": "NO-LOT", "quantity": "1"}, (422, "unknown_lot")),
        ({"item": "LEG", "lot": "LEG-7", "quantity": "101"}, (422, "exceeds_lot")),
        ({"item": "LEG", "lot": "HELD-1", "quantity": "1"}, (409, "lot_held")),
    ],
)
async def test_wrong_consumption_is_refused_and_changes_nothing(
    shop: Any, consumed: dict[str, Any], expected: tuple[int, str]
) -> None:
    await shop.receive("LEG", "LEG-7", "100")
    await shop.receive("LEG", "HELD-1", "100")
    await shop.post("/v1/lots/HELD-1/hold", {"reason": "cracks"})
    components = [{"item": "LEG", "quantity_per": "4", "quantity": "8"}]
    _, made = await shop.release(quantity="2", components=components, routing=ONE_STEP)
    cut = f"/v1/operations/{made['number']}-10"
    await shop.post(f"{cut}/start")
    assert await shop.refused(f"{cut}/reports", {"good": "1", "consumed": [consumed]}) == expected
    assert (await shop.get(cut))["good"] == "0"
    assert (await shop.get("/v1/lots/LEG-7"))["quantity"] == "100"


async def test_more_than_was_started_is_refused(shop: Any) -> None:
    _, made = await shop.release(quantity="7.5", routing=ONE_STEP)
    cut = f"/v1/operations/{made['number']}-10"
    await shop.post(f"{cut}/start")
    await shop.report(f"{made['number']}-10", good="7.166667")
    assert await shop.refused(f"{cut}/reports", {"good": "0.333334"}) == (422, "exceeds_started")
    assert await shop.refused(f"{cut}/reports", {"good": "0.1", "scrap": "0.1", "rework": "0.2"}) == (
        422,
        "exceeds_started",
    )
    done = await shop.report(f"{made['number']}-10", good="0.333333")
    assert (done["good"], done["state"]) == ("7.5", "done")
    assert await shop.refused(f"{cut}/reports", {"good": "1"}) == (409, "wrong_state")


async def test_rework_is_done_again(shop: Any) -> None:
    _, made = await shop.release(quantity="10", routing=ONE_STEP)
    cut = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{cut}/start")
    assert (await shop.report(cut, good="7", rework="3"))["state"] == "running"
    done = await shop.report(cut, good="2", scrap="1")
    assert (done["good"], done["scrap"], done["rework"], done["state"]) == ("9", "1", "3", "done")


async def test_an_operation_pauses_and_resumes(shop: Any, database: Database) -> None:
    await shop.machines("CUT", "CUT-1")
    _, made = await shop.release()
    cut = f"/v1/operations/{made['number']}-10"
    assert await shop.refused(f"{cut}/pause") == (409, "wrong_state")
    first = await shop.post(f"{cut}/start")
    assert first["machine"] == "CUT-1"
    paused = await shop.post(f"{cut}/pause", {"reason": "lunch"})
    assert (paused["state"], paused["started_at"]) == ("paused", first["started_at"])
    assert (await shop.get("/v1/machines/CUT-1"))["state"] == "idle"
    assert await shop.refused(f"{cut}/reports", {"good": "1"}) == (409, "wrong_state")
    resumed = await shop.post(f"{cut}/resume")
    assert (resumed["state"], resumed["machine"], resumed["started_at"]) == ("running", "CUT-1", first["started_at"])
    assert await shop.refused(f"{cut}/resume") == (409, "wrong_state")
    (event,) = await published(database, OperationPaused)
    assert (event.reason.code, event.reason.text, event.machine) == ("PAUSED", "lunch", "CUT-1")
    assert len(await published(database, OperationStarted)) == 2


async def test_done_short_completes_with_less(shop: Any, database: Database) -> None:
    plan, made = await shop.release(quantity="10")
    cut, sew = (o["number"] for o in made["operations"])
    await shop.post(f"/v1/operations/{cut}/start")
    await shop.report(cut, good="6", done=True)
    await shop.post(f"/v1/operations/{sew}/start")
    await shop.report(sew, good="5", done=True)
    final = await shop.work_order(plan)
    assert (final["state"], final["good"], final["quantity"]) == ("completed", "5", "10")
    (event,) = await published(database, WorkOrderCompleted)
    assert (event.good, event.quantity, event.batches, event.percent) == (5, 10, 1, 100)


async def test_work_scrapped_to_the_last_piece_is_completed_and_took_its_material(
    shop: Any, database: Database
) -> None:
    await shop.receive("LEG", "LEG-7", "100")
    plan, made = await shop.release(quantity="3", components=[{"item": "LEG", "quantity_per": "4", "quantity": "12"}])
    cut = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{cut}/start")
    await shop.report(cut, scrap="3", reason="cracked")
    final = await shop.work_order(plan)
    assert (final["state"], final["good"], final["scrap"]) == ("completed", "0", "3")
    assert {o["state"] for o in final["operations"]} == {"done"}
    assert (await shop.get("/v1/lots/LEG-7"))["quantity"] == "88"
    (event,) = await published(database, WorkOrderCompleted)
    assert (event.good, event.scrap, event.batches) == (0, 3, 0)


async def test_a_missing_component_does_not_stop_what_was_made(shop: Any, database: Database) -> None:
    await shop.receive("LEG", "LEG-7", "5")
    _, made = await shop.release(
        quantity="2", routing=ONE_STEP, components=[{"item": "LEG", "quantity_per": "4", "quantity": "8"}]
    )
    cut = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{cut}/start")
    assert (await shop.report(cut, good="2"))["state"] == "done"
    (event,) = await published(database, MaterialConsumed)
    assert [(c.lot, c.quantity) for c in event.consumed] == [("LEG-7", 5)]


async def test_of_eight_starters_at_one_machine_one_wins(shop: Any) -> None:
    await shop.machines("CUT", "CUT-1")
    numbers = [(await shop.release())[1]["number"] for _ in range(8)]
    answers = await asyncio.gather(
        *(shop.client.post(f"/v1/operations/{n}-10/start", json={"machine": "CUT-1"}) for n in numbers)
    )
    assert sorted(a.status_code for a in answers) == [200] + [409] * 7
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"machine_busy"}
    assert len(await shop.items("/v1/operations", state="running", machine="CUT-1")) == 1


async def test_of_eight_starters_of_one_operation_one_wins(shop: Any, database: Database) -> None:
    await shop.machines("CUT", *(f"CUT-{n}" for n in range(8)))
    _, made = await shop.release()
    start = f"/v1/operations/{made['number']}-10/start"
    answers = await asyncio.gather(*(shop.client.post(start, json={"machine": f"CUT-{n}"}) for n in range(8)))
    assert sorted(a.status_code for a in answers) == [200] + [409] * 7
    assert len(await published(database, OperationStarted)) == 1
    assert [m["state"] for m in await shop.items("/v1/machines")].count("running") == 1


async def test_concurrent_reports_never_exceed_the_input(shop: Any) -> None:
    _, made = await shop.release(quantity="5", routing=ONE_STEP)
    cut = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{cut}/start")
    answers = await asyncio.gather(
        *(shop.client.post(f"/v1/operations/{cut}/reports", json={"good": "1"}) for _ in range(8))
    )
    assert sorted(a.status_code for a in answers) == [201] * 5 + [409] * 3
    assert (await shop.get(f"/v1/operations/{cut}"))["good"] == "5"
    assert len(await shop.items("/v1/batches")) == 5


async def test_a_report_repeated_with_its_key_counts_once(shop: Any) -> None:
    _, made = await shop.release(quantity="5", routing=ONE_STEP)
    cut = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{cut}/start")
    path, key = f"/v1/operations/{cut}/reports", {"Idempotency-Key": "report-1"}
    first = await shop.client.post(path, json={"good": "2"}, headers=key)
    again = await shop.client.post(path, json={"good": "2"}, headers=key)
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replay"]) == (201, 201, "true")
    assert first.json() == again.json()
    assert (await shop.get(f"/v1/operations/{cut}"))["good"] == "2"


async def test_machines_are_chosen_and_checked(shop: Any) -> None:
    await shop.machines("CUT", "CUT-1", "CUT-2")
    await shop.machines("SEW", "SEW-1")
    numbers = [(await shop.release())[1]["number"] for _ in range(3)]
    start = "/v1/operations/{}-10/start"
    assert await shop.refused(start.format(numbers[0]), {"machine": "LASER"}) == (422, "unknown_machine")
    assert await shop.refused(start.format(numbers[0]), {"machine": "SEW-1"}) == (422, "other_work_center")
    await shop.post("/v1/machines/CUT-1/state", {"state": "maintenance"})
    assert await shop.refused(start.format(numbers[0]), {"machine": "CUT-1"}) == (409, "machine_unavailable")
    assert (await shop.post(start.format(numbers[0])))["machine"] == "CUT-2"
    assert (await shop.refused(start.format(numbers[1])))[0] == 409
    assert await shop.refused(f"/v1/operations/{numbers[1]}-20/start") == (409, "wrong_state")
    assert (await shop.client.post("/v1/operations/WO-999999-10/start", json={})).status_code == 404


@pytest.mark.parametrize("body", [{}, {"good": "-1"}, {"good": "1.0000001"}, {"good": "1", "weight": 3}, {"good": "x"}])
async def test_a_report_must_make_sense(shop: Any, body: dict[str, Any]) -> None:
    _, made = await shop.release()
    await shop.post(f"/v1/operations/{made['number']}-10/start")
    assert (await shop.refused(f"/v1/operations/{made['number']}-10/reports", body))[0] == 422


async def test_the_dispatch_list_is_in_the_order_to_work_and_pages(shop: Any) -> None:
    await shop.machines("CUT", "CUT-1")
    slow = (await shop.release(priority=10))[1]["number"]
    urgent = (await shop.release(priority=90))[1]["number"]
    normal = (await shop.release(priority=50))[1]["number"]
    await shop.reschedule()
    expected = [f"{n}-10" for n in (urgent, normal, slow)]
    listed = await shop.items("/v1/operations", work_center="CUT", state="ready")
    assert [o["number"] for o in listed] == expected
    assert listed[0]["planned_end"] == listed[1]["planned_start"]
    seen: list[str] = []
    query: dict[str, Any] = {"work_center": "CUT", "limit": 1}
    while True:
        page = (await shop.client.get("/v1/operations", params=query)).json()
        seen += [o["number"] for o in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == expected
    of_one = await shop.items("/v1/operations", work_order=urgent)
    assert [o["operation"] for o in of_one] == [10, 20]

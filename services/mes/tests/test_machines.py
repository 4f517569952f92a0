"""Machines: master data, an unbroken history, maintenance of every stop, and OEE over the API."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chassis.clock import now
from chassis.db import Database
from chassis.testing import TestIssuer, client_of, published
from contracts.mes import (
    MachineStateChanged,
    MaintenanceOrderCompleted,
    MaintenanceOrderOpened,
    OperationPaused,
)
from mes.service import SERVICE

PART = [{"operation": 10, "work_center": "MILL", "setup_minutes": "0", "minutes_per_unit": "0.75"}]


async def test_work_centers_and_machines_are_made_once(shop: Any) -> None:
    made = await shop.post("/v1/work-centers", {"work_center": "MILL", "name": "Milling"})
    assert (made["number"], made["work_center"], made["name"], made["version"]) == ("MILL", "MILL", "Milling", 1)
    assert await shop.refused("/v1/work-centers", {"work_center": "MILL"}) == (409, "work_center_exists")
    machine = await shop.post("/v1/machines", {"machine": "M-1", "work_center": "MILL", "name": "Mill 1"})
    assert (machine["number"], machine["state"], machine["operation"]) == ("M-1", "idle", None)
    assert await shop.refused("/v1/machines", {"machine": "M-1", "work_center": "MILL"}) == (409, "machine_exists")
    assert await shop.refused("/v1/machines", {"machine": "M-2", "work_center": "LATHE"}) == (
        422,
        "unknown_work_center",
    )
    assert (await shop.get("/v1/machines/M-1"))["id"] == machine["id"]
    assert (await shop.get(f"/v1/machines/{machine['id']}"))["machine"] == "M-1"
    assert [w["work_center"] for w in await shop.items("/v1/work-centers")] == ["MILL"]
    assert (await shop.get("/v1/work-centers/MILL"))["id"] == made["id"]
    assert await shop.items("/v1/machines", state="down") == []


async def test_every_change_of_state_is_told_and_the_history_has_no_gap(shop: Any, database: Database) -> None:
    await shop.machines("MILL", "M-1")
    for state in ("setup", "running", "running", "down", "maintenance", "idle"):
        answer = await shop.post("/v1/machines/M-1/state", {"state": state, "reason": f"now {state}"})
        assert answer["state"] == state
    told = await published(database, MachineStateChanged)
    assert [(e.old_state, e.state, e.aggregate_version) for e in told] == [
        (None, "idle", 1),
        ("idle", "setup", 2),
        ("setup", "running", 3),
        ("running", "down", 4),
        ("down", "maintenance", 5),
        ("maintenance", "idle", 6),
    ]
    async with database.read() as reader:
        rows = await reader.all(text("SELECT * FROM machine_state ORDER BY started_at"))
    assert [r["state"] for r in rows] == ["idle", "setup", "running", "down", "maintenance", "idle"]
    assert [r["ended_at"] for r in rows[:-1]] == [r["started_at"] for r in rows[1:]]
    assert rows[-1]["ended_at"] is None


_SECOND_OPEN = "INSERT INTO machine_state (machine_id, state, started_at) SELECT id, 'idle', now() FROM machine"
_GAP = "UPDATE machine_state SET ended_at = ended_at + interval '1 second' WHERE ended_at IS NOT NULL"
_SECOND_FIRST = (
    "INSERT INTO machine_state (machine_id, state, started_at, ended_at)"
    " SELECT id, 'off', now(), 'infinity' FROM machine"
)


@pytest.mark.parametrize("statement", [_SECOND_OPEN, _GAP, _SECOND_FIRST])
async def test_the_database_refuses_a_broken_history(shop: Any, database: Database, statement: str) -> None:
    await shop.machines("MILL", "M-1")
    await shop.post("/v1/machines/M-1/state", {"state": "running"})
    with pytest.raises(IntegrityError):
        async with database.transaction() as tx:
            await tx.execute(text(statement))


async def test_time_goes_forward(shop: Any) -> None:
    await shop.machines("MILL", "M-1")
    early, late = (now() - timedelta(hours=h) for h in (3, 1))
    path = "/v1/machines/M-1/state"
    await shop.post(path, {"state": "running", "at": early.isoformat()})
    await shop.post(path, {"state": "idle", "at": late.isoformat()})
    before = (late - timedelta(minutes=1)).isoformat()
    assert await shop.refused(path, {"state": "down", "at": before}) == (422, "after_previous_change")
    assert await shop.refused(path, {"state": "down", "at": late.isoformat()}) == (422, "after_previous_change")
    ahead = (now() + timedelta(minutes=1)).isoformat()
    assert await shop.refused(path, {"state": "down", "at": ahead}) == (422, "not_in_future")
    assert (await shop.refused(path, {"state": "broken"}))[0] == 422
    assert await shop.refused(path, {"state": "down", "at": late.timestamp() + 60}) == (422, "value_error")
    assert (await shop.get("/v1/machines/M-1"))["state"] == "idle"


async def test_a_stop_opens_one_maintenance_order_until_the_machine_is_back(shop: Any, database: Database) -> None:
    await shop.machines("MILL", "M-1")
    stopped = now() - timedelta(minutes=90)
    path = "/v1/machines/M-1/state"
    await shop.post(path, {"state": "down", "reason": "spindle", "at": stopped.isoformat()})
    (order,) = await shop.items("/v1/maintenance-orders", machine="M-1", state="open")
    assert (order["reason"], order["notified"], order["number"]) == ("spindle", "maintenance", "MO-000001")
    for minutes, state in ((10, "maintenance"), (20, "down"), (45, "idle")):
        await shop.post(path, {"state": state, "at": (stopped + timedelta(minutes=minutes)).isoformat()})
    done = await shop.get(f"/v1/maintenance-orders/{order['number']}")
    assert (done["state"], done["downtime_minutes"]) == ("completed", "45")
    assert len(await published(database, MaintenanceOrderOpened)) == 1
    (told,) = await published(database, MaintenanceOrderCompleted)
    assert told.downtime_minutes == 45


async def test_planned_maintenance_opens_no_maintenance_order(shop: Any) -> None:
    await shop.machines("MILL", "M-1")
    await shop.post("/v1/machines/M-1/state", {"state": "maintenance"})
    assert await shop.items("/v1/maintenance-orders") == []


async def test_a_stopped_machine_pauses_what_it_ran_and_lets_it_go(shop: Any, database: Database) -> None:
    await shop.machines("MILL", "M-1")
    _, made = await shop.release(routing=PART)
    operation = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{operation}/start")
    answer = await shop.post("/v1/machines/M-1/state", {"state": "down", "reason": "spindle"})
    assert (answer["state"], answer["operation"]) == ("down", None)
    paused = await shop.get(f"/v1/operations/{operation}")
    assert (paused["state"], paused["machine"]) == ("paused", None)
    (event,) = await published(database, OperationPaused)
    changed = await shop.last(MachineStateChanged)
    assert (event.reason.code, event.machine) == ("MACHINE_DOWN", "M-1")
    assert event.reason.text == f"M-1 down since {changed.since:%H:%M}"
    assert await shop.refused(f"/v1/operations/{operation}/resume", {"machine": "M-1"}) == (409, "machine_unavailable")


async def test_oee_of_the_acceptance_story_over_the_api(shop: Any) -> None:
    """PBT 450, APT 405, PRI 0.75 min, PQ 500, GQ 490: A 0.900, E 0.9259, Q 0.980, OEE 0.8167."""
    await shop.machines("MILL", "M-1")
    begin = now() - timedelta(minutes=600)

    def at(minutes: int) -> str:
        return (begin + timedelta(minutes=minutes)).isoformat()

    for minutes, state in ((0, "running"), (200, "down"), (230, "running"), (435, "idle"), (450, "off"), (500, "idle")):
        await shop.post("/v1/machines/M-1/state", {"state": state, "at": at(minutes)})
    _, made = await shop.release(quantity="600", routing=PART)
    operation = f"{made['number']}-10"
    await shop.post(f"/v1/operations/{operation}/start", {"machine": "M-1"})
    await shop.report(operation, good="300", scrap="6", at=at(190))
    await shop.report(operation, good="190", scrap="4", at=at(430))
    await shop.report(operation, good="50")
    answer = await shop.client.get("/v1/machines/M-1/oee", params={"from": at(0), "to": at(500)})
    measured = answer.json()
    assert answer.status_code == 200, measured
    assert (measured["pbt_minutes"], measured["apt_minutes"]) == ("450", "405")
    assert (measured["produced"], measured["good"], measured["planned_minutes"]) == ("500", "490", "375")
    ratios = [measured[name] for name in ("availability", "effectiveness", "quality", "oee")]
    assert ratios == [0.9, 0.9259, 0.98, 0.8167]
    assert datetime.fromisoformat(measured["start"]) == begin


async def test_oee_needs_a_window_and_a_machine(shop: Any) -> None:
    await shop.machines("MILL", "M-1")
    path = "/v1/machines/M-1/oee"
    backwards = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    assert (await shop.client.get(path, params=backwards)).status_code == 422
    assert (await shop.client.get(path, params={"to": "0.5"})).status_code == 422
    assert (await shop.client.get("/v1/machines/M-9/oee")).status_code == 404
    assert (await shop.get(path))["produced"] == "0"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/work-centers", {"work_center": "W"}),
        ("/v1/machines", {"machine": "M", "work_center": "W"}),
        ("/v1/machines/M/state", {"state": "idle"}),
        ("/v1/operations/WO-1-10/start", {}),
        ("/v1/operations/WO-1-10/reports", {"good": 1}),
    ],
)
async def test_a_reader_may_not_write(database_url: str, issuer: TestIssuer, path: str, body: dict[str, Any]) -> None:
    client, context = client_of(SERVICE, database_url, issuer, issuer.token("production:read"))
    async with client:
        assert (await client.get("/v1/machines")).status_code == 200
        assert (await client.post(path, json=body)).status_code == 403
    await context.database.dispose()

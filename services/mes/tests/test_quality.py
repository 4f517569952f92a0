"""Quality as an inspector sees it: judgements, defects, and what is held because of them."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from chassis.clock import new_id
from chassis.db import Database
from chassis.tables import outbox
from chassis.testing import TestIssuer, deliver, published
from contracts.erp import OrderPeg, PlannedComponent, PlanReleased, RoutingStep, StockMoved
from contracts.mes import DefectDetected, InspectionCompleted, LotHeld
from mes.quality.rules import Measurement, finding
from mes.service import LOTS, PLANS

ORDER = UUID("0198c000-0000-7000-8000-000000000077")


def bought(lot: str, supplier_lot: str, item: str = "LEA-BLU", supplier: str = "SUP-A") -> StockMoved:
    """A receipt of 100 against a purchase order."""
    return StockMoved(
        aggregate_version=1,
        item=item,
        lot=lot,
        quantity=Decimal(100),
        reason="purchase_receipt",
        balance=Decimal(100),
        supplier=supplier,
        supplier_lot=supplier_lot,
        purchase_order="PO-000007",
    )


async def release_plan(client: httpx.AsyncClient, database: Database, item: str, component: str) -> str:
    """A plan of 4 pieces for order SO-000001 becomes a work order, which is started; returns its operation."""
    plan = PlanReleased(
        aggregate_version=1,
        plan_id=new_id(),
        plan=f"PL-{item}",
        item=item,
        quantity=Decimal(4),
        unit="pcs",
        due=datetime(2026, 12, 1, tzinfo=UTC),
        priority=50,
        pegs=[OrderPeg(order_id=ORDER, order="SO-000001", line=1, quantity=Decimal(4))],
        material_status="ready",
        bom_version=1,
        routing_version=1,
        components=[PlannedComponent(item=component, quantity_per=Decimal(1), quantity=Decimal(4))],
        routing=[RoutingStep(operation=10, work_center="SEW", setup_minutes=Decimal(0), minutes_per_unit=Decimal(1))],
    )
    await deliver(database, PLANS, plan)
    (work_order,) = (await client.get("/v1/work-orders", params={"item": item})).json()["items"]
    operation = str(work_order["operations"][0]["number"])
    assert (await client.post(f"/v1/operations/{operation}/start", json={})).status_code == 200
    return operation


async def complete(client: httpx.AsyncClient, operation: str, item: str, lot: str) -> str:
    """One batch of 2 pieces from 2 of a lot; returns the new lot."""
    report = {"good": 2, "consumed": [{"item": item, "lot": lot, "quantity": 2}]}
    answer = await client.post(f"/v1/operations/{operation}/reports", json=report)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["lot"])


async def sofas(client: httpx.AsyncClient, database: Database) -> list[str]:
    """Two lots of sofas of one work order, their covers sewn from two leather lots of one supplier lot."""
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"), bought("LEA-2", "HIDE-9"), bought("LEA-3", "HIDE-8"))
    sewing = await release_plan(client, database, "COVER", "LEA-BLU")
    covers = [await complete(client, sewing, "LEA-BLU", lot) for lot in ("LEA-1", "LEA-2")]
    upholstery = await release_plan(client, database, "SOFA", "COVER")
    return [await complete(client, upholstery, "COVER", cover) for cover in covers]


async def status(client: httpx.AsyncClient, *lots: str) -> list[str]:
    """The status of each lot."""
    return [(await client.get(f"/v1/lots/{lot}")).json()["status"] for lot in lots]


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """Record something that must be accepted."""
    answer = await client.post(f"/v1/{path}", json={"characteristic": "seam"} | body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["ETag"] == '"1"'
    return dict(answer.json())


async def test_an_accepted_inspection_is_recorded_and_holds_nothing(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"))
    made = await post(
        client,
        "inspections",
        lot="LEA-1",
        characteristic="thickness",
        result="accepted",
        value=1.2,
        lower_limit="1.0",
        upper_limit="1.4",
        sample_size=80,
        nonconforming=2,
        description="fine",
    )
    assert (made["number"], made["item"], made["value"], made["upper_limit"]) == ("IN-000001", "LEA-BLU", "1.2", "1.4")
    assert (made["severity"], made["defect"], made["recorded_by"]) == ("major", None, "tester")
    for reference in (made["id"], made["number"]):
        assert (await client.get(f"/v1/inspections/{reference}")).json() == made
    assert await status(client, "LEA-1") == ["released"]
    assert await published(database, DefectDetected) == []
    (told,) = await published(database, InspectionCompleted)
    assert (told.lot, told.result, told.sample_size, told.nonconforming) == ("LEA-1", "accepted", 80, 2)


async def test_a_rejected_inspection_of_a_bought_lot_contains_its_supplier_lot(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(
        database,
        LOTS,
        bought("LEA-1", "HIDE-9"),
        bought("LEA-2", "HIDE-9"),
        bought("LEA-3", "HIDE-8"),
        bought("LEA-4", "HIDE-9", supplier="SUP-B"),
        bought("OIL-1", "HIDE-9", item="OIL"),
    )
    made = await post(
        client,
        "inspections",
        lot="LEA-1",
        characteristic="visual",
        result="rejected",
        sample_size=80,
        nonconforming=5,
        severity="critical",
    )
    defect = (await client.get(f"/v1/defects/{made['defect']}")).json()
    assert (defect["id"], defect["severity"], defect["held_lots"]) == (
        made["defect_id"],
        "critical",
        ["LEA-1", "LEA-2"],
    )
    suspected = [{"item": "LEA-BLU", "lot": "LEA-1", "supplier": "SUP-A", "supplier_lot": "HIDE-9"}]
    assert defect["suspected_inputs"] == suspected
    assert await status(client, "LEA-1", "LEA-2", "LEA-3", "LEA-4", "OIL-1") == ["held", "held"] + ["released"] * 3
    (detected,) = await published(database, DefectDetected)
    assert [each.model_dump() for each in detected.suspected_inputs] == suspected
    held = await published(database, LotHeld)
    assert [each.lot for each in held] == ["LEA-1", "LEA-2"]
    assert {each.reason.code for each in held} == {"DEFECT"}
    assert held[1].reason.text == "DF-000001: visual, 5 of 80 nonconforming on lot LEA-1"


async def test_a_defect_of_a_product_holds_its_work_orders_lots_and_suspects_the_bought_inputs(
    client: httpx.AsyncClient, database: Database
) -> None:
    first, second = await sofas(client, database)
    made = await post(client, "defects", lot=second, value="3.5", lower_limit=4, description="seam too weak")
    assert made["number"] == "DF-000001"
    assert made["held_lots"] == [first, second]
    assert [each["lot"] for each in made["suspected_inputs"]] == ["LEA-2"]
    assert await status(client, first, second, "LEA-1", "LEA-2") == ["held", "held", "released", "released"]
    (detected,) = await published(database, DefectDetected)
    assert (detected.lot, detected.value, detected.lower_limit, detected.severity) == (second, "3.5", "4", "major")
    assert [peg.order for peg in detected.pegs] == ["SO-000001"]
    assert detected.work_order_id is not None
    assert detected.batch_id is not None
    reason = (await client.get(f"/v1/lots/{first}")).json()["reason"]
    assert reason == f"DF-000001: seam 3.5 beyond 4 on lot {second}"


async def test_the_holds_of_a_defect_belong_to_the_orders_story_and_name_the_defect(
    client: httpx.AsyncClient, database: Database
) -> None:
    lot, _ = await sofas(client, database)
    answer = await client.post("/v1/defects", json={"lot": lot, "characteristic": "seam"})
    (held, _) = await published(database, LotHeld)
    told = [entry.split(";")[0] for entry in answer.headers["X-Event-Ids"].split(",")]
    assert held.reason.event_id == told[0]
    async with database.read() as reader:
        rows = await reader.all(select(outbox.c.headers).where(outbox.c.event_id.in_(told)))
    assert {row["headers"]["ce_correlationid"] for row in rows} == {str(ORDER)}


async def test_a_minor_defect_holds_its_lot_alone(client: httpx.AsyncClient, database: Database) -> None:
    first, second = await sofas(client, database)
    made = await post(client, "defects", lot=first, severity="minor")
    assert made["held_lots"] == [first]
    assert [each["lot"] for each in made["suspected_inputs"]] == ["LEA-1"]
    assert await status(client, first, second) == ["held", "released"]


async def test_lots_already_held_or_scrapped_are_left_as_they_are(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, *(bought(f"LEA-{n}", "HIDE-9") for n in range(4)))
    await client.post("/v1/lots/LEA-1/hold", json={"reason": "wet"})
    await client.post("/v1/lots/LEA-2/scrap", json={"reason": "torn"})
    made = await post(client, "defects", lot="LEA-0")
    assert made["held_lots"] == ["LEA-0", "LEA-1", "LEA-3"]
    assert await status(client, "LEA-0", "LEA-1", "LEA-2", "LEA-3") == ["held", "held", "scrapped", "held"]
    assert [each.lot for each in await published(database, LotHeld)] == ["LEA-1", "LEA-0", "LEA-3"]
    again = await post(client, "defects", lot="LEA-2")
    assert again["held_lots"] == ["LEA-0", "LEA-1", "LEA-3"]
    assert len(await published(database, LotHeld)) == 3


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"result": "accepted", "value": 5, "upper_limit": 4}, "/result", "result_contradicts_limits"),
        ({"result": "accepted", "value": 3, "lower_limit": 4}, "/result", "result_contradicts_limits"),
        ({"result": "rejected", "lower_limit": 5, "upper_limit": 4}, "/lower_limit", "limits_reversed"),
        ({"result": "accepted", "sample_size": 5, "nonconforming": 6}, "/nonconforming", "exceeds_sample_size"),
        ({"result": "accepted", "nonconforming": 1}, "/sample_size", "sample_size_missing"),
        ({"result": "accepted", "lot": "NONE"}, "/lot", "unknown_lot"),
        ({"result": "perhaps"}, "/result", "literal_error"),
        ({"result": "rejected", "severity": "huge"}, "/severity", "literal_error"),
        ({"result": "accepted", "value": "NaN"}, "/value", "finite_number"),
        ({"result": "accepted", "colour": "blue"}, "/colour", "extra_forbidden"),
        ({}, "/result", "missing"),
    ],
)
async def test_contradictory_inspections_are_refused_and_change_nothing(
    client: httpx.AsyncClient, database: Database, body: dict[str, Any], field: str, rule: str
) -> None:
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"))
    answer = await client.post("/v1/inspections", json={"lot": "LEA-1", "characteristic": "thickness"} | body)
    assert answer.status_code == 422
    assert [(error["field"], error["rule"]) for error in answer.json()["errors"]] == [(field, rule)]
    assert (await client.get("/v1/inspections")).json()["items"] == []
    assert await status(client, "LEA-1") == ["released"]


async def test_a_value_on_its_limit_is_accepted(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"))
    await post(client, "inspections", lot="LEA-1", result="accepted", value="4.0", lower_limit=4, upper_limit="4.00")


async def test_lists_filter_and_records_are_found_by_number(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"), bought("LEA-3", "HIDE-8"))
    await post(client, "inspections", lot="LEA-1", result="accepted")
    rejected = await post(client, "inspections", lot="LEA-3", result="rejected", severity="minor")
    await post(client, "defects", lot="LEA-1", severity="critical")

    async def numbers(path: str, **filters: str) -> list[str]:
        return [each["number"] for each in (await client.get(f"/v1/{path}", params=filters)).json()["items"]]

    assert await numbers("inspections") == ["IN-000001", "IN-000002"]
    assert await numbers("inspections", result="rejected") == [rejected["number"]]
    assert await numbers("inspections", lot="LEA-1") == ["IN-000001"]
    assert await numbers("defects") == ["DF-000001", "DF-000002"]
    assert await numbers("defects", severity="critical") == ["DF-000002"]
    assert await numbers("defects", lot="LEA-3", severity="minor") == ["DF-000001"]
    assert (await client.get("/v1/defects", params={"item": "x"})).status_code == 422
    for path in ("inspections/IN-000009", "defects/DF-000009"):
        assert (await client.get(f"/v1/{path}")).status_code == 404


async def test_recording_needs_the_scope_and_happens_once_per_key(
    client: httpx.AsyncClient, database: Database, issuer: TestIssuer
) -> None:
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"))
    body = {"lot": "LEA-1", "characteristic": "seam"}
    reader = {"Authorization": f"Bearer {issuer.token('quality:read')}"}
    assert (await client.post("/v1/defects", json=body, headers=reader)).status_code == 403
    for replayed in (None, "true"):
        answer = await client.post("/v1/defects", json=body, headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, answer.headers.get("Idempotent-Replay")) == (201, replayed)
    assert len(await published(database, DefectDetected)) == 1


async def test_a_held_lot_cannot_be_consumed_until_it_is_released(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, bought("LEA-1", "HIDE-9"))
    sewing = await release_plan(client, database, "COVER", "LEA-BLU")
    await post(client, "inspections", lot="LEA-1", result="rejected")
    report = {"good": 2, "consumed": [{"item": "LEA-BLU", "lot": "LEA-1", "quantity": 2}]}
    refused = await client.post(f"/v1/operations/{sewing}/reports", json=report)
    assert (refused.status_code, refused.json()["code"]) == (409, "lot_held")
    await client.post("/v1/lots/LEA-1/release", json={"reason": "inspected again"})
    await complete(client, sewing, "LEA-BLU", "LEA-1")
    lot = (await client.get("/v1/lots/LEA-1")).json()
    assert (lot["consumed"], lot["quantity"]) == ("2", "98")


async def test_defects_of_siblings_at_once_hold_each_lot_once(client: httpx.AsyncClient, database: Database) -> None:
    names = [f"LEA-{n}" for n in range(6)]
    await deliver(database, LOTS, *(bought(name, "HIDE-9") for name in names))
    made = await asyncio.gather(*(post(client, "defects", lot=name) for name in names))
    assert all(each["held_lots"] == names for each in made)
    assert sorted(each.lot for each in await published(database, LotHeld)) == names


@pytest.mark.parametrize(
    ("measured", "decimals", "sentence"),
    [
        (Measurement(), {}, "Brix on lot L-1"),
        (Measurement(Decimal(11), Decimal(10), Decimal(12)), {"value": "11"}, "Brix 11 on lot L-1"),
        (
            Measurement(Decimal(13), Decimal(10), Decimal(12)),
            {"value": "13", "lower_limit": "10", "upper_limit": "12"},
            "Brix 13 outside 10 to 12 on lot L-1",
        ),
        (Measurement(nonconforming=2, sample_size=5), {}, "Brix, 2 of 5 nonconforming on lot L-1"),
    ],
)
def test_a_defect_is_told_in_one_sentence(measured: Measurement, decimals: dict[str, str], sentence: str) -> None:
    assert finding("Brix", "L-1", measured, decimals) == sentence

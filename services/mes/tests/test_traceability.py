"""Lots as a quality engineer sees them: their balance, their status and their genealogy both ways."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.clock import new_id
from chassis.db import Database
from chassis.http.problems import Problem
from chassis.messaging.handlers import PermanentError
from chassis.testing import TestIssuer, deliver, published
from contracts.erp import PickedLot, ShipmentLine, ShipmentShipped, StockMoved
from contracts.mes import ConsumedLot, LotHeld, LotReleased, LotScrapped
from mes.service import LOTS
from mes.traceability import commands, queries

_AT = datetime(2026, 11, 23, 10, tzinfo=UTC)


def moved(lot: str, quantity: int | str, reason: str = "receipt", item: str = "SUGAR", **facts: str) -> StockMoved:
    """One row of ERP's stock ledger."""
    return StockMoved.model_validate(
        {"aggregate_version": 1, "item": item, "lot": lot, "quantity": quantity, "reason": reason, "balance": 0} | facts
    )


def bought(lot: str, quantity: int, item: str = "SUGAR", supplier_lot: str | None = None) -> StockMoved:
    """A receipt against a purchase order of supplier SUP-A."""
    facts = {"supplier": "SUP-A", "supplier_lot": supplier_lot or f"SUP-{lot}", "purchase_order": "PO-000007"}
    return moved(lot, quantity, "purchase_receipt", item, **facts)


def shipped(shipment: str, customer: str, **lots: int) -> ShipmentShipped:
    """A shipment of BOTTLE lots, named with underscores for dashes."""
    picked = [PickedLot(lot=name.replace("_", "-"), quantity=Decimal(quantity)) for name, quantity in lots.items()]
    total = sum((each.quantity for each in picked), Decimal())
    return ShipmentShipped(
        aggregate_version=1,
        shipment_id=new_id(),
        shipment=shipment,
        order_id=new_id(),
        order=f"SO-{shipment}",
        customer=customer,
        lines=[ShipmentLine(line=1, item="BOTTLE", quantity=total, lots=picked)],
        shipped_at=_AT,
    )


class WorkOrder:
    """A work order as execution knows it when it calls traceability."""

    def __init__(self, database: Database, number: str, item: str) -> None:
        self.database = database
        self.row = {"id": new_id(), "number": number, "item": item}
        self.batches = 0

    async def consume(self, *consumed: tuple[str, str, int]) -> None:
        """Report consumption of (item, lot, quantity) ahead of any batch."""
        entries = [ConsumedLot(item=item, lot=lot, quantity=Decimal(quantity)) for item, lot, quantity in consumed]
        await self.database.write(lambda tx: commands.consume(tx, self.row, new_id(), entries, backflushed=False))

    async def complete(self, quantity: int, *consumed: tuple[str, str, int]) -> tuple[str, list[ConsumedLot]]:
        """Report a batch and what went into it; returns its lot and its inputs."""
        entries = [ConsumedLot(item=item, lot=lot, quantity=Decimal(taken)) for item, lot, taken in consumed]
        self.batches += 1
        batch = f"{self.row['number']}/{self.batches}"

        async def report(tx: Any) -> tuple[str, list[ConsumedLot]]:
            await commands.consume(tx, self.row, new_id(), entries, backflushed=False)
            return await commands.produce(tx, self.row, new_id(), batch, Decimal(quantity))

        return await self.database.write(report)


async def record(client: httpx.AsyncClient, lot: str) -> dict[str, Any]:
    """A lot's record."""
    answer = await client.get(f"/v1/lots/{lot}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def trace(
    client: httpx.AsyncClient, lot: str, direction: str = "both", truncated: bool = False
) -> dict[str, Any]:
    """A lot's trace; every edge must join two nodes of the answer."""
    answer = await client.get(f"/v1/lots/{lot}/trace", params={"direction": direction})
    assert answer.status_code == 200, answer.text
    graph = dict(answer.json())
    ids = [node["id"] for node in graph["nodes"]]
    assert len(ids) == len(set(ids))
    assert {end for edge in graph["edges"] for end in (edge["from"], edge["to"])} <= set(ids)
    assert (graph["lot"], graph["direction"], graph["truncated"]) == (lot, direction, truncated)
    return graph


def nodes(graph: dict[str, Any], kind: str) -> set[str]:
    """The names of a graph's nodes of one kind."""
    return {node[kind] for node in graph["nodes"] if node["kind"] == kind}


async def test_a_purchased_lot_shows_where_it_came_from(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, bought("SUG-L7", 500, supplier_lot="S-991"))
    lot = await record(client, "SUG-L7")
    assert lot["number"] == lot["lot"] == "SUG-L7"
    assert (lot["item"], lot["status"], lot["origin"], lot["quantity"]) == ("SUGAR", "released", "purchased", "500")
    assert (lot["supplier"], lot["supplier_lot"], lot["purchase_order"]) == ("SUP-A", "S-991", "PO-000007")
    assert (await record(client, lot["id"])) == lot


async def test_receipts_counts_corrections_and_shipments_keep_the_balance(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(
        database,
        LOTS,
        moved("L-A", 100),
        moved("L-A", 20),
        moved("L-A", -5, "count"),
        moved("L-A", "2.5", "correction"),
        moved("L-A", -40, "shipment"),
    )
    await WorkOrder(database, "WO-1", "BOTTLE").consume(("SUGAR", "L-A", 30))
    lot = await record(client, "L-A")
    tallies = {name: lot[name] for name in ("received", "adjusted", "consumed", "shipped", "scrapped", "quantity")}
    assert tallies == {
        "received": "120",
        "adjusted": "-2.5",
        "consumed": "30",
        "shipped": "40",
        "scrapped": "0",
        "quantity": "47.5",
    }


async def test_what_mes_did_itself_is_not_counted_again_when_erp_books_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, moved("SUG", 100))
    lot, _ = await WorkOrder(database, "WO-1", "BOTTLE").complete(10, ("SUGAR", "SUG", 30))
    await deliver(
        database,
        LOTS,
        moved("SUG", -30, "issue"),
        moved(lot, 10, "production_receipt", item="BOTTLE"),
    )
    assert (await record(client, "SUG"))["quantity"] == "70"
    assert (await record(client, lot))["quantity"] == "10"
    await client.post(f"/v1/lots/{lot}/scrap", json={"reason": "broken"})
    await deliver(database, LOTS, moved(lot, -10, "scrap", item="BOTTLE"))
    scrapped = await record(client, lot)
    assert (scrapped["quantity"], scrapped["scrapped"], scrapped["received"]) == ("0", "10", "10")


async def test_consumption_ahead_of_the_book_is_settled_by_erps_correction(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, moved("SUG", 10))
    await WorkOrder(database, "WO-1", "BOTTLE").consume(("SUGAR", "SUG", 8))
    await deliver(database, LOTS, moved("SUG", -5, "count"))
    assert (await record(client, "SUG"))["quantity"] == "0"
    await deliver(database, LOTS, moved("SUG", 3, "correction"), moved("SUG", -8, "issue"))
    assert (await record(client, "SUG"))["quantity"] == "0"
    await deliver(database, LOTS, moved("SUG", 4))
    assert (await record(client, "SUG"))["quantity"] == "4"


async def test_a_stock_move_delivered_twice_counts_once(client: httpx.AsyncClient, database: Database) -> None:
    receipt = bought("SUG", 100)
    event_id = new_id()
    for _ in range(3):
        await deliver(database, LOTS, receipt, event_id=event_id)
    assert (await record(client, "SUG"))["quantity"] == "100"
    (edge,) = [edge for edge in (await trace(client, "SUG"))["edges"] if edge["kind"] == "receipt"]
    assert edge["quantity"] == "100"


async def test_a_lot_name_of_another_item_is_refused_for_good(database: Database) -> None:
    await deliver(database, LOTS, moved("SUG", 100))
    with pytest.raises(PermanentError, match="'SUG' is not of item 'CO2'"):
        await deliver(database, LOTS, moved("SUG", 1, item="CO2"))


async def test_a_produced_lot_skips_a_number_a_receipt_has_taken(database: Database) -> None:
    await deliver(database, LOTS, moved("L-000001", 5))
    lot, _ = await WorkOrder(database, "WO-1", "BOTTLE").complete(10)
    assert lot == "L-000002"


async def test_lists_filter_and_page(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, *(moved(f"S-{n}", 1) for n in range(5)), moved("C-1", 1, item="CO2"))
    await client.post("/v1/lots/S-3/hold", json={"reason": "smells"})
    held = (await client.get("/v1/lots", params={"status": "held"})).json()["items"]
    assert [lot["lot"] for lot in held] == ["S-3"]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"item": "SUGAR", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        body = (await client.get("/v1/lots", params=params)).json()
        seen += [lot["lot"] for lot in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"S-{n}" for n in range(5)]
    assert (await client.get("/v1/lots", params={"colour": "red"})).status_code == 422


async def test_disposition_moves_between_held_released_and_scrapped(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, moved("SUG", 100))

    async def dispose(action: str) -> tuple[int, str]:
        answer = await client.post(f"/v1/lots/SUG/{action}", json={"reason": f"to {action}"})
        return answer.status_code, answer.json().get("status" if answer.status_code == 200 else "code")

    assert await dispose("release") == (409, "wrong_state")
    assert await dispose("hold") == (200, "held")
    assert await dispose("hold") == (409, "wrong_state")
    assert await dispose("release") == (200, "released")
    assert await dispose("hold") == (200, "held")
    assert await dispose("scrap") == (200, "scrapped")
    for action in ("hold", "release", "scrap"):
        assert await dispose(action) == (409, "wrong_state")
    lot = await record(client, "SUG")
    assert (lot["version"], lot["reason"], lot["scrapped"], lot["quantity"]) == (4, "to scrap", "100", "0")
    told = [*await published(database, LotHeld), *await published(database, LotReleased)]
    told += await published(database, LotScrapped)
    assert sorted((event.aggregate_version, event.TYPE, event.reason.text) for event in told) == [
        (1, "mes.LotHeld.v1", "to hold"),
        (2, "mes.LotReleased.v1", "to release"),
        (3, "mes.LotHeld.v1", "to hold"),
        (4, "mes.LotScrapped.v1", "to scrap"),
    ]
    assert {event.key for event in told} == {"SUG"}


async def test_disposition_needs_a_known_lot_a_reason_and_the_scope(
    client: httpx.AsyncClient, database: Database, issuer: TestIssuer
) -> None:
    await deliver(database, LOTS, moved("SUG", 100))
    assert (await client.post("/v1/lots/NONE/hold", json={"reason": "x"})).status_code == 404
    assert (await client.get("/v1/lots/NONE")).status_code == 404
    assert (await client.get("/v1/lots/NONE/trace")).status_code == 404
    assert (await client.post("/v1/lots/SUG/hold", json={"reason": " "})).status_code == 422
    assert (await client.post("/v1/lots/SUG/hold", json={})).status_code == 422
    nul = await client.post("/v1/lots/SUG/hold", json={"reason": "\x00"})
    assert nul.json()["errors"][0]["field"] == "/reason"
    reader = {"Authorization": f"Bearer {issuer.token('quality:read')}"}
    assert (await client.post("/v1/lots/SUG/hold", json={"reason": "x"}, headers=reader)).status_code == 403
    assert (await client.get("/v1/lots/SUG/trace", params={"direction": "sideways"})).status_code == 422
    assert (await record(client, "SUG"))["status"] == "released"


async def test_a_repeated_hold_with_its_key_happens_once(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, moved("SUG", 100))
    for replayed in (None, "true"):
        answer = await client.post("/v1/lots/SUG/hold", json={"reason": "x"}, headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, answer.headers.get("Idempotent-Replay")) == (200, replayed)
    assert len(await published(database, LotHeld)) == 1


async def refusal(work: Callable[[], Awaitable[object]]) -> Problem:
    """The problem a command refuses with."""
    with pytest.raises(Problem) as caught:
        await work()
    return caught.value


async def test_consumption_names_what_is_wrong_with_a_lot(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, moved("SUG", 10), moved("CO2-1", 10, item="CO2"))
    job = WorkOrder(database, "WO-1", "BOTTLE")
    wrong = await refusal(
        lambda: job.consume(("SUGAR", "SUG", 6), ("SUGAR", "SUG", 5), ("SUGAR", "CO2-1", 1), ("SUGAR", "NONE", 1))
    )
    assert wrong.status == 422
    assert [(error.field, error.rule) for error in wrong.errors] == [
        ("/consumed/0/quantity", "exceeds_lot"),
        ("/consumed/1/quantity", "exceeds_lot"),
        ("/consumed/2/item", "lot_of_another_item"),
        ("/consumed/3/lot", "unknown_lot"),
    ]
    for action in ("hold", "scrap"):
        await client.post(f"/v1/lots/SUG/{action}", json={"reason": "bad"})
        refused = await refusal(lambda: job.consume(("SUGAR", "SUG", 1)))
        assert (refused.status, refused.code) == (409, "lot_held")
    assert (await record(client, "SUG"))["consumed"] == "0"


async def test_backflush_takes_the_oldest_released_lots_and_no_more_than_there_is(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(
        database,
        LOTS,
        *(moved(f"S-{n}", 10) for n in (3, 1, 2)),
        moved("S-0", 10),
        moved("C-1", 1, item="CO2"),
    )
    await client.post("/v1/lots/S-1/hold", json={"reason": "bad"})

    async def chosen(**requirements: int) -> list[tuple[str, str, int]]:
        required = {item: Decimal(quantity) for item, quantity in requirements.items()}
        taken = await database.write(lambda tx: commands.backflush(tx, required))
        return [(entry.item, entry.lot, int(entry.quantity)) for entry in taken]

    assert await chosen(SUGAR=15) == [("SUGAR", "S-3", 10), ("SUGAR", "S-2", 5)]
    assert await chosen(SUGAR=31, CO2=2) == [
        ("CO2", "C-1", 1),
        ("SUGAR", "S-3", 10),
        ("SUGAR", "S-2", 10),
        ("SUGAR", "S-0", 10),
    ]
    assert await chosen(WATER=5) == []


async def test_eight_at_once_never_take_more_than_there_is(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, moved("SUG", 100))
    jobs = [WorkOrder(database, f"WO-{n}", "BOTTLE") for n in range(8)]

    async def consume_until_empty(job: WorkOrder) -> int:
        for taken in range(0, 100, 7):
            try:
                await job.consume(("SUGAR", "SUG", 7))
            except Problem as problem:
                if problem.errors[0].rule == "exceeds_lot":
                    return taken
                raise
        raise AssertionError("more was taken than there is")

    assert sum(await asyncio.gather(*map(consume_until_empty, jobs))) == 98
    lot = await record(client, "SUG")
    assert (lot["consumed"], lot["quantity"]) == ("98", "2")


async def test_eight_backflushing_at_once_share_what_there_is(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, *(moved(f"S-{n}", 10) for n in range(5)))
    jobs = [WorkOrder(database, f"WO-{n}", "BOTTLE") for n in range(8)]

    async def backflush(job: WorkOrder) -> Decimal:
        async def report(tx: Any) -> Decimal:
            chosen = await commands.backflush(tx, {"SUGAR": Decimal(8)})
            await commands.consume(tx, job.row, new_id(), chosen, backflushed=True)
            return sum((entry.quantity for entry in chosen), Decimal())

        return await database.write(report)

    taken = await asyncio.gather(*map(backflush, jobs))
    assert sum(taken) == 50
    assert max(taken) == 8
    lots = (await client.get("/v1/lots", params={"item": "SUGAR"})).json()["items"]
    assert [(lot["consumed"], lot["quantity"]) for lot in lots] == [("10", "0")] * 5


async def test_nothing_is_consumed_after_a_hold_that_raced_it(client: httpx.AsyncClient, database: Database) -> None:
    for attempt in range(10):
        name = f"SUG-{attempt}"
        await deliver(database, LOTS, moved(name, 100))
        jobs = [WorkOrder(database, f"WO-{attempt}-{n}", "BOTTLE") for n in range(4)]
        outcomes, held = await asyncio.gather(
            asyncio.gather(*(job.consume(("SUGAR", name, 10)) for job in jobs), return_exceptions=True),
            client.post(f"/v1/lots/{name}/hold", json={"reason": "bad"}),
        )
        succeeded = outcomes.count(None)
        assert all(isinstance(each, Problem) and each.code == "lot_held" for each in outcomes if each is not None)
        assert held.json()["consumed"] == str(10 * succeeded)
        assert (await record(client, name))["consumed"] == str(10 * succeeded)


async def drinks(database: Database) -> dict[str, str]:
    """The recall story A2: sugar lot SUG-L7 in B-101 and B-102, SUG-L8 in B-103; returns the bottle lots by batch.

    Syrup is made in between, so the sugar is two levels below the bottles.
    """
    await deliver(
        database,
        LOTS,
        bought("SUG-L7", 1000, supplier_lot="S-7"),
        bought("SUG-L8", 1000, supplier_lot="S-8"),
        bought("CO2-1", 1000, item="CO2"),
    )
    lots = {}
    for batch, sugar, bottles in (("B-101", "SUG-L7", 10_000), ("B-102", "SUG-L7", 9_800), ("B-103", "SUG-L8", 9_000)):
        syrup, _ = await WorkOrder(database, f"SYRUP-{batch}", "SYRUP").complete(50, ("SUGAR", sugar, 475))
        filling = WorkOrder(database, f"FILL-{batch}", "BOTTLE")
        lots[batch], _ = await filling.complete(bottles, ("SYRUP", syrup, 50), ("CO2", "CO2-1", 30))
    one, two, three = lots["B-101"], lots["B-102"], lots["B-103"]
    for shipment, customer, lot, quantity in (
        ("SH-1", "C-01", one, 6_000),
        ("SH-2", "C-02", one, 3_000),
        ("SH-3", "C-03", two, 4_000),
        ("SH-4", "C-04", three, 9_000),
    ):
        await deliver(
            database,
            LOTS,
            shipped(shipment, customer, **{lot.replace("-", "_"): quantity}),
            moved(lot, -quantity, "shipment", item="BOTTLE", shipment=shipment),
        )
    return lots


async def test_forward_from_a_sugar_lot_finds_the_customers_who_got_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    lots = await drinks(database)
    graph = await trace(client, "SUG-L7", "forward")
    assert {lots["B-101"], lots["B-102"]} <= nodes(graph, "lot")
    assert not {lots["B-103"], "SUG-L8", "CO2-1"} & nodes(graph, "lot")
    customers = {node["customer"]: node["order"] for node in graph["nodes"] if node["kind"] == "shipment"}
    assert customers == {"C-01": "SO-SH-1", "C-02": "SO-SH-2", "C-03": "SO-SH-3"}
    assert sum(int(edge["quantity"]) for edge in graph["edges"] if edge["kind"] == "shipment") == 13_000
    bottles = [await record(client, lots[batch]) for batch in ("B-101", "B-102")]
    assert [lot["quantity"] for lot in bottles] == ["1000", "5800"]
    reconciled = sum(int(lot["shipped"]) + int(lot["quantity"]) for lot in bottles)
    assert reconciled == sum(int(lot["received"]) for lot in bottles) == 19_800


async def test_backward_from_a_bottle_lot_finds_suppliers_three_levels_down(
    client: httpx.AsyncClient, database: Database
) -> None:
    lots = await drinks(database)
    judged = {"lot": "SUG-L7", "characteristic": "Brix", "result": "accepted", "value": "11.0"}
    assert (await client.post("/v1/inspections", json=judged)).status_code == 201
    graph = await trace(client, lots["B-102"], "backward")
    assert nodes(graph, "supplier_lot") == {"S-7", "SUP-CO2-1"}
    assert nodes(graph, "purchase_order") == {"PO-000007"}
    assert nodes(graph, "work_order") == {"SYRUP-B-102", "FILL-B-102"}
    assert nodes(graph, "shipment") == set()
    assert len(nodes(graph, "lot")) == 4
    (sugar,) = (node for node in graph["nodes"] if node["id"] == "SUG-L7")
    assert (sugar["supplier"], sugar["supplier_lot"], sugar["quantity"]) == ("SUP-A", "S-7", "50")
    assert sugar["inspections"] == [{"inspection": "IN-000001", "characteristic": "Brix", "result": "accepted"}]


async def test_both_ways_from_the_middle_stays_on_its_own_line(client: httpx.AsyncClient, database: Database) -> None:
    lots = await drinks(database)
    backward = await trace(client, lots["B-101"], "backward")
    (syrup,) = (node["lot"] for node in backward["nodes"] if node["kind"] == "lot" and node["item"] == "SYRUP")
    graph = await trace(client, syrup)
    assert nodes(graph, "lot") == {"SUG-L7", syrup, lots["B-101"]}
    assert nodes(graph, "supplier_lot") == {"S-7"}
    assert nodes(graph, "shipment") == {"SH-1", "SH-2"}
    (consumed,) = (edge for edge in graph["edges"] if edge["from"] == "SUG-L7" and edge["kind"] == "consumption")
    assert (consumed["quantity"], consumed["item"]) == ("475", "SUGAR")


async def inputs_of(client: httpx.AsyncClient, lot: str) -> dict[str, str]:
    """What a produced lot's batch may contain: lot → how sure."""
    graph = await trace(client, lot, "backward")
    return {edge["from"]: edge["kind"] for edge in graph["edges"] if edge["kind"] in ("consumption", "carry_over")}


async def test_material_reported_ahead_of_the_batches_may_be_in_every_later_one(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, moved("S-1", 100), moved("S-2", 100), moved("C-1", 100, item="CO2"))
    job = WorkOrder(database, "WO-1", "BOTTLE")
    await job.consume(("SUGAR", "S-1", 50))
    waiting = await trace(client, "S-1", "forward")
    assert nodes(waiting, "work_order") == {"WO-1"}
    first, first_inputs = await job.complete(10, ("CO2", "C-1", 1))
    await job.consume(("SUGAR", "S-2", 50))
    second, second_inputs = await job.complete(10, ("CO2", "C-1", 1))
    third, third_inputs = await job.complete(10)
    assert [(entry.lot, int(entry.quantity)) for entry in first_inputs] == [("C-1", 1), ("S-1", 50)]
    assert [(entry.lot, int(entry.quantity)) for entry in second_inputs] == [("C-1", 1), ("S-2", 50)]
    assert third_inputs == []
    assert await inputs_of(client, first) == {"S-1": "consumption", "C-1": "consumption"}
    assert await inputs_of(client, second) == {"S-1": "carry_over", "S-2": "consumption", "C-1": "consumption"}
    assert await inputs_of(client, third) == {"S-1": "carry_over", "S-2": "carry_over", "C-1": "carry_over"}
    forward = await trace(client, "S-2", "forward")
    assert nodes(forward, "lot") == {"S-2", second, third}


async def test_material_reported_with_a_batch_is_in_that_batch_alone(
    client: httpx.AsyncClient, database: Database
) -> None:
    await deliver(database, LOTS, moved("S-1", 100), moved("S-2", 100))
    job = WorkOrder(database, "WO-1", "BOTTLE")
    first, _ = await job.complete(10, ("SUGAR", "S-1", 20))
    second, _ = await job.complete(10, ("SUGAR", "S-2", 20))
    assert await inputs_of(client, first) == {"S-1": "consumption"}
    assert await inputs_of(client, second) == {"S-2": "consumption"}


async def test_a_genealogy_that_bites_its_tail_still_ends(client: httpx.AsyncClient, database: Database) -> None:
    rework = WorkOrder(database, "WO-1", "BOTTLE")
    lot, _ = await rework.complete(10)
    await rework.consume(("BOTTLE", lot, 5))
    again, _ = await rework.complete(5)
    other = WorkOrder(database, "WO-2", "BOTTLE")
    await other.consume(("BOTTLE", again, 5))
    final, _ = await other.complete(5)
    assert nodes(await trace(client, final), "lot") == {lot, again, final}


async def test_a_graph_too_large_for_one_answer_says_so(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots = await drinks(database)
    monkeypatch.setattr(queries, "MAX_LOTS", 2)
    for direction in ("forward", "backward"):
        start = {"forward": "SUG-L7", "backward": lots["B-101"]}[direction]
        assert len(nodes(await trace(client, start, direction, truncated=True), "lot")) == 2


async def test_a_shipment_told_before_its_lot_is_not_lost(client: httpx.AsyncClient, database: Database) -> None:
    await deliver(database, LOTS, shipped("SH-1", "C-01", BOT_1=3))
    await deliver(database, LOTS, moved("BOT-1", 10, item="BOTTLE"), moved("BOT-1", -3, "shipment", item="BOTTLE"))
    assert nodes(await trace(client, "BOT-1"), "shipment") == {"SH-1"}


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["receipt", "count", "shipment", "consume", "produce", "hold", "release", "scrap"]),
        st.integers(min_value=1, max_value=40),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_whatever_happens_to_a_lot_its_mass_is_accounted_for(
    client: httpx.AsyncClient, database: Database, steps: Sequence[tuple[str, int]]
) -> None:
    name = f"SUG-{new_id()}"
    await deliver(database, LOTS, moved(name, 50))
    job = WorkOrder(database, f"WO-{name}", "BOTTLE")
    left, received, adjusted, consumed, sent, status = 50, 50, 0, 0, 0, "released"
    for step, quantity in steps:
        if step == "receipt" and status != "scrapped":
            await deliver(database, LOTS, moved(name, quantity))
            left, received = left + quantity, received + quantity
        elif step == "count" and quantity <= left:
            await deliver(database, LOTS, moved(name, -quantity, "count"))
            left, adjusted = left - quantity, adjusted - quantity
        elif step == "shipment" and quantity <= left and status == "released":
            await deliver(database, LOTS, moved(name, -quantity, "shipment"))
            left, sent = left - quantity, sent + quantity
        elif step in ("consume", "produce"):
            if status == "released" and quantity <= left:
                await job.consume(("SUGAR", name, quantity))
                left, consumed = left - quantity, consumed + quantity
            else:
                await refusal(partial(job.consume, ("SUGAR", name, quantity)))
            if step == "produce":
                await job.complete(quantity)
        elif step in ("hold", "release", "scrap"):
            answer = await client.post(f"/v1/lots/{name}/{step}", json={"reason": "because"})
            allowed = {"hold": ["released"], "release": ["held"], "scrap": ["released", "held"]}[step]
            assert answer.status_code == (200 if status in allowed else 409)
            if status in allowed:
                status = {"hold": "held", "release": "released", "scrap": "scrapped"}[step]
        if status == "scrapped":
            break
    lot = await record(client, name)
    scrapped = left if status == "scrapped" else 0
    assert {key: Decimal(lot[key]) for key in ("received", "adjusted", "consumed", "shipped", "scrapped")} == {
        "received": received,
        "adjusted": adjusted,
        "consumed": consumed,
        "shipped": sent,
        "scrapped": scrapped,
    }
    assert Decimal(lot["quantity"]) == left - scrapped
    assert (lot["status"], received + adjusted) == (status, consumed + sent + scrapped + int(lot["quantity"]))
    graph = await trace(client, name, "forward")
    told = sum(
        int(edge["quantity"]) for edge in graph["edges"] if edge["kind"] == "consumption" and edge["from"] == name
    )
    assert told == consumed

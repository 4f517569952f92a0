"""The order-status view folded from events, whatever order the topics arrive in."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from fastapi import Response
from gateway_support import Behind, Gateway, MakeGateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.event import listen
from status_story import START, OrderStory, whole_life

from chassis.db import Database
from chassis.messaging.inbox import Delivery, handle
from contracts import erp, mes
from contracts.topics import EVENTS
from gateway.service import SERVICE
from gateway.status import story as stories
from gateway.status.rules import STAGES

(CONSUMER,) = SERVICE.consumers


async def fold(database: Database, *told: Delivery) -> None:
    """Fold events in this order, in one transaction."""
    await handle(database, CONSUMER, told)


async def view(gateway: Gateway, reference: object, **query: Any) -> dict[str, Any]:
    """The order-status view as an employee sees it."""
    answered = await gateway.client.get(
        f"/v1/orders/{reference}/status", params=query, headers=gateway.bearer("orders:read")
    )
    assert answered.status_code == 200, answered.text
    return answered.json()


def interleaved(told: list[Delivery], random: Random) -> list[Delivery]:
    """The same events with the topics' keys shuffled against each other; each key keeps its order, as in Kafka."""
    lanes: dict[tuple[str, str], list[Delivery]] = {}
    for delivery in told:
        lanes.setdefault((delivery.event.TOPIC, delivery.event.key), []).append(delivery)
    shuffled = []
    while lanes:
        lane = random.choice(sorted(lanes))
        shuffled.append(lanes[lane].pop(0))
        if not lanes[lane]:
            del lanes[lane]
    return shuffled


async def test_a_whole_life(gateway: Gateway) -> None:
    story = whole_life()
    database = gateway.context.database
    shown = {}
    for delivery in story.told:
        await fold(database, delivery)
        shown[len(shown)] = await view(gateway, story.order_id)
    stages = list(dict.fromkeys(one["stage"] for one in shown.values()))
    assert stages == [
        "placed",
        "promised",
        "planned",
        "in_production",
        "completed",
        "shipped",
        "delivered",
        "closed",
    ]
    last = shown[len(shown) - 1]
    assert last == await view(gateway, story.number)
    assert (last["version"], last["customer"], last["progress"]) == (2, "C-77", 100.0)
    assert (last["requested_date"], last["promised_date"]) == ("2026-12-12", "2026-12-11")
    assert last["eta"] == "2026-12-11T16:00:00Z"
    assert last["reason"]["code"] == "MACHINE_DOWN"
    assert last["flags"] == ["amended"]
    assert last["lines"] == [
        {
            "line": 1,
            "item": "SOFA-3S",
            "quantity": "4",
            "reserved": "0",
            "planned": "4",
            "produced": "4",
            "scrapped": "1",
            "shipped": "4",
            "delivered": "4",
            "open": "0",
            "cancelled": "0",
            "work_orders": ["WO-SO-000001"],
            "lots": ["L-SO-000001"],
        }
    ]
    assert last["as_of"] == last["trail"][-1]["time"]


async def test_the_trail_tells_every_event_of_the_story_once_and_why(gateway: Gateway) -> None:
    story = whole_life()
    await fold(gateway.context.database, *story.told)
    trail = (await view(gateway, story.number))["trail"]
    told = [str(delivery.meta.event_id) for delivery in story.told]
    # The machine's return is not why anything of this order happened, all else is.
    back = next(d for d in story.told if isinstance(d.event, mes.MachineStateChanged) and d.event.state == "running")
    assert [entry["event_id"] for entry in trail] == [one for one in told if one != str(back.meta.event_id)]
    assert all(entry["text"] and entry["type"] in EVENTS for entry in trail)
    known = {entry["event_id"] for entry in trail}
    assert all(entry["causation_id"] in known for entry in trail if entry["causation_id"])
    texts = {entry["type"]: entry["text"] for entry in trail}
    assert texts["mes.MachineStateChanged.v1"] == "Machine CUT-1 is down since 2026-12-01 08:00 UTC: blade broken"
    assert texts["crm.OrderPlaced.v1"] == "Order SO-000001 placed: 4 SOFA-3S, wanted by 2026-12-10"
    assert texts["mes.ProductionProgressed.v1"].endswith("reported 3 good, 1 scrap at operation 10 (cut too short)")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False))
async def test_any_interleaving_gives_the_same_view(gateway: Gateway, random: Random) -> None:
    database = gateway.context.database
    first, second = whole_life("SO-000001"), whole_life("SO-000002")
    second.cancel()
    told = [*first.told, *second.told]
    views = []
    for order in (told, interleaved(told, random)):
        async with database.transaction() as tx:
            await tx.execute(
                text(
                    "TRUNCATE inbox, status_order, status_promise, status_fulfilment, status_work_order, "
                    "status_work_order_peg, status_lot, story_event, story_link, story_part"
                )
            )
        waiting, reached = list(order), -1
        while waiting:
            chunk = [waiting.pop(0) for _ in range(min(len(waiting), random.randint(1, 25)))]
            await fold(database, *chunk, chunk[-1])
            if first.told[0] not in waiting:
                rank = STAGES.index((await view(gateway, first.order_id))["stage"])
                assert rank >= reached
                reached = rank
        views.append([await view(gateway, story.order_id) for story in (first, second)])
    assert views[0] == views[1]
    assert [one["stage"] for one in views[0]] == ["closed", "closed"]


async def test_progress_counts_work_in_process_and_reserved_goods(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.fulfilment("open", planned="4"))
    assert (await view(gateway, story.number))["progress"] == 0.0
    reported = {"reported_good": 0, "reported_scrap": 0, "reported_rework": 0}
    await fold(database, story.work(mes.ProductionProgressed, 62.5, **reported))
    shown = await view(gateway, story.number)
    assert (shown["progress"], shown["stage"]) == (62.5, "in_production")
    await fold(database, story.fulfilment("open", reserved="2", planned="4", produced="2"))
    assert (await view(gateway, story.number))["progress"] == 62.5
    # Pegs shrink as goods come in; the work done is not forgotten.
    await fold(database, story.work(mes.WorkOrderScheduled, 75.0, operations=[], reason=_reason(), pegs=[]))
    assert (await view(gateway, story.number))["progress"] == 75.0
    await fold(database, story.fulfilment("allocated", reserved="4", planned="4", produced="4"))
    shown = await view(gateway, story.number)
    assert (shown["progress"], shown["stage"]) == (100.0, "completed")


def _reason() -> Any:
    return {"code": "PROGRESS", "text": "as reported"}


async def test_folding_and_viewing_cost_few_statements(gateway: Gateway) -> None:
    story, database, sent = whole_life(), gateway.context.database, []
    await fold(database, *story.told)

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    listen(database.engine.sync_engine, "before_cursor_execute", note)
    await view(gateway, story.number)
    assert len(sent) <= 6
    sent.clear()
    await fold(database, story.promise(20))
    assert len(sent) <= 3
    sent.clear()
    await fold(database, story.work(mes.OperationStarted, started_at=START))
    assert len(sent) <= 4


async def test_late_when_promised_or_expected_after_the_wanted_day(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.promise(10))
    assert (await view(gateway, story.number))["flags"] == []
    revised = story.promise(11)
    await fold(database, revised)
    shown = await view(gateway, story.number)
    assert shown["flags"] == ["late"]
    assert shown["reason"]["event_id"] == str(revised.meta.event_id)


@pytest.mark.parametrize("related", ["made", "picked"])
async def test_held_while_a_lot_made_or_picked_for_it_is_held(gateway: Gateway, related: str) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.lot_state(mes.LotHeld))
    assert (await view(gateway, story.number))["flags"] == []
    if related == "made":
        await fold(database, story.work(mes.WorkOrderCreated), story.batch())
    else:
        await fold(database, story.fulfilment("allocated", reserved="4", lots=[story.lot]))
    assert (await view(gateway, story.number))["flags"] == ["held"]
    await fold(database, story.lot_state(mes.LotReleased))
    assert (await view(gateway, story.number))["flags"] == []


async def test_what_was_made_no_longer_matters_once_other_goods_are_shipped(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.work(mes.WorkOrderCreated), story.batch(), story.lot_state(mes.LotHeld))
    await fold(database, story.fulfilment("shipped", shipped="4", lots=["L-OTHER"]))
    assert (await view(gateway, story.number))["flags"] == []
    await fold(database, story.lot_state(mes.LotHeld, lot="L-OTHER"))
    assert (await view(gateway, story.number))["flags"] == ["held"]


async def test_an_order_cancelled_after_it_left_is_shipped(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.cancel())
    assert (await view(gateway, story.number))["stage"] == "cancelled"
    await fold(database, story.fulfilment("shipped", shipped="4"))
    shown = await view(gateway, story.number)
    assert (shown["stage"], shown["progress"], shown["flags"]) == ("shipped", 100.0, [])


async def test_a_cancelled_order_stays_cancelled(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.promise(20), story.cancel())
    await fold(database, story.work(mes.OperationStarted, started_at=START), story.fulfilment("cancelled"))
    shown = await view(gateway, story.number)
    assert (shown["stage"], shown["flags"], shown["version"]) == ("cancelled", ["cancelled"], 2)
    assert [(line["quantity"], line["open"], line["cancelled"]) for line in shown["lines"]] == [("4", "0", "4")]


async def test_a_withdrawn_line_is_gone_and_amending_is_flagged(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    await fold(database, story.place(), story.amend("6"))
    shown = await view(gateway, story.number)
    assert (shown["version"], shown["lines"][0]["quantity"], shown["flags"]) == (2, "6", ["amended"])


async def test_orders_share_a_work_order_and_its_scrap(gateway: Gateway) -> None:
    one, two, database = OrderStory("SO-000001"), OrderStory("SO-000002"), gateway.context.database
    await fold(database, one.place(), two.place())
    pegs = [*one.pegs("3"), *two.pegs("1")]
    work = one.work(
        mes.ProductionProgressed, 50, scrap=2, pegs=pegs, reported_good=0, reported_scrap=2, reported_rework=0
    )
    await fold(database, work)
    assert [(await view(gateway, s.number))["lines"][0]["scrapped"] for s in (one, two)] == ["1.5", "0.5"]
    assert [len((await view(gateway, s.number))["trail"]) for s in (one, two)] == [2, 2]


async def test_another_customers_events_never_show_in_the_trail(gateway: Gateway) -> None:
    mine, theirs, database = OrderStory("SO-000001"), OrderStory("SO-000002", "C-88"), gateway.context.database
    placed = theirs.place()
    # Their cancelling freed goods for my order: my promise is caused by, and correlated with, their order.
    mine.told.clear()
    await fold(database, mine.place(), placed, cancelled := theirs.cancel())
    revised = mine.tell(
        erp.OrderPromised,
        cause=cancelled,
        correlation=str(theirs.order_id),
        order_id=mine.order_id,
        order=mine.number,
        customer=mine.customer,
        promised_date=START.date(),
        eta=START,
        basis="stock",
        reason=_reason(),
    )
    await fold(database, revised)
    assert [entry["type"] for entry in (await view(gateway, mine.number))["trail"]] == [
        "crm.OrderPlaced.v1",
        "erp.OrderPromised.v1",
    ]
    assert [entry["type"] for entry in (await view(gateway, theirs.number))["trail"]] == [
        "crm.OrderPlaced.v1",
        "crm.OrderCancelled.v1",
    ]


async def test_a_purchase_order_is_told_to_the_orders_that_wait_for_it(gateway: Gateway) -> None:
    story, database = OrderStory(), gateway.context.database
    po = story.order_id
    line = {"line": 1, "item": "LEA-BLU", "quantity": 20, "price": 5, "due": START.date()}
    common = {"purchase_order_id": po, "purchase_order": "PO-000007", "supplier": "SUP-LEA", "correlation": "PO-000007"}
    placed = story.tell(erp.PurchaseOrderPlaced, **common, currency="EUR", lines=[line], orders=[story.number])
    received = {"line": 1, "item": "LEA-BLU", "quantity": 20, "lot": "LEA-1"}
    receipt = story.tell(erp.GoodsReceived, **common, receipt_id=po, lines=[received], complete=True)
    await fold(database, receipt, placed, story.place())
    assert [entry["text"] for entry in (await view(gateway, story.number))["trail"]][:2] == [
        "Purchase order PO-000007 placed: 20 LEA-BLU, due 2026-12-01",
        "Purchase order PO-000007 received: 20 LEA-BLU",
    ]


async def test_the_trail_keeps_the_newest_500(gateway: Gateway) -> None:
    story = OrderStory()
    story.place()
    for _ in range(510):
        story.fulfilment("open")
    await fold(gateway.context.database, *story.told)
    trail = (await view(gateway, story.number))["trail"]
    assert [entry["event_id"] for entry in trail] == [str(d.meta.event_id) for d in story.told[-500:]]


def test_every_event_of_an_order_is_told() -> None:
    about_the_plant_only = {
        "crm.CustomerRegistered.v1",
        "crm.CustomerChanged.v1",
        "erp.ItemDefined.v1",
        "erp.StockMoved.v1",
        "mes.MaintenanceOrderOpened.v1",
        "mes.MaintenanceOrderCompleted.v1",
    }
    assert {event.TYPE for event in stories.STORY_EVENTS} == set(EVENTS) - about_the_plant_only


async def test_a_customer_sees_its_own_orders_only(gateway: Gateway) -> None:
    story = OrderStory()
    await fold(gateway.context.database, story.place())

    async def ask(customer: str | None, *scopes: str) -> int:
        headers = gateway.bearer(*scopes, customer=customer)
        return (await gateway.client.get(f"/v1/orders/{story.number}/status", headers=headers)).status_code

    assert await ask("C-77", "orders:read") == 200
    assert await ask("C-88", "orders:read") == 404
    assert await ask("C-77", "orders:write") == 403


@pytest.mark.parametrize("query", [{"min_version": 0}, {"min_version": "x"}, {"unknown": 1}])
async def test_bad_queries_are_refused(gateway: Gateway, query: dict[str, Any]) -> None:
    answered = await gateway.client.get(
        "/v1/orders/SO-000001/status", params=query, headers=gateway.bearer("orders:read")
    )
    assert answered.status_code == 422


@pytest_asyncio.fixture
async def with_crm(make_gateway: MakeGateway, behind: Behind) -> AsyncIterator[Gateway]:
    """A gateway with CRM behind it."""
    behind.answers["GET /v1/orders/SO-404"] = lambda: Response('{"code":"not_found"}', 404)
    async with make_gateway(crm=behind.url) as gateway:
        yield gateway


def as_crm_has_it(story: OrderStory, version: int = 1, state: str = "placed") -> Response:
    """CRM's record of the order."""
    order = next(d.event for d in story.told)
    body = order.model_dump_json(include={"number", "customer", "requested_date", "lines"})  # type: ignore[call-arg]
    own = f'"id":"{story.order_id}","version":{version},"state":"{state}","updated_at":"2026-12-01T08:00:00Z",'
    return Response("{" + own + body[1:], media_type="application/json")


async def test_an_order_not_folded_yet_is_shown_as_its_owner_has_it(with_crm: Gateway, behind: Behind) -> None:
    story = OrderStory()
    story.place()
    behind.answers[f"GET /v1/orders/{story.number}"] = lambda: as_crm_has_it(story)
    shown = await view(with_crm, story.number)
    assert (shown["order_id"], shown["stage"], shown["version"]) == (str(story.order_id), "placed", 1)
    assert (shown["lines"][0]["quantity"], shown["trail"], shown["as_of"]) == ("4", [], "2026-12-01T08:00:00Z")


async def test_a_newer_version_is_awaited_and_then_taken_from_the_owner(with_crm: Gateway, behind: Behind) -> None:
    story = OrderStory()
    await fold(with_crm.context.database, story.place(), story.promise(9))
    behind.answers[f"GET /v1/orders/{story.order_id}"] = lambda: as_crm_has_it(story, version=2)
    shown = await view(with_crm, story.number, min_version=2)
    assert (shown["version"], shown["stage"], shown["flags"]) == (2, "promised", ["amended"])
    await fold(with_crm.context.database, story.amend("5"))
    shown = await view(with_crm, story.number, min_version=2)
    assert (shown["version"], shown["lines"][0]["quantity"]) == (2, "5")


async def test_an_order_nobody_knows_is_404(with_crm: Gateway) -> None:
    for reference in ("SO-404", "%00"):
        answered = await with_crm.client.get(f"/v1/orders/{reference}/status", headers=with_crm.bearer("orders:read"))
        assert answered.status_code == 404
        assert answered.headers["content-type"] == "application/problem+json"

"""Orders follow what ERP and MES report, and customers are told once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.clock import new_id, now
from chassis.events import DomainEvent
from chassis.testing import published
from contracts.crm import CustomerNotified, OrderAmended
from contracts.envelope import Reason
from contracts.erp import (
    FulfilmentChanged,
    OrderPeg,
    OrderPromised,
    PromiseRevised,
    ShipmentDelivered,
    ShipmentLine,
    ShipmentShipped,
)
from contracts.mes import OperationStarted

TODAY = now().replace(hour=12, minute=0, second=0, microsecond=0)
PLAN = Reason(code="PLAN", text="planned")


def head(order: dict[str, Any], version: int = 1) -> dict[str, Any]:
    """The fields all events about an order share."""
    return {
        "aggregate_version": version,
        "order_id": order["id"],
        "order": order["number"],
        "customer": order["customer"],
    }


def promised(order: dict[str, Any], days: int = 4) -> OrderPromised:
    eta = TODAY + timedelta(days=days)
    return OrderPromised(**head(order), promised_date=eta.date(), eta=eta, basis="plan", reason=PLAN)


def revised(order: dict[str, Any], old: int, new: int, text: str, version: int = 2) -> PromiseRevised:
    before, after = TODAY + timedelta(hours=old), TODAY + timedelta(hours=new)
    return PromiseRevised(
        **head(order, version), old_promised_date=before.date(), promised_date=after.date(), old_eta=before, eta=after,
        reason=Reason(code="MACHINE_DOWN", text=text),
    )  # fmt: skip


def fulfilment(order: dict[str, Any], state: str, version: int = 1) -> FulfilmentChanged:
    none = dict.fromkeys(("reserved", "planned", "produced", "shipped", "delivered", "cancelled"), "0")
    lines = [{**none, **{name: line[name] for name in ("line", "item", "quantity")}} for line in order["lines"]]
    return FulfilmentChanged.model_validate(
        {**head(order, version), "order_version": 1, "state": state, "lines": lines}
    )


def started(*orders: dict[str, Any]) -> OperationStarted:
    pegs = [OrderPeg(order_id=o["id"], order=o["number"], line=1, quantity=Decimal(1)) for o in orders]
    return OperationStarted(
        aggregate_version=1, work_order_id=new_id(), work_order="WO-000001", plan_id=new_id(), item="PRT-1",
        quantity=Decimal(1), good=Decimal(0), scrap=Decimal(0), percent=0, pegs=pegs, operation_id=new_id(),
        operation=10, work_center="CUT", started_at=TODAY,
    )  # fmt: skip


def shipment(order: dict[str, Any]) -> dict[str, Any]:
    lines = [ShipmentLine(line=1, item="PRT-1", quantity=Decimal(1), lots=[])]
    return {**head(order), "shipment_id": new_id(), "shipment": "SH-000001", "lines": lines}


def shipped(order: dict[str, Any]) -> ShipmentShipped:
    return ShipmentShipped(**shipment(order), shipped_at=TODAY)


def delivered(order: dict[str, Any]) -> ShipmentDelivered:
    return ShipmentDelivered(**shipment(order), delivered_at=TODAY)


async def notes(crm: Any, order: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await crm.client.get(f"/v1/orders/{order['number']}/notifications")
    return list(answer.json()["items"])


async def milestones(crm: Any, order: dict[str, Any]) -> list[str]:
    return [note["milestone"] for note in await notes(crm, order)]


async def test_the_whole_story_is_followed_and_told(crm: Any) -> None:
    order = await crm.place()
    story: list[tuple[list[DomainEvent], str]] = [
        ([promised(order)], "promised"),
        ([started(order)], "in_production"),
        ([started(order)], "in_production"),
        ([fulfilment(order, "open")], "in_production"),
        ([fulfilment(order, "allocated")], "completed"),
        ([shipped(order), fulfilment(order, "shipped")], "shipped"),
        ([delivered(order), fulfilment(order, "delivered")], "delivered"),
        ([fulfilment(order, "closed")], "closed"),
    ]
    for events, state in story:
        await crm.tell(*events)
        assert (await crm.get(order["id"]))["state"] == state
    assert await milestones(crm, order) == [
        "confirmed", "promised", "started", "completed", "shipped", "delivered",
    ]  # fmt: skip
    followed = await crm.get(order["id"])
    assert followed["version"] == 1
    assert followed["promised_date"] == (TODAY + timedelta(days=4)).date().isoformat()
    assert followed["updated_at"] > order["updated_at"]
    for note in await notes(crm, order):
        assert order["number"] in note["text"]
        assert note["text"].endswith(".")


async def test_a_report_handled_twice_counts_once(crm: Any) -> None:
    order = await crm.place()
    event_id = new_id()
    for _ in range(2):
        await crm.tell(promised(order), event_id=event_id)
    told = await published(crm.database, CustomerNotified)
    assert [note.milestone for note in told] == ["confirmed", "promised"]
    assert told[1].cause_event_id == str(event_id)


async def test_what_arrives_late_from_another_topic_moves_nothing_back(crm: Any) -> None:
    order = await crm.place()
    await crm.tell(fulfilment(order, "shipped"), started(order), promised(order))
    assert (await crm.get(order["id"]))["state"] == "shipped"
    assert await milestones(crm, order) == ["confirmed"]


async def test_one_operation_may_start_several_orders(crm: Any) -> None:
    first, second, other = [await crm.place() for _ in range(3)]
    await crm.tell(started(first, second, first))
    assert [(await crm.get(o["id"]))["state"] for o in (first, second, other)] == ["in_production"] * 2 + ["placed"]
    assert await milestones(crm, first) == await milestones(crm, second) == ["confirmed", "started"]


async def test_every_revision_is_told_with_its_reason(crm: Any) -> None:
    order = await crm.place()
    await crm.tell(
        promised(order, 1),
        revised(order, 24, 72, "CUT-1 down since 10:42."),
        revised(order, 72, 75, "CUT-1 is back", version=3),
    )
    first, second = (await notes(crm, order))[2:]
    assert first["milestone"] == second["milestone"] == "promise_revised"
    later = (TODAY + timedelta(days=3)).date()
    assert f"to {later.day} {later:%B %Y}. The reason: CUT-1 down since 10:42." in first["text"]
    assert "still expected" in second["text"]
    assert "about 15:00 UTC instead of 12:00 UTC. The reason: CUT-1 is back." in second["text"]
    assert (await crm.get(order["id"]))["promised_date"] == later.isoformat()


async def test_a_cancelled_order_is_told_nothing_more_unless_it_had_left(crm: Any) -> None:
    order = await crm.place()
    await crm.client.post(f"/v1/orders/{order['id']}/cancel", json={"reason": "no need"})
    await crm.tell(promised(order), started(order), fulfilment(order, "allocated"), fulfilment(order, "cancelled"))
    assert (await crm.get(order["id"]))["state"] == "cancelled"
    assert await milestones(crm, order) == ["confirmed", "cancelled"]
    await crm.tell(shipped(order), fulfilment(order, "shipped"))
    assert (await crm.get(order["id"]))["state"] == "shipped"
    assert await milestones(crm, order) == ["confirmed", "cancelled", "shipped"]


async def test_what_was_amended_after_the_goods_left_is_taken_back_and_told(crm: Any) -> None:
    order = await crm.place()
    (line,) = order["lines"]
    more = [{**line, "quantity": "9"}, {"line": 7, "item": "PRT-1", "quantity": "5"}]
    path = f"/v1/orders/{order['id']}"
    amended = await crm.client.patch(path, json={"lines": more}, headers={"If-Match": '"1"'})
    assert amended.status_code == 200, amended.text
    report = fulfilment(order, "shipped")
    await crm.tell(report, report)
    known = await crm.get(order["id"])
    assert (known["state"], known["version"], known["lines"]) == ("shipped", 3, order["lines"])
    assert (await published(crm.database, OrderAmended))[-1].changed == ["lines/1", "lines/7"]
    assert (await milestones(crm, order)).count("amended_too_late") == 1


async def test_an_amendment_that_reached_the_goods_in_time_stands(crm: Any) -> None:
    order = await crm.place()
    await crm.client.patch(f"/v1/orders/{order['id']}", json={"priority": 9}, headers={"If-Match": '"1"'})
    await crm.tell(fulfilment(order, "shipped").model_copy(update={"order_version": 2}))
    known = await crm.get(order["id"])
    assert (known["version"], known["lines"]) == (2, order["lines"])


async def test_reports_leave_the_version_a_client_amends_alone(crm: Any) -> None:
    order = await crm.place()
    await crm.tell(promised(order), started(order))
    amended = await crm.client.patch(f"/v1/orders/{order['id']}", json={"priority": 5}, headers={"If-Match": '"1"'})
    assert (amended.status_code, amended.json()["version"], amended.json()["state"]) == (200, 2, "in_production")


@pytest.mark.parametrize("state", ["shipped", "delivered", "closed"])
async def test_what_has_shipped_can_neither_be_amended_nor_cancelled(crm: Any, state: str) -> None:
    order = await crm.place()
    await crm.tell(fulfilment(order, state))
    before = await crm.contents()
    path = f"/v1/orders/{order['id']}"
    late = await crm.client.patch(path, json={"priority": 1}, headers={"If-Match": '"1"'})
    cancelled = await crm.client.post(f"{path}/cancel", json={"reason": "x"})
    assert {(a.status_code, a.json()["code"]) for a in (late, cancelled)} == {(409, "wrong_state")}
    assert await crm.contents() == before


async def test_a_report_about_an_order_unknown_here_is_passed_over(crm: Any) -> None:
    order = {**await crm.place(), "id": str(new_id())}
    before = await crm.contents()
    await crm.tell(promised(order), fulfilment(order, "allocated"), started(order))
    assert await crm.contents() == before


async def test_the_list_of_notifications_is_filtered_and_the_callers_own(crm: Any) -> None:
    first, second = await crm.place(customer="C-77"), await crm.place(customer="C-78")
    await crm.tell(promised(first))

    async def told(headers: Any = None, **query: Any) -> list[tuple[str, str]]:
        answer = await crm.client.get("/v1/notifications", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return [(note["order"], note["milestone"]) for note in answer.json()["items"]]

    confirmed = [(first["number"], "confirmed"), (second["number"], "confirmed")]
    assert await told() == [*confirmed, (first["number"], "promised")]
    assert await told(milestone="confirmed") == confirmed
    assert await told(order=second["id"]) == confirmed[1:]
    assert await told(customer="C-78") == confirmed[1:]
    assert await told(crm.as_customer("C-78")) == confirmed[1:]
    assert await told(crm.as_customer("C-78"), customer="C-77") == []


STEPS = st.sampled_from(["promised", "started", "allocated", "open", "shipped", "delivered", "closed"])
RANK = ["placed", "promised", "in_production", "completed", "cancelled", "shipped", "delivered", "closed"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=8))
async def test_in_any_order_of_reports_the_state_never_goes_back(crm: Any, steps: list[str]) -> None:
    order = await crm.place()
    rank = 0
    for step in steps:
        made = {"promised": promised, "started": started}.get(step)
        await crm.tell(made(order) if made else fulfilment(order, step))
        now_at = RANK.index((await crm.get(order["id"]))["state"])
        assert now_at >= rank
        rank = now_at
    told = [m for m in await milestones(crm, order) if m != "promise_revised"]
    assert len(told) == len(set(told))

"""Promises: what the customer is told, when it moves, and why."""

from datetime import timedelta
from typing import Any

import pytest

from chassis.clock import new_id, now
from chassis.testing import published
from contracts.envelope import Reason
from contracts.erp import PlanChanged, PlanReleased

SCHEDULED = Reason(code="SCHEDULE", text="scheduled")


async def define_sofa(factory: Any) -> None:
    """A3: SOFA-3S of 12 m² LEA-BLU, 18 hours to make; 18 m² on hand, 6 days to buy."""
    await factory.buy("LEA-BLU", lead_time_days=6)
    await factory.make("SOFA-3S", {"LEA-BLU": "12"}, setup="1080", minutes="0")
    await factory.stock("LEA-BLU", 18)


async def test_the_second_sofa_waits_for_leather(factory: Any) -> None:
    """C-77 gets the leather there is; C-78 is promised behind the purchase order, and told so."""
    await define_sofa(factory)
    first = await factory.place(("SOFA-3S", 1), days=10, customer="C-77")
    second = await factory.place(("SOFA-3S", 1), days=10, customer="C-78")
    assert (await factory.balance("LEA-BLU"))["available"] == 0
    (soon,), (late,) = await factory.promises(first), await factory.promises(second)
    assert (soon.basis, soon.reason.code) == ("plan", "PLAN")
    # Three working days to build at most, and one to ship.
    assert soon.promised_date <= now().date() + timedelta(days=4)
    (placed,) = (await factory.get("/v1/purchase-orders", item="LEA-BLU"))["items"]
    assert [(line["quantity"], line["orders"]) for line in placed["lines"]] == [("6", [second.number])]
    due = now().date() + timedelta(days=6)
    assert (late.basis, late.reason.code) == ("purchase", "MATERIAL_SHORTAGE")
    assert late.reason.text == f"MATERIAL_SHORTAGE:LEA-BLU waits for {placed['number']} due {due}"
    assert late.promised_date >= due + timedelta(days=1)
    (_, plan) = await factory.plans("SOFA-3S")
    assert (plan.material_status, plan.material_date.date()) == ("waiting", due + timedelta(days=1))

    lines = [{"line": 1, "quantity": "6", "lot": "LEA-1"}]
    await factory.post(f"/v1/purchase-orders/{placed['number']}/receipts", lines=lines)
    assert (await factory.get(f"/v1/plans/{plan.plan}"))["material_status"] == "ready"
    earlier = (await factory.promises(second))[-1]
    assert earlier.eta < late.eta
    # An earlier arrival does not take back the promised day.
    assert earlier.promised_date == late.promised_date


async def test_stock_is_promised_for_tomorrow(factory: Any) -> None:
    """What is on hand ships in a day, and is picked at once."""
    await factory.buy("RM")
    await factory.stock("RM", 5)
    order = await factory.place(("RM", 5))
    (promise,) = await factory.promises(order)
    assert (promise.basis, promise.reason.code) == ("stock", "STOCK")
    assert promise.promised_date == (now() + timedelta(days=1)).date()
    assert (await factory.progress(order)).state == "allocated"


@pytest.mark.parametrize(
    ("minutes_later", "reason", "told"),
    [
        (10, SCHEDULED, False),
        (90, SCHEDULED, True),
        (2, Reason(code="MACHINE_DOWN", text="CUT-1 down since 10:42", event_id=str(new_id())), True),
    ],
)
async def test_a_schedule_that_moves_is_told_when_it_matters(
    factory: Any, minutes_later: int, reason: Reason, told: bool
) -> None:
    """Minutes are not worth a notice, hours are; a machine that broke is, as soon as it moves anything."""
    await factory.buy("RM")
    await factory.make("PRT", {"RM": "2"})
    await factory.stock("RM", 100)
    order = await factory.place(("PRT", 10))
    (plan,) = await factory.plans("PRT")
    # Noon, so that some minutes do not change the day.
    end = now().replace(hour=12, minute=0) + timedelta(days=2)
    await factory.happened(factory.scheduled(plan, end, SCHEDULED))
    before = await factory.promises(order)
    assert before[-1].eta == end + timedelta(days=1)
    later = end + timedelta(minutes=minutes_later)
    (event_id,) = await factory.happened(factory.scheduled(plan, later, reason))
    after = await factory.promises(order)
    assert (len(after) > len(before)) is told
    if told:
        assert after[-1].eta == later + timedelta(days=1)
        assert after[-1].reason.code == reason.code
        assert after[-1].reason.event_id == (reason.event_id or str(event_id))


async def test_a_component_that_slips_moves_only_what_is_not_yet_scheduled(factory: Any) -> None:
    """The shop floor's end of the parent already counts its components; without one, the component's end counts."""
    await factory.buy("RM")
    await factory.make("SUB", {"RM": "1"})
    await factory.make("TOP", {"SUB": "1"})
    await factory.stock("RM", 100)
    order = await factory.place(("TOP", 10))
    (sub,), (top,) = await factory.plans("SUB"), await factory.plans("TOP")
    slipped = now() + timedelta(days=3)
    await factory.happened(factory.scheduled(sub, slipped, SCHEDULED))
    assert (await factory.promises(order))[-1].eta == slipped + timedelta(minutes=6, days=1)
    await factory.happened(factory.scheduled(top, slipped + timedelta(hours=5), SCHEDULED))
    assert (await factory.promises(order))[-1].eta == slipped + timedelta(hours=5, days=1)
    told = len(await factory.promises(order))
    await factory.happened(factory.scheduled(sub, slipped + timedelta(hours=2), SCHEDULED))
    assert len(await factory.promises(order)) == told


async def test_an_amendment_moves_only_the_promise_of_its_own_order(factory: Any) -> None:
    """What one customer gives back serves the next one earlier, whose day stays and whose reason is not theirs."""
    await factory.buy("RM", lead_time_days=9)
    await factory.stock("RM", 10)
    first = await factory.place(("RM", 10), days=20)
    second = await factory.place(("RM", 4), days=20)
    (waiting,) = await factory.promises(second)
    assert waiting.reason.code == "MATERIAL_SHORTAGE"
    await factory.amend(first, ("RM", 6))
    earlier = (await factory.promises(second))[-1]
    assert (earlier.reason.code, earlier.promised_date) == ("STOCK", waiting.promised_date)
    assert earlier.eta < waiting.eta


async def test_urgency_reaches_down_all_levels(factory: Any) -> None:
    """An order amended to a higher priority makes the plans of its components more urgent too."""
    await factory.buy("RM")
    await factory.make("SUB", {"RM": "1"})
    await factory.make("TOP", {"SUB": "1"})
    order = await factory.place(("TOP", 10), priority=10)
    order.priority, order.requested_date = 90, order.requested_date + timedelta(days=3)
    await factory.amend(order, ("TOP", 10))
    changed = await published(factory.database, PlanChanged)
    released = {plan.item: plan for plan in await published(factory.database, PlanReleased)}
    assert {(plan.item, plan.priority) for plan in changed} == {("TOP", 90), ("SUB", 90)}
    assert {plan.due - released[plan.item].due for plan in changed} == {timedelta(days=3)}

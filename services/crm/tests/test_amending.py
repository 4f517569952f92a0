"""Amending and cancelling orders."""

import asyncio
from datetime import date
from typing import Any

import pytest

from chassis.testing import published
from contracts.crm import OrderAmended, OrderCancelled


def at(version: int) -> dict[str, str]:
    """If-Match of a version."""
    return {"If-Match": f'"{version}"'}


async def test_an_amendment_is_the_next_version_and_carries_the_whole_order(crm: Any, days_ahead: Any) -> None:
    lines = [{"item": "PRT-1", "quantity": 10, "unit_price": 11}, {"item": "RM-1", "quantity": 5}]
    order = await crm.place(lines=lines)
    changes = {
        "requested_date": days_ahead(9),
        "customer_reference": "new",
        "lines": [
            {"line": 1, "item": "PRT-1", "quantity": 12},
            {"line": 3, "item": "SOFA-3S", "quantity": 1, "options": {"color": "blue"}},
        ],
    }
    answer = await crm.client.patch(f"/v1/orders/{order['number']}", json=changes, headers=at(1))
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    amended = answer.json()
    assert [(line["line"], line["quantity"], line["unit_price"]) for line in amended["lines"]] == [
        (1, "12", "11.00"),
        (3, "1", "899.00"),
    ]
    assert (amended["version"], amended["total"], amended["priority"]) == (2, "1031.00", 30)
    assert await crm.get(order["id"]) == amended
    (event,) = await published(crm.database, OrderAmended)
    assert event.aggregate_version == 2
    assert event.requested_date == date.fromisoformat(days_ahead(9))
    assert event.changed == ["customer_reference", "requested_date", "lines/1", "lines/2", "lines/3"]
    assert [line.line for line in event.lines] == [1, 3]


async def test_a_line_keeps_its_price_and_options_unless_given(crm: Any) -> None:
    order = await crm.place(lines=[{"item": "SOFA-3S", "quantity": 1, "unit_price": 800, "options": {"color": "blue"}}])
    path = f"/v1/orders/{order['id']}"
    kept = (await crm.client.patch(path, json={"lines": [{"item": "SOFA-3S", "quantity": 2}]}, headers=at(1))).json()
    assert (kept["lines"][0]["unit_price"], kept["lines"][0]["options"]) == ("800.00", {"color": "blue"})
    given = {"item": "SOFA-3S", "quantity": 2, "unit_price": 700, "options": {}}
    changed = (await crm.client.patch(path, json={"lines": [given]}, headers=at(2))).json()
    assert (changed["lines"][0]["unit_price"], changed["lines"][0]["options"]) == ("700.00", {})


async def test_a_line_number_belongs_to_one_item_for_ever(crm: Any) -> None:
    order = await crm.place(lines=[{"item": "PRT-1", "quantity": 1}, {"item": "RM-1", "quantity": 1}])
    path = f"/v1/orders/{order['id']}"
    withdrawn = await crm.client.patch(path, json={"lines": [{"item": "PRT-1", "quantity": 1}]}, headers=at(1))
    assert withdrawn.status_code == 200
    before = await crm.contents()
    for lines, index in (
        ([{"line": 1, "item": "SOFA-3S", "quantity": 1}], 0),
        ([{"line": 1, "item": "PRT-1", "quantity": 1}, {"line": 2, "item": "SOFA-3S", "quantity": 1}], 1),
    ):
        refused = await crm.client.patch(path, json={"lines": lines}, headers=at(2))
        assert refused.status_code == 422
        assert [(e["field"], e["rule"]) for e in refused.json()["errors"]] == [
            (f"/lines/{index}/item", "line_item_fixed")
        ]
    assert await crm.contents() == before
    back = [{"line": 1, "item": "PRT-1", "quantity": 1}, {"line": 2, "item": "RM-1", "quantity": 3}]
    restored = (await crm.client.patch(path, json={"lines": back}, headers=at(2))).json()
    assert [(line["line"], line["quantity"]) for line in restored["lines"]] == [(1, "1"), (2, "3")]


async def test_an_amendment_without_a_difference_is_none(crm: Any) -> None:
    order = await crm.place()
    before = await crm.contents()
    for body in ({}, {"priority": 30}, {"lines": [{"item": "PRT-1", "quantity": "10.0"}]}):
        same = await crm.client.patch(f"/v1/orders/{order['id']}", json=body, headers=at(1))
        assert (same.status_code, same.json()) == (200, order)
    assert await crm.contents() == before


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({"lines": []}, "/lines", "too_short"),
        ({"lines": None}, "/lines", "list_type"),
        ({"lines": [{"item": "NO-SUCH", "quantity": 1}]}, "/lines/0/item", "unknown_item"),
        ({"lines": [{"line": 4, "item": "PRT-1", "quantity": 0}]}, "/lines/0/quantity", "greater_than"),
        ({"requested_date": "2020-01-01"}, "/requested_date", "not_in_past"),
        ({"requested_date": None}, "/requested_date", "date_format"),
        ({"priority": None}, "/priority", "int_type"),
        ({"customer": "C-78"}, "/customer", "extra_forbidden"),
        ({"currency": "USD"}, "/currency", "extra_forbidden"),
    ],
)
async def test_a_bad_amendment_is_refused(crm: Any, body: dict[str, Any], field: str, rule: str) -> None:
    order = await crm.place()
    before = await crm.contents()
    answer = await crm.client.patch(f"/v1/orders/{order['id']}", json=body, headers=at(1))
    assert answer.status_code == 422
    assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == [(field, rule)]
    assert await crm.contents() == before


async def test_an_amendment_needs_the_version_it_was_made_on(crm: Any) -> None:
    order = await crm.place()
    path = f"/v1/orders/{order['id']}"
    before = await crm.contents()
    missing = await crm.client.patch(path, json={"priority": 1})
    assert (missing.status_code, missing.json()["code"]) == (428, "if_match_missing")
    stale = await crm.client.patch(path, json={"priority": 1}, headers=at(2))
    assert (stale.status_code, stale.json()["code"]) == (412, "version_differs")
    assert await crm.contents() == before
    assert (await crm.client.patch(path, json={"priority": 1}, headers={"If-Match": 'W/"1"'})).status_code == 200


async def test_of_two_amendments_at_once_one_wins(crm: Any) -> None:
    order = await crm.place()
    path = f"/v1/orders/{order['id']}"
    answers = await asyncio.gather(
        *(crm.client.patch(path, json={"priority": priority}, headers=at(1)) for priority in (1, 2, 3))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
    assert [e.aggregate_version for e in await published(crm.database, OrderAmended)] == [2]


async def test_cancelling_withdraws_the_order_and_tells_the_customer(crm: Any) -> None:
    order = await crm.place()
    path = f"/v1/orders/{order['number']}"
    answer = await crm.client.post(f"{path}/cancel", json={"reason": "changed our mind"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (answer.json()["state"], answer.json()["version"]) == ("cancelled", 2)
    (event,) = await published(crm.database, OrderCancelled)
    assert (str(event.order_id), event.aggregate_version, event.reason) == (order["id"], 2, "changed our mind")
    notes = (await crm.client.get(f"{path}/notifications")).json()["items"]
    assert [note["milestone"] for note in notes] == ["confirmed", "cancelled"]
    assert "changed our mind" in notes[1]["text"]
    before = await crm.contents()
    again = await crm.client.post(f"{path}/cancel", json={"reason": "again"})
    late = await crm.client.patch(path, json={"priority": 1}, headers=at(2))
    assert {(a.status_code, a.json()["code"]) for a in (again, late)} == {(409, "wrong_state")}
    assert await crm.contents() == before


async def test_cancelling_honors_a_given_version_and_needs_a_reason(crm: Any) -> None:
    order = await crm.place()
    path = f"/v1/orders/{order['id']}/cancel"
    before = await crm.contents()
    assert (await crm.client.post(path, json={"reason": "x"}, headers=at(5))).status_code == 412
    for body in ({}, {"reason": " "}, {"reason": "x" * 501}):
        assert (await crm.client.post(path, json=body)).status_code == 422
    assert await crm.contents() == before
    assert (await crm.client.post(path, json={"reason": "x"}, headers=at(1))).status_code == 200


async def test_a_repeated_cancellation_with_its_key_is_answered_again(crm: Any) -> None:
    order = await crm.place()
    path = f"/v1/orders/{order['id']}/cancel"
    key = {"Idempotency-Key": "cancel-1"}
    first = await crm.client.post(path, json={"reason": "x"}, headers=key)
    again = await crm.client.post(path, json={"reason": "x"}, headers=key)
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert len(await published(crm.database, OrderCancelled)) == 1

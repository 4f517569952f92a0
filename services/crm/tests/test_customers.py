"""Customers over HTTP."""

from typing import Any

import pytest

from chassis.testing import published
from contracts.crm import CustomerChanged, CustomerRegistered


async def test_a_customer_gets_the_next_number_and_is_announced(empty: Any) -> None:
    answer = await empty.client.post("/v1/customers", json={"name": "  Acme  ", "email": "buy@acme.example"})
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    body = answer.json()
    assert (body["number"], body["name"], body["email"], body["priority"]) == (
        "C-000001",
        "Acme",
        "buy@acme.example",
        0,
    )
    (event,) = await published(empty.database, CustomerRegistered)
    assert (str(event.customer_id), event.number, event.aggregate_version) == (body["id"], "C-000001", 1)
    for reference in (body["id"], body["number"]):
        assert (await empty.client.get(f"/v1/customers/{reference}")).json() == body


async def test_a_given_number_is_taken_once_and_skipped_by_generated_ones(empty: Any) -> None:
    first = await empty.client.post("/v1/customers", json={"number": "C-000001", "name": "First"})
    assert first.status_code == 201
    before = await empty.contents()
    again = await empty.client.post("/v1/customers", json={"number": "C-000001", "name": "Second"})
    assert (again.status_code, again.json()["code"]) == (409, "customer_exists")
    assert await empty.contents() == before
    generated = await empty.client.post("/v1/customers", json={"name": "Third"})
    assert generated.json()["number"] == "C-000002"


async def test_in_a_batch_each_customer_succeeds_or_fails_by_itself(empty: Any) -> None:
    await empty.client.post("/v1/customers", json={"number": "OLD", "name": "There already"})
    body = {"customers": [{"number": "NEW", "name": "New"}, {"number": "OLD", "name": "Again"}, {"name": ""}]}
    answer = await empty.client.post("/v1/customers:batch", json=body)
    assert answer.status_code == 200
    results = answer.json()["items"]
    assert [result["status"] for result in results] == [201, 409, 422]
    assert results[0]["customer"]["number"] == "NEW"
    assert results[1]["problem"]["code"] == "customer_exists"
    assert results[2]["problem"]["errors"][0]["field"] == "/name"
    assert [event.number for event in await published(empty.database, CustomerRegistered)] == ["OLD", "NEW"]


async def test_a_change_needs_the_version_it_was_made_on(crm: Any) -> None:
    path = "/v1/customers/C-77"
    assert (await crm.client.patch(path, json={"priority": 50})).status_code == 428
    stale = await crm.client.patch(path, json={"priority": 50}, headers={"If-Match": '"7"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_differs")
    changed = await crm.client.patch(path, json={"priority": 50, "email": "a@b.example"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (changed.json()["priority"], changed.json()["email"]) == (50, "a@b.example")
    cleared = await crm.client.patch(path, json={"email": None}, headers={"If-Match": '"2"'})
    assert cleared.json()["email"] is None
    events = await published(crm.database, CustomerChanged)
    assert [(e.aggregate_version, e.priority, e.email) for e in events] == [(2, 50, "a@b.example"), (3, 50, None)]


async def test_a_change_without_a_difference_is_none(crm: Any) -> None:
    before = await crm.contents()
    same = await crm.client.patch("/v1/customers/C-77", json={"priority": 30}, headers={"If-Match": '"1"'})
    assert (same.status_code, same.headers["etag"]) == (200, '"1"')
    assert await crm.contents() == before


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ({}, "/name", "missing"),
        ({"name": ""}, "/name", "string_too_short"),
        ({"name": "   "}, "/name", "string_too_short"),
        ({"name": "x" * 201}, "/name", "string_too_long"),
        ({"name": "nul\u0000"}, "/name", "string_pattern_mismatch"),
        ({"name": 5}, "/name", "string_type"),
        ({"name": "A", "email": "nobody"}, "/email", "string_pattern_mismatch"),
        ({"name": "A", "email": "a b@c.example"}, "/email", "string_pattern_mismatch"),
        ({"name": "A", "priority": 100}, "/priority", "less_than_equal"),
        ({"name": "A", "priority": -1}, "/priority", "greater_than_equal"),
        ({"name": "A", "priority": True}, "/priority", "int_type"),
        ({"name": "A", "number": ""}, "/number", "string_too_short"),
        ({"name": "A", "number": "C 1\n"}, "/number", "string_pattern_mismatch"),
        ({"name": "A", "nickname": "B"}, "/nickname", "extra_forbidden"),
    ],
)
async def test_bad_master_data_is_refused(empty: Any, body: dict[str, Any], field: str, rule: str) -> None:
    before = await empty.contents()
    answer = await empty.client.post("/v1/customers", json=body)
    assert answer.status_code == 422
    assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == [(field, rule)]
    assert await empty.contents() == before


async def test_required_master_data_cannot_be_nulled(crm: Any) -> None:
    answer = await crm.client.patch("/v1/customers/C-77", json={"name": None}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/name")


async def test_the_list_is_filtered_and_paged(empty: Any) -> None:
    for name in ("Ada 100%", "Bob", "adam"):
        await empty.client.post("/v1/customers", json={"name": name})

    async def names(**query: Any) -> list[str]:
        answer = await empty.client.get("/v1/customers", params=query)
        return [customer["name"] for customer in answer.json()["items"]]

    assert await names(name="ada") == ["Ada 100%", "adam"]
    assert await names(name="%") == ["Ada 100%"]
    assert await names(number="C-000002") == ["Bob"]
    first = (await empty.client.get("/v1/customers", params={"limit": 2})).json()
    assert await names(limit=2, cursor=first["next_cursor"]) == ["adam"]
    unknown = await empty.client.get("/v1/customers", params={"color": "red"})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "color")


async def test_a_customer_sees_itself_only_and_needs_the_scope(crm: Any) -> None:
    own = crm.headers("customers:read", customer="C-77")
    assert (await crm.client.get("/v1/customers/C-77", headers=own)).status_code == 200
    assert (await crm.client.get("/v1/customers/C-78", headers=own)).status_code == 404
    listed = (await crm.client.get("/v1/customers", headers=own)).json()["items"]
    assert [customer["number"] for customer in listed] == ["C-77"]
    refused = await crm.client.get("/v1/customers/C-77", headers=crm.as_customer("C-77"))
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")

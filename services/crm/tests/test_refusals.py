"""Every bad order is refused with the field and the rule, and changes nothing."""

import json
from typing import Any

import pytest

from chassis.testing import TestIssuer

PART = {"item": "PRT-1", "quantity": "1"}


def line(**fields: Any) -> dict[str, Any]:
    """An order whose only line has these fields."""
    return {"lines": [{**PART, **fields}]}


BAD_BODIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown item": (line(item="NO-SUCH"), "/lines/0/item", "unknown_item"),
    "unknown item on a later line": ({"lines": [PART, {**PART, "item": "X"}]}, "/lines/1/item", "unknown_item"),
    "item of another type": (line(item=5), "/lines/0/item", "string_type"),
    "item with a control character": (line(item="A\u0000"), "/lines/0/item", "string_pattern_mismatch"),
    "zero quantity": (line(quantity=0), "/lines/0/quantity", "greater_than"),
    "negative quantity": (line(quantity="-1"), "/lines/0/quantity", "greater_than"),
    "absurd quantity": (line(quantity=1_000_001), "/lines/0/quantity", "less_than_equal"),
    "quantity beyond any number": (line(quantity="1e999999999"), "/lines/0/quantity", "decimal_max_digits"),
    "quantity finer than a millionth": (line(quantity="0.0000001"), "/lines/0/quantity", "decimal_max_places"),
    "quantity NaN as text": (line(quantity="NaN"), "/lines/0/quantity", "finite_number"),
    "quantity infinite as text": (line(quantity="Infinity"), "/lines/0/quantity", "finite_number"),
    "quantity no number": (line(quantity="many"), "/lines/0/quantity", "decimal_parsing"),
    "quantity a truth value": (line(quantity=True), "/lines/0/quantity", "decimal_type"),
    "quantity missing": ({"lines": [{"item": "PRT-1"}]}, "/lines/0/quantity", "missing"),
    "negative price": (line(unit_price=-1), "/lines/0/unit_price", "greater_than_equal"),
    "price too fine": (line(unit_price="0.00001"), "/lines/0/unit_price", "decimal_max_places"),
    "past day": ({"requested_date": "2020-02-29"}, "/requested_date", "not_in_past"),
    "day in another age": ({"requested_date": "2999-01-01"}, "/requested_date", "too_far"),
    "no such day": ({"requested_date": "2030-02-30"}, "/requested_date", "date_format"),
    "day as a timestamp": ({"requested_date": 1_900_000_000}, "/requested_date", "date_format"),
    "day with a time": ({"requested_date": "2030-01-01T00:00:00Z"}, "/requested_date", "date_format"),
    "unknown customer": ({"customer": "C-99"}, "/customer", "unknown_customer"),
    "unknown customer by id": ({"customer": "018f0000-0000-7000-8000-000000000000"}, "/customer", "unknown_customer"),
    "customer of another type": ({"customer": ["C-77"]}, "/customer", "string_type"),
    "duplicate line": ({"lines": [{**PART, "line": 1}, {**PART, "line": 1}]}, "/lines/1/line", "duplicate_line"),
    "line given where another stands": ({"lines": [{**PART, "line": 2}, PART]}, "/lines/1/line", "duplicate_line"),
    "line zero": (line(line=0), "/lines/0/line", "greater_than_equal"),
    "line as text": (line(line="1"), "/lines/0/line", "int_type"),
    "no lines": ({"lines": []}, "/lines", "too_short"),
    "too many lines": ({"lines": [PART] * 201}, "/lines", "too_long"),
    "lines of another type": ({"lines": {"0": PART}}, "/lines", "list_type"),
    "line of another type": ({"lines": ["PRT-1"]}, "/lines/0", "model_attributes_type"),
    "unknown field": ({"discount": 5}, "/discount", "extra_forbidden"),
    "unknown field of a line": (line(color="red"), "/lines/0/color", "extra_forbidden"),
    "options of another type": (line(options={"color": 5}), "/lines/0/options/color", "string_type"),
    "option too long": (line(options={"color": "x" * 101}), "/lines/0/options/color", "string_too_long"),
    "reference too long": ({"customer_reference": "x" * 101}, "/customer_reference", "string_too_long"),
    "reference with a control character": (
        {"customer_reference": "a\u0000b"},
        "/customer_reference",
        "string_pattern_mismatch",
    ),
    "priority too high": ({"priority": 100}, "/priority", "less_than_equal"),
    "priority as text": ({"priority": "high"}, "/priority", "int_type"),
    "currency in small letters": ({"currency": "eur"}, "/currency", "string_pattern_mismatch"),
}


@pytest.mark.parametrize(("fields", "field", "rule"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_bad_order_is_refused(
    shared_crm: Any, new_order: Any, fields: dict[str, Any], field: str, rule: str
) -> None:
    before = await shared_crm.contents()
    answer = await shared_crm.client.post("/v1/orders", json=new_order(**fields), headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["status"]) == ("invalid_input", 422)
    assert problem["correlation_id"] == answer.headers["x-correlation-id"]
    assert [(e["field"], e["rule"]) for e in problem["errors"]] == [(field, rule)]
    assert problem["errors"][0]["message"]
    assert await shared_crm.contents() == before


async def test_all_broken_rules_are_told_at_once(shared_crm: Any, new_order: Any, days_ahead: Any) -> None:
    body = new_order(customer="C-99", requested_date=days_ahead(-1), lines=[{"item": "X", "quantity": 1}])
    errors = (await shared_crm.client.post("/v1/orders", json=body)).json()["errors"]
    assert [e["rule"] for e in errors] == ["unknown_customer", "not_in_past", "unknown_item"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"customer": ', 400, "malformed_json"),
        (b"", 422, "invalid_input"),
        (b"[]", 422, "invalid_input"),
        (b"null", 422, "invalid_input"),
        (b"\xff\xfe{", 400, None),
        (b'{"customer": "' + b"x" * 1_100_000 + b'"}', 413, "body_too_large"),
    ],
    ids=["cut off", "empty", "a list", "null", "not UTF-8", "too large"],
)
async def test_a_bad_body_is_refused(shared_crm: Any, content: bytes, status: int, code: str | None) -> None:
    before = await shared_crm.contents()
    answer = await shared_crm.client.post("/v1/orders", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert code in (None, answer.json()["code"])
    assert await shared_crm.contents() == before


async def test_a_bare_nan_is_refused(shared_crm: Any, new_order: Any) -> None:
    before = await shared_crm.contents()
    body = json.dumps(new_order(lines=[{"item": "PRT-1", "quantity": float("nan")}]))
    assert "NaN" in body
    answer = await shared_crm.client.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
    assert await shared_crm.contents() == before


async def test_another_media_type_is_refused(shared_crm: Any) -> None:
    answer = await shared_crm.client.post("/v1/orders", content=b"a=b", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "not_json")


@pytest.mark.parametrize("kind", ["missing", "no bearer", "garbage", "expired", "foreign"])
async def test_a_bad_token_is_refused(
    shared_crm: Any, new_order: Any, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = TestIssuer.create(tmp_path_factory.mktemp("stranger"))
    value = {
        "missing": "",
        "no bearer": "Basic dGVzdDp0ZXN0",
        "garbage": "Bearer garbage",
        "expired": f"Bearer {shared_crm.issuer.token('orders:write', seconds=-10)}",
        "foreign": f"Bearer {stranger.token('orders:write')}",
    }[kind]
    before = await shared_crm.contents()
    answer = await shared_crm.client.post("/v1/orders", json=new_order(), headers={"Authorization": value})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert await shared_crm.contents() == before


async def test_a_token_without_the_scope_is_refused(crm: Any, new_order: Any) -> None:
    reader = crm.headers("orders:read")
    order = await crm.place()
    before = await crm.contents()
    path = f"/v1/orders/{order['number']}"
    answers = [
        await crm.client.post("/v1/orders", json=new_order(), headers=reader),
        await crm.client.post("/v1/orders:batch", json={"orders": [new_order()]}, headers=reader),
        await crm.client.patch(path, json={"priority": 1}, headers={**reader, "If-Match": '"1"'}),
        await crm.client.post(f"{path}/cancel", json={"reason": "x"}, headers=reader),
        await crm.client.get(path, headers=crm.headers("orders:write")),
        await crm.client.get(f"{path}/notifications", headers=crm.headers("orders:write")),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "scope_missing")}
    assert await crm.contents() == before


async def test_another_customers_order_does_not_exist(crm: Any) -> None:
    order = await crm.place(customer="C-77")
    stranger = crm.as_customer("C-78")
    before = await crm.contents()
    for reference in (order["id"], order["number"]):
        path = f"/v1/orders/{reference}"
        answers = [
            await crm.client.get(path, headers=stranger),
            await crm.client.get(f"{path}/notifications", headers=stranger),
            await crm.client.patch(path, json={"priority": 1}, headers={**stranger, "If-Match": '"1"'}),
            await crm.client.post(f"{path}/cancel", json={"reason": "x"}, headers=stranger),
        ]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}
    assert await crm.contents() == before
    assert (await crm.client.get(f"/v1/orders/{order['id']}", headers=crm.as_customer("C-77"))).status_code == 200


async def test_an_unknown_order_is_not_found(shared_crm: Any) -> None:
    for path in ("/v1/orders/SO-999999", "/v1/orders/SO-999999/notifications"):
        assert (await shared_crm.client.get(path)).status_code == 404

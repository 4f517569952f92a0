"""Every bad input is a 4xx problem that names the field and the rule, and changes nothing."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from devkit.client import ApiProblem
from devkit.testing import wait_until
from e2e.plant import Plant, in_days


@dataclass(frozen=True)
class Shop:
    """One customer, one item in stock."""

    customer: str
    item: str


@pytest.fixture
async def shop(plant: Plant) -> Shop:
    """A fresh shop."""
    item = await plant.buy_item("THING", price="3.00")
    await plant.stock_up(item, "100")
    return Shop(await plant.customer_number(), item)


def _order(shop: Shop, **change: Any) -> dict[str, Any]:
    line = {"line": 1, "item": shop.item, "quantity": "1", **change.pop("line", {})}
    return {"customer": shop.customer, "requested_date": str(in_days(5)), "lines": [line], **change}


async def _counts(plant: Plant, shop: Shop) -> tuple[int, Any]:
    orders = [o async for o in plant.sales.items("/v1/orders", customer=shop.customer)]
    return len(orders), await plant.stock(shop.item)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"line": {"item": "NO-SUCH-ITEM"}}, "/lines/0/item"),
        ({"line": {"quantity": 0}}, "/lines/0/quantity"),
        ({"line": {"quantity": "-3"}}, "/lines/0/quantity"),
        ({"line": {"quantity": "1e30"}}, "/lines/0/quantity"),
        ({"line": {"quantity": "NaN"}}, "/lines/0/quantity"),
        ({"line": {"quantity": "many"}}, "/lines/0/quantity"),
        ({"line": {"quantity": None}}, "/lines/0/quantity"),
        ({"line": {"unit_price": -1}}, "/lines/0/unit_price"),
        ({"line": {"colour": "blue"}}, "/lines/0/colour"),
        ({"requested_date": "2020-01-01"}, "/requested_date"),
        ({"requested_date": "soon"}, "/requested_date"),
        ({"customer": "NOBODY"}, "/customer"),
        ({"priority": 100}, "/priority"),
        ({"priority": "high"}, "/priority"),
        ({"currency": "gold"}, "/currency"),
        ({"lines": []}, "/lines"),
        ({"lines": "all of them"}, "/lines"),
        ({"surprise": True}, "/surprise"),
    ],
)
async def test_a_bad_order_names_the_field(plant: Plant, shop: Shop, change: dict[str, Any], field: str) -> None:
    before = await _counts(plant, shop)
    with pytest.raises(ApiProblem) as refused:
        await plant.sales.post("/v1/orders", _order(shop, **change))
    problem = refused.value.body
    assert problem["status"] == refused.value.status == 422
    assert field in [error["field"] for error in problem["errors"]], problem
    assert all(error["rule"] and error["message"] for error in problem["errors"])
    assert problem["correlation_id"]
    assert await _counts(plant, shop) == before


async def test_line_numbers_are_unique(plant: Plant, shop: Shop) -> None:
    line = {"line": 1, "item": shop.item, "quantity": "1"}
    with pytest.raises(ApiProblem) as refused:
        await plant.sales.post("/v1/orders", _order(shop, lines=[line, line]))
    assert refused.value.body["errors"][0]["field"] == "/lines/1/line"


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"customer": ', {}, 400),
        (b'{"customer": NaN, "lines": []}', {}, 400),
        (b"customer=C-1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"pad": "' + b"x" * 1_100_000 + b'"}', {}, 413),
        (b"[]", {}, 422),
    ],
    ids=["malformed", "nan", "form", "too large", "not an object"],
)
async def test_a_body_that_is_no_order(plant: Plant, content: bytes, headers: dict[str, str], status: int) -> None:
    sent = {
        "Authorization": f"Bearer {await plant.sales.token()}",
        "Content-Type": "application/json",
        **headers,
    }
    answer = await plant.sales.http.post("/v1/orders", content=content, headers=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"]


async def test_who_may_not(plant: Plant, shop: Shop) -> None:
    """No token, a token of nobody, a token signed by someone else, a missing scope, another customer's order."""
    order = (await plant.sales.post("/v1/orders", _order(shop)))["number"]
    http = plant.sales.http
    good = await plant.sales.token()
    head, payload, _ = good.split(".")
    for authorization in (None, "Bearer rubbish", f"Bearer {head}.{payload}.{'A' * 86}", f"Basic {good}"):
        headers = {"Authorization": authorization} if authorization else {}
        answer = await http.get(f"/v1/orders/{order}", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
    with pytest.raises(ApiProblem) as scope:
        await plant.operator.post("/v1/orders", _order(shop))
    assert scope.value.status == 403
    for path in (f"/v1/orders/{order}", f"/v1/orders/{order}/status", f"/v1/orders/{order}/invoices"):
        with pytest.raises(ApiProblem) as hidden:
            await plant.customer.get(path)
        assert hidden.value.status == 404
    with pytest.raises(ApiProblem) as cancel:
        await plant.customer.post(f"/v1/orders/{order}/cancel", {"reason": "not mine"})
    assert cancel.value.status == 404


async def test_a_wrong_secret_gets_no_token(plant: Plant) -> None:
    async with httpx.AsyncClient(base_url=plant.sales.gateway) as http:
        form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "wrong"}
        answer = await http.post("/oauth/token", data=form)
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"


async def test_more_than_was_started_or_bought_is_refused(plant: Plant) -> None:
    center, _ = await plant.work_center("WC")
    bolt = await plant.buy_item("BOLT")
    part = await plant.make_item("PART", {bolt: "1"}, [(center, "0", "1")])
    await plant.order(await plant.customer_number(), {part: "10"})
    await plant.work_orders(part)
    bought = await wait_until(
        lambda: _first(plant, f"/v1/purchase-orders?item={bolt}"), 10, "a purchase order for the bolts"
    )
    over = {"lines": [{"line": 1, "quantity": "11"}]}
    with pytest.raises(ApiProblem) as receipt:
        await plant.warehouse.post(f"/v1/purchase-orders/{bought['number']}/receipts", over)
    assert (receipt.value.status, receipt.value.body["errors"][0]["field"]) == (422, "/lines/0/quantity")
    await plant.stock_is(bolt, on_hand=0)
    await plant.warehouse.post(
        f"/v1/purchase-orders/{bought['number']}/receipts", {"lines": [{"line": 1, "quantity": "10"}]}
    )
    operation = await plant.operation(center)
    with pytest.raises(ApiProblem) as early:
        await plant.report(operation["id"], "1")
    assert early.value.status == 409
    await plant.start(operation["id"])
    with pytest.raises(ApiProblem) as report:
        await plant.report(operation["id"], "9", scrap="2")
    assert (report.value.status, report.value.body["errors"][0]["rule"]) == (422, "exceeds_started")
    seen = await plant.operator.get(f"/v1/operations/{operation['id']}")
    assert (seen["good"], seen["scrap"]) == ("0", "0")


async def _first(plant: Plant, path: str) -> dict[str, Any] | None:
    answer = (await plant.admin.request("GET", path)).json()
    return answer["items"][0] if answer["items"] else None


async def test_a_held_lot_does_not_ship(plant: Plant, shop: Shop) -> None:
    order = (await plant.sales.post("/v1/orders", _order(shop, line={"quantity": "100"})))["number"]
    await plant.stage(order, "completed")
    shipment = await wait_until(lambda: _first(plant, f"/v1/shipments?order={order}"), 10, "a planned shipment")
    lot = shipment["lines"][0]["lots"][0]["lot"]
    await plant.quality.post(f"/v1/lots/{lot}/hold", {"reason": "doubtful"})
    with pytest.raises(ApiProblem) as held:
        await plant.warehouse.post(f"/v1/shipments/{shipment['id']}/ship")
    assert held.value.status == 409
    await plant.stock_is(shop.item, on_hand=100, held=100)
    await plant.quality.post(f"/v1/lots/{lot}/release", {"reason": "checked, good"})
    await plant.ship_and_deliver(order)
    await plant.stage(order, "delivered")


async def test_a_bill_of_materials_never_contains_itself(plant: Plant) -> None:
    center, _ = await plant.work_center("WC")
    own = plant.code("SELF")
    routing = [{"operation": 10, "work_center": center, "setup_minutes": 0, "minutes_per_unit": 1}]
    item = {"item": own, "name": "self", "unit": "EA", "source": "make", "routing": routing}
    with pytest.raises(ApiProblem) as itself:
        await plant.planner.post("/v1/items", {**item, "components": [{"item": own, "quantity": 1}]})
    assert itself.value.status == 422
    assert itself.value.body["errors"][0]["field"] == "/components/0/item"
    inner = await plant.make_item("INNER", {}, [(center, "0", "1")])
    outer = await plant.make_item("OUTER", {inner: "1"}, [(center, "0", "1")])
    current = await plant.planner.get(f"/v1/items/{inner}")
    again = {name: current[name] for name in ("name", "unit", "source", "routing")}
    with pytest.raises(ApiProblem) as circle:
        await plant.planner.post(f"/v1/items/{inner}", {**again, "components": [{"item": outer, "quantity": 1}]})
    assert circle.value.body["errors"][0]["rule"] == "bom_cycle"
    assert (await plant.planner.get(f"/v1/items/{inner}"))["version"] == current["version"]


async def test_an_idempotency_key_answers_once(plant: Plant, shop: Shop) -> None:
    key = secrets.token_hex(8)
    body = _order(shop)
    first = await plant.sales.request("POST", "/v1/orders", body=body, key=key)
    again = await plant.sales.request("POST", "/v1/orders", body=body, key=key)
    assert again.headers["Idempotent-Replay"] == "true"
    assert json.loads(again.content) == json.loads(first.content)
    with pytest.raises(ApiProblem) as reused:
        await plant.sales.request("POST", "/v1/orders", body=_order(shop, priority=7), key=key)
    assert reused.value.status == 422
    assert (await _counts(plant, shop))[0] == 1


@pytest.mark.parametrize("path", ["/v1/orders?colour=blue", "/v1/items?limit=0", "/v1/stock?cursor=%21%21"])
async def test_a_list_refuses_what_it_does_not_know(plant: Plant, path: str) -> None:
    with pytest.raises(ApiProblem) as refused:
        await plant.admin.request("GET", path)
    assert refused.value.status == 422


async def test_what_does_not_exist_is_404(plant: Plant) -> None:
    for path in ("/v1/orders/SO-999999", "/v1/items/NOPE", "/v1/lots/NOPE", "/v1/nowhere", "/v1/work-orders/WO-999999"):
        with pytest.raises(ApiProblem) as missing:
            await plant.admin.get(path)
        assert missing.value.status == 404
        assert missing.value.body["code"] == "not_found"

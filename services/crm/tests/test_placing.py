"""Placing orders over HTTP: one, many at once, repeated, listed."""

from datetime import date
from decimal import Decimal
from typing import Any

from chassis.testing import published
from contracts.crm import CustomerNotified, OrderPlaced


async def test_an_order_is_recorded_announced_and_confirmed(crm: Any, new_order: Any, days_ahead: Any) -> None:
    body = new_order(
        customer_reference="PO 4711",
        lines=[
            {"item": "PRT-1", "quantity": 4},
            {"line": 7, "item": "RM-1", "quantity": "2.5", "unit_price": 0.1, "options": {"color": "blue"}},
        ],
    )
    answer = await crm.client.post("/v1/orders", json=body)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    order = answer.json()
    assert order == {
        "id": order["id"], "number": "SO-000001", "version": 1, "customer": "C-77", "customer_reference": "PO 4711",
        "requested_date": days_ahead(5), "promised_date": None, "priority": 30, "currency": "EUR",
        "lines": [
            {"line": 1, "item": "PRT-1", "quantity": "4", "unit_price": "12.50", "options": {}},
            {"line": 7, "item": "RM-1", "quantity": "2.5", "unit_price": "0.10", "options": {"color": "blue"}},
        ],
        "total": "50.25", "state": "placed", "created_at": order["created_at"], "updated_at": order["created_at"],
    }  # fmt: skip
    for reference in (order["id"], "SO-000001"):
        assert await crm.get(reference) == order
    (placed,) = await published(crm.database, OrderPlaced)
    assert (str(placed.order_id), placed.customer, placed.priority) == (order["id"], "C-77", 30)
    assert [(line.line, line.item, line.quantity, line.unit_price) for line in placed.lines] == [
        (1, "PRT-1", Decimal(4), Decimal("12.5")),
        (7, "RM-1", Decimal("2.5"), Decimal("0.1")),
    ]
    (notified,) = await published(crm.database, CustomerNotified)
    assert (notified.order, notified.milestone) == ("SO-000001", "confirmed")
    event_ids = [entry.split(";")[0] for entry in answer.headers["x-event-ids"].split(",")]
    assert len(event_ids) == 2
    assert notified.cause_event_id == event_ids[0]


async def test_placing_takes_eight_statements_however_many_lines(crm: Any, new_order: Any) -> None:
    seen = crm.statements()
    await crm.place()
    assert len(seen) == 8
    seen.clear()
    await crm.place(lines=[{"item": "PRT-1", "quantity": 1} for _ in range(50)])
    assert len(seen) == 8
    seen.clear()
    answer = await crm.client.post("/v1/orders:batch", json={"orders": [new_order() for _ in range(100)]})
    assert {result["status"] for result in answer.json()["items"]} == {201}
    assert len(seen) == 8


async def test_a_batch_takes_the_good_and_refuses_the_bad_one_by_one(crm: Any, new_order: Any, days_ahead: Any) -> None:
    orders = [
        new_order(),
        new_order(lines=[{"item": "PRT-1", "quantity": 0}]),
        new_order(customer="C-99"),
        "no order",
        new_order(requested_date=days_ahead(-1), lines=[{"item": "NO-SUCH", "quantity": 1}]),
        new_order(customer="C-78"),
    ]
    answer = await crm.client.post("/v1/orders:batch", json={"orders": orders})
    assert answer.status_code == 200
    results = answer.json()["items"]
    assert [(r["index"], r["status"]) for r in results] == [(0, 201), (1, 422), (2, 422), (3, 422), (4, 422), (5, 201)]
    broken = [{(e["field"], e["rule"]) for e in r["problem"]["errors"]} for r in results if r["problem"]]
    assert broken == [
        {("/lines/0/quantity", "greater_than")},
        {("/customer", "unknown_customer")},
        {("", "model_type")},
        {("/requested_date", "not_in_past"), ("/lines/0/item", "unknown_item")},
    ]
    assert [r["order"]["number"] for r in results if r["order"]] == ["SO-000001", "SO-000002"]
    assert [e.customer for e in await published(crm.database, OrderPlaced)] == ["C-77", "C-78"]
    assert len((await crm.client.get("/v1/orders")).json()["items"]) == 2


async def test_a_batch_has_one_to_five_hundred_orders(crm: Any, new_order: Any) -> None:
    for count, status in ((0, 422), (500, 200), (501, 422)):
        before = await crm.contents()
        answer = await crm.client.post("/v1/orders:batch", json={"orders": [new_order()] * count})
        assert answer.status_code == status
        assert (await crm.contents() == before) == (status == 422)
    assert len(await published(crm.database, OrderPlaced)) == 500


async def test_a_repeated_request_places_once(crm: Any, new_order: Any) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = await crm.client.post("/v1/orders", json=new_order(), headers=key)
    before = await crm.contents()
    again = await crm.client.post("/v1/orders", json=new_order(), headers=key)
    assert (again.status_code, again.content, again.headers["idempotent-replay"]) == (201, first.content, "true")
    other = await crm.client.post("/v1/orders", json=new_order(priority=1), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await crm.contents() == before


async def test_a_refused_request_may_be_repaired_under_the_same_key(crm: Any, new_order: Any) -> None:
    key = {"Idempotency-Key": "order-2"}
    assert (await crm.client.post("/v1/orders", json=new_order(customer="C-99"), headers=key)).status_code == 422
    assert (await crm.client.post("/v1/orders", json=new_order(), headers=key)).status_code == 201


async def test_the_catalogue_price_is_the_newest_and_in_the_house_currency(crm: Any, new_order: Any) -> None:
    await crm.define("PRT-1", "20", version=3)
    await crm.define("PRT-1", "15", version=2)
    assert (await crm.place())["lines"][0]["unit_price"] == "20.00"
    foreign = await crm.client.post("/v1/orders", json=new_order(currency="JPY"))
    assert foreign.json()["errors"][0]["field"] == "/lines/0/unit_price"
    assert foreign.json()["errors"][0]["rule"] == "price_required"
    priced = await crm.place(currency="JPY", lines=[{"item": "PRT-1", "quantity": 3, "unit_price": "0.5"}])
    assert (priced["currency"], priced["total"]) == ("JPY", "2.00")


async def test_a_customer_orders_for_itself_alone(crm: Any, new_order: Any) -> None:
    app = crm.as_customer("C-77")
    body = new_order()
    del body["customer"]
    own = await crm.client.post("/v1/orders", json=body, headers=app)
    assert (own.status_code, own.json()["customer"]) == (201, "C-77")
    before = await crm.contents()
    foreign = await crm.client.post("/v1/orders", json=new_order(customer="C-78"), headers=app)
    assert (foreign.status_code, foreign.json()["errors"][0]["rule"]) == (422, "unknown_customer")
    nobody = await crm.client.post("/v1/orders", json=body)
    assert (nobody.status_code, nobody.json()["errors"][0]["rule"]) == (422, "missing")
    assert await crm.contents() == before


async def test_a_customer_may_be_named_by_id(crm: Any) -> None:
    identity = (await crm.client.get("/v1/customers/C-78")).json()["id"]
    assert (await crm.place(customer=identity.upper()))["customer"] == "C-78"


async def test_the_list_is_filtered_paged_and_the_callers_own(crm: Any) -> None:
    for customer, reference in (("C-77", "A"), ("C-78", "A"), ("C-77", "B")):
        await crm.place(customer=customer, customer_reference=reference)

    async def numbers(headers: Any = None, **query: Any) -> list[str]:
        answer = await crm.client.get("/v1/orders", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return [order["number"][-1] for order in answer.json()["items"]]

    assert await numbers() == ["1", "2", "3"]
    assert await numbers(customer="C-77") == ["1", "3"]
    assert await numbers(customer_reference="A") == ["1", "2"]
    assert await numbers(state="placed", customer="C-78") == ["2"]
    assert await numbers(state="shipped") == []
    assert await numbers(crm.as_customer("C-78")) == ["2"]
    assert await numbers(crm.as_customer("C-78"), customer="C-77") == []
    first = (await crm.client.get("/v1/orders", params={"limit": 2})).json()
    assert len(first["items"][0]["lines"]) == 1
    assert await numbers(limit=2, cursor=first["next_cursor"]) == ["3"]
    for bad in ({"color": "red"}, {"state": "lost"}, {"limit": 201}, {"cursor": "x"}):
        assert (await crm.client.get("/v1/orders", params=bad)).status_code == 422


async def test_the_latest_possible_and_the_earliest_day_are_taken(crm: Any, days_ahead: Any) -> None:
    for days in (0, 5 * 366):
        assert (await crm.place(requested_date=days_ahead(days)))["requested_date"] == days_ahead(days)
    assert date.fromisoformat(days_ahead(0)) == (await published(crm.database, OrderPlaced))[0].requested_date

"""Shipments: who may see and send them, and many things at the same time."""

import asyncio
from typing import Any

import httpx
import pytest

from chassis.messaging.handlers import PermanentError
from chassis.testing import TestIssuer, client_of, published
from contracts.erp import FulfilmentChanged, InvoicePosted, ShipmentPlanned
from contracts.mes import LotHeld
from erp.service import SERVICE


async def two_orders_in_stock(factory: Any) -> tuple[Any, Any]:
    """C-77 and C-78 ordered what is there."""
    await factory.buy("RM")
    await factory.stock("RM", 10)
    return await factory.place(("RM", 4), customer="C-77"), await factory.place(("RM", 6), customer="C-78")


async def test_customers_see_only_their_own_shipments(factory: Any, database_url: str, issuer: TestIssuer) -> None:
    """Another customer's order is as unknown as one that does not exist."""
    mine, other = await two_orders_in_stock(factory)
    token = issuer.token("orders:read", customer="C-77", role="customer")
    client, context = client_of(SERVICE, database_url, issuer, token)
    async with client:
        found = (await client.get(f"/v1/orders/{mine.order_id}/shipments")).json()["items"]
        assert [shipment["order"] for shipment in found] == [mine.number]
        refused = [await client.get(f"/v1/orders/{who}/shipments") for who in (other.number, "SO-999999")]
        assert [answer.status_code for answer in refused] == [404, 404]
        assert (await client.get("/v1/shipments")).status_code == 403
        assert (await client.get(f"/v1/shipments/{found[0]['number']}")).status_code == 403
        assert (await client.post(f"/v1/shipments/{found[0]['number']}/ship")).status_code == 403
    await context.database.dispose()


async def test_shipments_are_listed_by_order_and_state(factory: Any) -> None:
    """Filters narrow the list, and an unknown one is refused."""
    mine, other = await two_orders_in_stock(factory)
    shipment = await factory.shipment(mine)
    await factory.post(f"/v1/shipments/{shipment['number']}/ship", 200)
    shipped = (await factory.get("/v1/shipments", state="shipped"))["items"]
    assert [s["number"] for s in shipped] == [shipment["number"]]
    assert [s["order"] for s in (await factory.get("/v1/shipments", order=other.number))["items"]] == [other.number]
    assert (await factory.client.get("/v1/shipments", params={"colour": "red"})).status_code == 422
    await factory.post("/v1/shipments/SH-999999/ship", 404)


async def test_a_shipment_is_shipped_then_delivered_each_once(factory: Any) -> None:
    """Out of order or again is refused, and an idempotent repeat answers as the first did."""
    order, _ = await two_orders_in_stock(factory)
    path = f"/v1/shipments/{(await factory.shipment(order))['number']}"
    assert (await factory.post(f"{path}/deliver", 409))["code"] == "wrong_state"
    headers = {"Idempotency-Key": "ship-1"}
    first = await factory.client.post(f"{path}/ship", headers=headers)
    again = await factory.client.post(f"{path}/ship", headers=headers)
    assert (again.json(), again.headers["idempotent-replay"]) == (first.json(), "true")
    await factory.post(f"{path}/deliver", 200)
    await factory.post(f"{path}/deliver", 409)
    said = [e for e in await published(factory.database, FulfilmentChanged) if e.order_id == order.order_id]
    assert [e.state for e in said] == ["allocated", "shipped", "delivered", "closed"]
    assert len(await published(factory.database, InvoicePosted)) == 1


async def test_a_lot_picked_for_two_orders_is_held(factory: Any) -> None:
    """Neither is shipped; what nobody can ship is bought anew."""
    mine, other = await two_orders_in_stock(factory)
    await factory.happened(factory.lot(LotHeld, "RM", "RM-0"))
    for order in (mine, other):
        refused = await factory.post(f"/v1/shipments/{(await factory.shipment(order))['number']}/ship", 409)
        assert refused["code"] == "lot_held"
    assert (await factory.get("/v1/purchase-orders"))["items"][0]["orders"] == [mine.number, other.number]


async def test_an_order_for_an_undefined_item_is_a_dead_letter(factory: Any) -> None:
    """Nothing of it stays behind."""
    await factory.buy("RM")
    with pytest.raises(PermanentError, match="NO-SUCH"):
        await factory.place(("RM", 1), ("NO-SUCH", 1))
    assert await published(factory.database, FulfilmentChanged) == []
    assert (await factory.get("/v1/purchase-orders"))["items"] == []


async def test_an_order_placed_again_changes_nothing(factory: Any) -> None:
    """Also when the event comes under another id."""
    await factory.buy("RM")
    await factory.stock("RM", 5)
    order = factory.order(("RM", 5))
    for _ in range(3):
        await factory.happened(factory.placed(order))
    assert len(await published(factory.database, ShipmentPlanned)) == 1
    assert (await factory.balance("RM"))["reserved"] == 5


async def test_many_at_once_take_turns(factory: Any) -> None:
    """Orders, deliveries, counts and shipments at the same time neither deadlock nor promise anything twice."""
    await factory.buy("RM")
    await factory.make("SUB", {"RM": "1"})
    await factory.make("TOP", {"SUB": "1", "RM": "1"})
    await factory.stock("TOP", 5)
    ready = await factory.place(("TOP", 5))
    shipment = await factory.shipment(ready)

    async def post(path: str, **body: Any) -> httpx.Response:
        return await factory.client.post(path, json=body or None)

    orders = [factory.order((kind, 2)) for kind in ("TOP", "SUB", "RM") * 4]
    answers = await asyncio.gather(
        *(factory.deliver(factory.placed(order)) for order in orders),
        *(post("/v1/stock/receipts", item="RM", quantity="3", lot=f"RM-{n}") for n in range(4)),
        *(post("/v1/stock/counts", item="SUB", quantity="2") for _ in range(2)),
        *(post(f"/v1/shipments/{shipment['number']}/ship") for _ in range(2)),
    )
    codes = sorted(answer.status_code for answer in answers if isinstance(answer, httpx.Response))
    assert codes == [200, 201, 201, 201, 201, 201, 201, 409]
    await factory.check()

"""From a customer order to its invoice: stock, books and who may see what."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from chassis.clock import new_id, now
from chassis.db import Database
from chassis.testing import TestIssuer, deliver, published
from contracts.crm import OrderLine, OrderPlaced
from contracts.erp import PlanReleased
from contracts.mes import BatchCompleted, ConsumedLot, MaterialConsumed, ProducedLot, WorkOrderCompleted
from erp.service import SERVICE

CONSUMER = SERVICE.consumers[0]
STEP = {"operation": 10, "work_center": "ASM", "setup_minutes": 0, "minutes_per_unit": 1}


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


async def balances(client: httpx.AsyncClient, currency: str = "EUR") -> dict[str, Decimal]:
    trial = (await client.get("/v1/ledger/trial-balance", params={"currency": currency})).json()
    assert trial["balanced"] is True
    net = {a["account"]: Decimal(a["debit"]) - Decimal(a["credit"]) for a in trial["accounts"]}
    return {account: amount for account, amount in net.items() if amount}


def placed(item: str, quantity: int, price: str, currency: str = "EUR", customer: str = "C-77") -> OrderPlaced:
    order_id = new_id()
    return OrderPlaced(
        aggregate_version=1,
        order_id=order_id,
        number=f"SO-{order_id.hex[-6:]}",
        customer_id=UUID(int=77),
        customer=customer,
        requested_date=(now() + timedelta(days=5)).date(),
        priority=50,
        placed_at=now(),
        currency=currency,
        lines=[OrderLine(line=1, item=item, quantity=Decimal(quantity), unit_price=Decimal(price))],
    )


async def ship(client: httpx.AsyncClient, order: OrderPlaced) -> None:
    [shipment] = (await client.get(f"/v1/orders/{order.number}/shipments")).json()["items"]
    confused = await client.post(f"/v1/shipments/{shipment['number']}/ship", json={"carrier": "?"})
    assert confused.json()["errors"][0]["field"] == "/carrier"
    await post(client, f"/v1/shipments/{shipment['number']}/ship")


@pytest.fixture
async def sofa(client: httpx.AsyncClient) -> None:
    """A SOFA takes 12 LEA at 5.00 and costs 100.00; 30 LEA are in stock."""
    await post(client, "/v1/items", {"item": "LEA", "source": "buy", "standard_cost": 5})
    made = {"item": "SOFA", "source": "make", "standard_cost": 100, "routing": [STEP]}
    await post(client, "/v1/items", {**made, "components": [{"item": "LEA", "quantity": 12}]})
    await post(client, "/v1/stock/receipts", {"item": "LEA", "quantity": 30, "lot": "HIDE-1"})


@pytest.mark.usefixtures("sofa")
async def test_made_to_order_in_numbers(client: httpx.AsyncClient, database: Database) -> None:
    """2 sofas from 25 LEA, sold for 300.00 USD: margin and variances are exact, nothing stays in process."""
    order = placed("SOFA", 2, "150", "USD")
    await deliver(database, CONSUMER, order)
    [plan] = await published(database, PlanReleased)
    assert (plan.quantity, plan.material_status) == (2, "ready")
    used = ConsumedLot(item="LEA", lot="HIDE-1", quantity=Decimal(25))
    work = {
        "work_order_id": UUID(int=1),
        "work_order": "WO-000001",
        "plan_id": plan.plan_id,
        "item": "SOFA",
        "quantity": Decimal(2),
        "good": Decimal(2),
        "scrap": Decimal(0),
        "percent": 100,
    }
    await deliver(
        database,
        CONSUMER,
        MaterialConsumed(**work, aggregate_version=2, operation_id=UUID(int=2), consumed=[used], backflushed=False),
        BatchCompleted(
            aggregate_version=1,
            batch_id=UUID(int=3),
            batch="B-000001",
            plan_id=plan.plan_id,
            work_order_id=UUID(int=1),
            work_order="WO-000001",
            item="SOFA",
            good=Decimal(2),
            scrap=Decimal(0),
            lots_out=[ProducedLot(lot="L-000001", quantity=Decimal(2))],
            inputs=[used],
            bom_version=1,
            qc_state="released",
        ),
        WorkOrderCompleted(**work, aggregate_version=3, batches=1),
    )
    # 30 × 5 came in, 25 × 5 went into 2 × 100 of sofas with 2 × 40 of conversion; one LEA too many is 5.00 of usage.
    assert await balances(client) == {
        "1200": Decimal(25),
        "1300": Decimal(200),
        "5200": Decimal(5),
        "5400": Decimal(-80),
        "5900": Decimal(-150),
    }
    await ship(client, order)
    after = await balances(client)
    assert (after.get("1300"), after["5000"]) == (None, Decimal(200))
    assert await balances(client, "USD") == {"1100": Decimal(300), "4000": Decimal(-300)}
    sofas = (await client.get("/v1/stock/SOFA")).json()
    assert (sofas["on_hand"], sofas["reserved"], sofas["lots"]) == ("0", "0", [])


@pytest.mark.usefixtures("sofa")
async def test_a_customer_sees_the_shipments_and_invoices_of_its_own_orders(
    client: httpx.AsyncClient, database: Database, issuer: TestIssuer
) -> None:
    """By id and number; another customer's order is as unknown as none at all."""
    order = placed("LEA", 4, "7.50")
    await deliver(database, CONSUMER, order)
    path = f"/v1/orders/{order.number}/invoices"
    assert (await client.get(path)).json()["items"] == []
    await ship(client, order)
    for customer, status in (("C-77", 200), ("C-78", 404)):
        token = issuer.token("orders:read", "shipping:read", "invoices:read", role="customer", customer=customer)
        headers = {"Authorization": f"Bearer {token}"}
        for reference in (order.number, str(order.order_id)):
            answer = await client.get(f"/v1/orders/{reference}/invoices", headers=headers)
            assert answer.status_code == status
            if status == 200:
                assert [invoice["amount"] for invoice in answer.json()["items"]] == ["30.00"]
        for kind in ("shipments", "invoices"):
            [record] = (await client.get(f"/v1/orders/{order.number}/{kind}")).json()["items"]
            listed = (await client.get(f"/v1/{kind}", headers=headers)).json()["items"]
            assert listed == ([record] if status == 200 else [])
            assert (await client.get(f"/v1/{kind}/{record['number']}", headers=headers)).status_code == status
    assert (await client.get("/v1/orders/SO-999999/invoices")).status_code == 404


@pytest.mark.usefixtures("sofa")
async def test_stock_goes_to_the_orders_that_wait_and_comes_back_from_them(
    client: httpx.AsyncClient, database: Database
) -> None:
    """A receipt covers a waiting order at once; a count that finds less takes it back and buys anew."""
    await deliver(database, CONSUMER, placed("LEA", 40, "7.50"))
    stock = (await client.get("/v1/stock/LEA")).json()
    assert (stock["reserved"], stock["available"]) == ("30", "0")
    received = await post(client, "/v1/stock/receipts", {"item": "LEA", "quantity": 15})
    assert (received["reserved"], received["available"]) == ("40", "5")
    counted = await post(client, "/v1/stock/counts", {"item": "LEA", "quantity": 32})
    assert (counted["reserved"], counted["available"]) == ("32", "0")
    orders = (await client.get("/v1/purchase-orders")).json()["items"]
    assert sum(Decimal(line["quantity"]) for order in orders for line in order["lines"]) >= 8

"""Every posting of standard cost accounting by hand-computed numbers, and the books over HTTP."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from uuid import UUID

import httpx
import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from chassis.clock import new_id
from chassis.db import Database, Tx
from chassis.testing import TestIssuer, published
from contracts.erp import InvoicePosted
from erp.finance import commands as finance
from erp.finance.commands import InvoiceLine, Received
from erp.finance.rules import Line
from erp.finance.tables import journal_entry, journal_line

STEP = {"operation": 10, "work_center": "ASM", "minutes_per_unit": 1}
PLAN = UUID(int=1)
ORDER = UUID(int=2)


async def define(client: httpx.AsyncClient) -> None:
    """LEA costs 5.00, FRM 20.00; a SOFA is 12 LEA + 1 FRM = 80.00 of material and 100.00 in all."""
    for item, cost in (("LEA", 5), ("FRM", 20)):
        await client.post("/v1/items", json={"item": item, "source": "buy", "standard_cost": cost})
    sofa = {"item": "SOFA", "source": "make", "standard_cost": 100, "routing": [STEP]}
    lines = [{"item": "LEA", "quantity": 12}, {"item": "FRM", "quantity": 1}]
    assert (await client.post("/v1/items", json={**sofa, "components": lines})).status_code == 201


async def balances(client: httpx.AsyncClient, currency: str | None = None) -> dict[str, str]:
    """Signed balance per account (debit positive); the trial balance must balance."""
    params = {"currency": currency} if currency else {}
    trial = (await client.get("/v1/ledger/trial-balance", params=params)).json()
    assert trial["balanced"] is True
    assert trial["debit"] == trial["credit"]
    assert sum(Decimal(a["debit"]) for a in trial["accounts"]) == Decimal(trial["debit"])
    net = {a["account"]: Decimal(a["debit"]) - Decimal(a["credit"]) for a in trial["accounts"]}
    return {account: str(amount) for account, amount in net.items() if amount}


async def post(database: Database, work: Callable[[Tx], Awaitable[object]]) -> None:
    async with database.transaction() as tx:
        await work(tx)


async def test_goods_received_above_standard(client: httpx.AsyncClient, database: Database) -> None:
    """10 LEA at 5.50 against a standard of 5.00: inventory 50.00, owed 55.00, variance 5.00 lost."""
    await define(client)
    await post(
        database, lambda tx: finance.post_purchase_receipt(tx, "e1", [Received("LEA", Decimal(10), Decimal("5.5"))])
    )
    assert await balances(client) == {"1200": "50.00", "2100": "-55.00", "5100": "5.00"}


async def test_goods_received_below_standard(client: httpx.AsyncClient, database: Database) -> None:
    """10 LEA at 4.40 and 2 FRM at standard: inventory 90.00, owed 84.00, variance 6.00 gained."""
    await define(client)
    received = [Received("LEA", Decimal(10), Decimal("4.4")), Received("FRM", Decimal(2), Decimal(20))]
    await post(database, lambda tx: finance.post_purchase_receipt(tx, "e1", received))
    assert await balances(client) == {"1200": "90.00", "2100": "-84.00", "5100": "-6.00"}


async def test_a_plan_that_used_more_than_standard(client: httpx.AsyncClient, database: Database) -> None:
    """2 sofas: 25 LEA and 2 FRM (165.00), conversion 40.00, finished 200.00: the 5.00 left are usage variance."""
    await define(client)
    per_unit = {"LEA": Decimal(12), "FRM": Decimal(1)}
    await post(database, lambda tx: finance.post_issue(tx, "e1", PLAN, {"LEA": Decimal(25), "FRM": Decimal(2)}))
    assert await balances(client) == {"1200": "-165.00", "1250": "165.00"}
    await post(
        database,
        lambda tx: finance.post_completion(tx, "e2", PLAN, item="SOFA", good=Decimal(2), components=per_unit),
    )
    assert await balances(client) == {"1200": "-165.00", "1250": "5.00", "1300": "200.00", "5400": "-40.00"}
    await post(database, lambda tx: finance.post_close(tx, "e3", PLAN))
    assert await balances(client) == {"1200": "-165.00", "1300": "200.00", "5200": "5.00", "5400": "-40.00"}


async def test_a_plan_that_used_less_than_standard(client: httpx.AsyncClient, database: Database) -> None:
    """1 sofa from 11 LEA and 1 FRM (75.00): the 5.00 saved are a gain; other plans are untouched."""
    await define(client)
    per_unit = {"LEA": Decimal(12), "FRM": Decimal(1)}
    other = UUID(int=9)
    await post(database, lambda tx: finance.post_issue(tx, "e0", other, {"FRM": Decimal(1)}))
    await post(database, lambda tx: finance.post_issue(tx, "e1", PLAN, {"LEA": Decimal(11), "FRM": Decimal(1)}))
    await post(
        database,
        lambda tx: finance.post_completion(tx, "e2", PLAN, item="SOFA", good=Decimal(1), components=per_unit),
    )
    await post(database, lambda tx: finance.post_close(tx, "e3", PLAN))
    found = await balances(client)
    assert (found["5200"], found["1250"]) == ("-5.00", "20.00")


async def test_shipping_and_invoicing(client: httpx.AsyncClient, database: Database) -> None:
    """2 sofas leave at 200.00 of cost and are invoiced in the order's currency, each line rounded to its cents."""
    await define(client)
    shipment = new_id()
    lines = [InvoiceLine(1, "SOFA", Decimal(2), Decimal("149.999")), InvoiceLine(2, "LEA", Decimal("0.5"), Decimal(7))]

    async def invoice(tx: Tx) -> None:
        fields = {"order_id": ORDER, "order": "SO-000001", "customer": "C-77", "shipment_id": shipment}
        await finance.post_shipment(tx, "e1", ORDER, {"SOFA": Decimal(2)})
        await finance.create_invoice(tx, "e1", **fields, currency="USD", lines=lines)

    await post(database, invoice)
    await post(database, invoice)
    assert await balances(client) == {"1300": "-200.00", "5000": "200.00"}
    assert await balances(client, "USD") == {"1100": "303.50", "4000": "-303.50"}
    [event] = await published(database, InvoicePosted)
    assert (event.amount, event.currency, event.customer) == (Decimal("303.50"), "USD", "C-77")
    [found] = (await client.get("/v1/invoices", params={"customer": "C-77"})).json()["items"]
    assert found == (await client.get(f"/v1/invoices/{event.invoice}")).json()
    assert (found["amount"], found["number"], found["order"]) == ("303.50", event.invoice, "SO-000001")
    assert [(line["line"], line["quantity"], line["unit_price"], line["amount"]) for line in found["lines"]] == [
        (1, "2", "149.999", "300.00"),
        (2, "0.5", "7.00", "3.50"),
    ]
    assert (await client.get("/v1/invoices", params={"customer": "C-78"})).json()["items"] == []
    assert (await client.get("/v1/invoices/INV-999999")).status_code == 404


async def test_scrap_and_adjustment(client: httpx.AsyncClient, database: Database) -> None:
    """A scrapped sofa is 100.00 lost; 3 LEA found are 15.00 gained, 1 FRM missed 20.00 lost."""
    await define(client)
    await post(database, lambda tx: finance.post_scrap(tx, "e1", {"SOFA": Decimal(1)}))
    assert await balances(client) == {"1300": "-100.00", "5300": "100.00"}
    await post(database, lambda tx: finance.post_adjustment(tx, "e2", {"LEA": Decimal(3), "FRM": Decimal(-1)}))
    assert await balances(client) == {"1200": "-5.00", "1300": "-100.00", "5300": "100.00", "5900": "5.00"}


async def test_a_rule_books_an_event_once(client: httpx.AsyncClient, database: Database) -> None:
    """Posting again for the same event does nothing; another rule of the same event does."""
    await define(client)
    for _ in range(2):
        await post(database, lambda tx: finance.post_issue(tx, "e1", PLAN, {"LEA": Decimal(1)}))
    await post(database, lambda tx: finance.post_scrap(tx, "e1", {"LEA": Decimal(1)}))
    assert await balances(client) == {"1200": "-10.00", "1250": "5.00", "5300": "5.00"}
    entries = (await client.get("/v1/ledger/entries")).json()["items"]
    assert [(e["rule"], e["source_event"], e["reference"]) for e in entries] == [
        ("issue", "e1", str(PLAN)),
        ("scrap", "e1", None),
    ]
    assert entries[0]["lines"] == [
        {"account": "1200", "name": "Raw material inventory", "debit": "0.00", "credit": "5.00"},
        {"account": "1250", "name": "Work in process", "debit": "5.00", "credit": "0.00"},
    ]
    only = (await client.get("/v1/ledger/entries", params={"account": "5300"})).json()["items"]
    assert [e["rule"] for e in only] == ["scrap"]


async def test_nothing_is_posted_for_nothing(client: httpx.AsyncClient, database: Database) -> None:
    """Items without a standard cost, and a plan without residual, make no entry."""
    await client.post("/v1/items", json={"item": "FREE", "source": "buy"})
    await post(database, lambda tx: finance.post_issue(tx, "e1", PLAN, {"FREE": Decimal(5)}))
    await post(database, lambda tx: finance.post_close(tx, "e2", PLAN))
    assert (await client.get("/v1/ledger/entries")).json()["items"] == []
    assert await balances(client) == {}


async def test_entries_that_do_not_balance_are_refused(database: Database) -> None:
    """By the command, and by the database when something goes around it."""
    with pytest.raises(ValueError, match="does not balance"):
        await post(database, lambda tx: finance.post(tx, "wrong", "e1", [Line("1200", Decimal(1))]))

    async def go_around(tx: Tx) -> None:
        entry = {"id": new_id(), "number": "JE-1", "source_event": "e1", "rule": "wrong", "currency": "EUR"}
        await tx.execute(insert(journal_entry).values(**entry, at=tx.now))
        line = {"entry": entry["id"], "account": "1200", "debit": 1, "credit": 0}
        await tx.execute(insert(journal_line).values(line))

    with pytest.raises(IntegrityError, match="does not balance"):
        await post(database, go_around)


async def test_the_books_are_for_finance(client: httpx.AsyncClient, issuer: TestIssuer) -> None:
    """Orders alone open no ledger and no list of all invoices; unknown filters are refused."""
    assert (await client.get("/v1/ledger/trial-balance", params={"currency": "euro"})).status_code == 422
    assert (await client.get("/v1/ledger/entries", params={"colour": "red"})).status_code == 422
    client.headers["Authorization"] = f"Bearer {issuer.token('orders:read')}"
    for path in ("/v1/ledger/trial-balance", "/v1/ledger/entries", "/v1/invoices", "/v1/invoices/INV-1"):
        assert (await client.get(path)).status_code == 403

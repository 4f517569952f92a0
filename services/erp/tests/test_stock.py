"""Stock over HTTP, and what MES decides about lots."""

from decimal import Decimal
from typing import Any

import httpx

from chassis.db import Database
from chassis.testing import deliver, published
from contracts.envelope import Reason
from contracts.erp import StockMoved
from contracts.mes import LotHeld, LotReleased, LotScrapped
from erp.inventory import commands
from erp.service import SERVICE

CONSUMER = SERVICE.consumers[0]
WHY = Reason(code="DEFECT", text="scratched")


async def define(client: httpx.AsyncClient, *items: str, **fields: Any) -> None:
    for item in items:
        answer = await client.post("/v1/items", json={"item": item, "source": "buy", "standard_cost": 2, **fields})
        assert answer.status_code == 201, answer.text


async def receive(client: httpx.AsyncClient, item: str, quantity: object, lot: str | None = None) -> dict[str, Any]:
    body = {"item": item, "quantity": quantity, "lot": lot, "reason": "opening stock"}
    answer = await client.post("/v1/stock/receipts", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def stock(client: httpx.AsyncClient, item: str) -> dict[str, Any]:
    found = (await client.get(f"/v1/stock/{item}")).json()
    return {key: found[key] for key in ("on_hand", "reserved", "held", "available")} | {
        "lots": {lot["lot"]: (lot["quantity"], lot["status"]) for lot in found["lots"]}
    }


async def balances(client: httpx.AsyncClient) -> dict[str, Decimal]:
    trial = (await client.get("/v1/ledger/trial-balance")).json()
    assert trial["balanced"] is True
    return {a["account"]: Decimal(a["debit"]) - Decimal(a["credit"]) for a in trial["accounts"]}


def errors(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(e["field"], e["rule"]) for e in answer.json()["errors"]]


async def test_an_item_never_moved_has_zero_stock(client: httpx.AsyncClient) -> None:
    """Known items are shown with zeros, unknown ones are 404."""
    await define(client, "RM-1")
    found = await client.get("/v1/stock/RM-1")
    assert found.status_code == 200
    assert await stock(client, "RM-1") == {"on_hand": "0", "reserved": "0", "held": "0", "available": "0", "lots": {}}
    assert [row["item"] for row in (await client.get("/v1/stock")).json()["items"]] == ["RM-1"]
    assert (await client.get("/v1/stock/NONE")).status_code == 404
    assert (await client.get("/v1/stock/NONE/ledger")).status_code == 404


async def test_a_receipt_is_stock_a_ledger_row_an_event_and_a_posting(
    client: httpx.AsyncClient, database: Database
) -> None:
    """2,500 + 1.5 at a standard of 2.00 are 5,003.00 of inventory; the ledger row names the published event."""
    await define(client, "RM-1")
    answer = await receive(client, "RM-1", 2500, "LOT-A")
    assert answer["posted"][0]["lot"] == "LOT-A"
    assert (answer["on_hand"], answer["version"]) == ("2500", 1)
    second = await receive(client, "RM-1", "1.5")
    new_lot = second["posted"][0]["lot"]
    assert (await stock(client, "RM-1"))["lots"] == {"LOT-A": ("2500", "released"), new_lot: ("1.5", "released")}
    rows = (await client.get("/v1/stock/RM-1/ledger")).json()["items"]
    assert [(r["quantity"], r["balance"], r["reason"], r["note"]) for r in rows] == [
        ("2500", "2500", "receipt", "opening stock"),
        ("1.5", "2501.5", "receipt", "opening stock"),
    ]
    moved = await published(database, StockMoved)
    assert [(m.lot, m.quantity, m.balance, m.aggregate_version) for m in moved] == [
        ("LOT-A", 2500, 2500, 1),
        (new_lot, Decimal("1.5"), Decimal("2501.5"), 2),
    ]
    assert await balances(client) == {"1200": Decimal("5003.00"), "5900": Decimal("-5003.00")}
    entries = (await client.get("/v1/ledger/entries", params={"source_event": rows[0]["source_event"]})).json()["items"]
    assert [(e["rule"], e["lines"][0]["debit"]) for e in entries] == [("adjustment", "5000.00")]


async def test_the_ledger_is_paged_and_filtered_by_lot(client: httpx.AsyncClient) -> None:
    """Pages carry on where the last one ended."""
    await define(client, "RM")
    for lot in ("A", "B", "A"):
        await receive(client, "RM", 1, lot)
    first = (await client.get("/v1/stock/RM/ledger", params={"limit": 2})).json()
    rest = (await client.get("/v1/stock/RM/ledger", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [r["balance"] for r in first["items"] + rest["items"]] == ["1", "2", "3"]
    only = (await client.get("/v1/stock/RM/ledger", params={"lot": "A"})).json()
    assert [r["balance"] for r in only["items"]] == ["1", "3"]


async def test_a_count_sets_the_lot(client: httpx.AsyncClient) -> None:
    """Gain, loss and no difference; the books follow at standard."""
    await define(client, "RM")
    await receive(client, "RM", 10, "A")
    for counted, balance in ((12, "24.00"), (7, "14.00"), (7, "14.00")):
        body = {"item": "RM", "lot": "A", "quantity": counted, "reason": "cycle count"}
        answer = await client.post("/v1/stock/counts", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.json()["on_hand"] == str(counted)
        assert (await balances(client))["1200"] == Decimal(balance)
    rows = (await client.get("/v1/stock/RM/ledger")).json()["items"]
    assert [(r["quantity"], r["reason"]) for r in rows] == [("10", "receipt"), ("2", "count"), ("-5", "count")]


async def test_a_count_without_a_lot_takes_from_the_oldest(client: httpx.AsyncClient) -> None:
    """What is missing leaves the oldest lots; what is found is a new lot."""
    await define(client, "RM")
    for lot in ("A", "B", "C"):
        await receive(client, "RM", 10, lot)
    await client.post("/v1/stock/counts", json={"item": "RM", "quantity": 14})
    assert (await stock(client, "RM"))["lots"] == {"B": ("4", "released"), "C": ("10", "released")}
    found = (await client.post("/v1/stock/counts", json={"item": "RM", "quantity": 15})).json()
    assert [(r["quantity"], r["balance"]) for r in found["posted"]] == [("1", "15")]
    assert found["posted"][0]["lot"] not in {"A", "B", "C"}
    await client.post("/v1/stock/counts", json={"item": "RM", "quantity": 0})
    assert (await stock(client, "RM"))["lots"] == {}


async def test_bad_input_names_field_and_rule(client: httpx.AsyncClient) -> None:
    """Nothing is changed by a refused receipt or count."""
    await define(client, "RM", "OTHER")
    await receive(client, "RM", 10, "A")
    for path, body, expected in (
        ("receipts", {"item": "NONE", "quantity": 1}, ("/item", "unknown_item")),
        ("counts", {"item": "NONE", "quantity": 1}, ("/item", "unknown_item")),
        ("receipts", {"item": "RM", "quantity": 0}, ("/quantity", "greater_than")),
        ("receipts", {"item": "RM", "quantity": "1.1234567"}, ("/quantity", "decimal_max_places")),
        ("receipts", {"item": "RM", "quantity": "NaN"}, ("/quantity", "finite_number")),
        ("receipts", {"item": "RM", "quantity": "1000000000"}, ("/quantity", "less_than_equal")),
        ("counts", {"item": "RM", "quantity": -1}, ("/quantity", "greater_than_equal")),
        ("counts", {"quantity": 1}, ("/item", "missing")),
        ("receipts", {"item": "OTHER", "quantity": 1, "lot": "A"}, ("/lot", "lot_of_other_item")),
        ("counts", {"item": "OTHER", "quantity": 1, "lot": "A"}, ("/lot", "lot_of_other_item")),
        ("receipts", {"item": "RM", "quantity": 1, "colour": "red"}, ("/colour", "extra_forbidden")),
    ):
        answer = await client.post(f"/v1/stock/{path}", json=body)
        assert expected in errors(answer), (path, body)
    assert (await stock(client, "RM"))["on_hand"] == "10"
    assert (await stock(client, "OTHER"))["on_hand"] == "0"
    assert (await client.get("/v1/stock", params={"colour": "red"})).status_code == 422


async def test_a_held_lot_is_not_available_until_released(client: httpx.AsyncClient, database: Database) -> None:
    """Held moves with the lot, also for what comes into it or is counted; a repeat changes nothing."""
    await define(client, "RM")
    await receive(client, "RM", 10, "A")
    await receive(client, "RM", 5, "B")
    held = LotHeld(aggregate_version=1, lot="A", item="RM", reason=WHY)
    [event_id] = await deliver(database, CONSUMER, held)
    await deliver(database, CONSUMER, held, event_id=event_id)
    await deliver(database, CONSUMER, held)
    assert await stock(client, "RM") == {
        "on_hand": "15",
        "reserved": "0",
        "held": "10",
        "available": "5",
        "lots": {"A": ("10", "held"), "B": ("5", "released")},
    }
    await receive(client, "RM", 2, "A")
    assert (await stock(client, "RM"))["held"] == "12"
    await client.post("/v1/stock/counts", json={"item": "RM", "quantity": 9, "lot": "A"})
    assert (await stock(client, "RM"))["held"] == "9"
    await deliver(database, CONSUMER, LotReleased(aggregate_version=2, lot="A", item="RM", reason=WHY))
    after = await stock(client, "RM")
    assert (after["held"], after["available"]) == ("0", "14")


async def test_a_scrapped_lot_is_a_loss(client: httpx.AsyncClient, database: Database) -> None:
    """10 at 2.00 leave inventory for scrap loss, held or not; nothing comes into the lot again."""
    await define(client, "RM")
    await receive(client, "RM", 10, "A")
    await receive(client, "RM", 5, "B")
    await deliver(
        database,
        CONSUMER,
        LotHeld(aggregate_version=1, lot="A", item="RM", reason=WHY),
        LotScrapped(aggregate_version=2, lot="A", item="RM", reason=WHY),
    )
    assert await stock(client, "RM") == {
        "on_hand": "5",
        "reserved": "0",
        "held": "0",
        "available": "5",
        "lots": {"B": ("5", "released")},
    }
    assert await balances(client) == {"1200": Decimal(10), "5300": Decimal(20), "5900": Decimal(-30)}
    again = await client.post("/v1/stock/receipts", json={"item": "RM", "quantity": 1, "lot": "A"})
    assert (again.status_code, again.json()["code"]) == (409, "lot_scrapped")


async def test_lots_may_be_judged_before_they_arrive(client: httpx.AsyncClient, database: Database) -> None:
    """Topics are not ordered among each other: the last word on a lot counts when its stock comes."""
    await define(client, "RM")
    verdicts = {"HELD": [LotHeld], "FREE": [LotHeld, LotReleased], "WASTE": [LotHeld, LotScrapped]}
    for lot, kinds in verdicts.items():
        for version, kind in enumerate(kinds, 1):
            await deliver(database, CONSUMER, kind(aggregate_version=version, lot=lot, item="RM", reason=WHY))
    assert (await stock(client, "RM"))["lots"] == {"HELD": ("0", "held")}
    async with database.transaction() as tx:
        await commands.lock_balances(tx, ["RM"])
        for lot in verdicts:
            await commands.receive(tx, "RM", lot, Decimal(3), "production_receipt", held=True, source_event=f"e-{lot}")
    assert await stock(client, "RM") == {
        "on_hand": "6",
        "reserved": "0",
        "held": "3",
        "available": "3",
        "lots": {"HELD": ("3", "held"), "FREE": ("3", "released")},
    }
    assert (await balances(client))["5300"] == Decimal(6)


async def test_a_changed_standard_revalues_what_is_on_hand(client: httpx.AsyncClient) -> None:
    """10 on hand from 2.00 to 3.50: inventory 35.00; becoming a made item moves it to finished goods."""
    await define(client, "RM")
    await receive(client, "RM", 10)
    await client.post("/v1/items/RM", json={"standard_cost": "3.5"})
    assert await balances(client) == {"1200": Decimal(35), "5900": Decimal(-35)}
    step = {"operation": 10, "work_center": "ASM", "minutes_per_unit": 1}
    await client.post("/v1/items/RM", json={"source": "make", "routing": [step]})
    after = await balances(client)
    assert (after["1200"], after["1300"]) == (0, Decimal(35))

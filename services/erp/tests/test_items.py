"""The items and suppliers API."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx

from chassis.db import Database
from chassis.testing import TestIssuer, published
from contracts.erp import ItemDefined
from erp.items.queries import closure

STEP = {"operation": 10, "work_center": "ASM", "setup_minutes": 10, "minutes_per_unit": "2.5"}


async def define(client: httpx.AsyncClient, item: str, **fields: Any) -> dict[str, Any]:
    made = {"source": "make", "routing": [STEP]} if "components" in fields else {"source": "buy"}
    answer = await client.post("/v1/items", json={"item": item, "name": item, **made, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def errors(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(e["field"], e["rule"]) for e in answer.json()["errors"]]


async def test_a_made_item_costs_what_its_components_cost(client: httpx.AsyncClient, database: Database) -> None:
    """The answer carries the whole definition, decimals as strings, and the event the same."""
    await define(client, "RM-1", standard_cost="1.5", lead_time_days=5, supplier="SUP-A", minimum_order_quantity=100)
    made = await define(
        client, "PRT-1", price=12.5, components=[{"item": "RM-1", "quantity": 2, "scrap_percent": "10"}]
    )
    assert made["id"]
    assert made["created_at"].endswith("Z")
    assert {k: made[k] for k in ("number", "item", "unit", "price", "standard_cost", "version", "low_level_code")} == {
        "number": "PRT-1",
        "item": "PRT-1",
        "unit": "pcs",
        "price": "12.50",
        "standard_cost": "3.30",
        "version": 1,
        "low_level_code": 0,
    }
    assert made["components"] == [{"item": "RM-1", "quantity": "2", "scrap_percent": "10"}]
    assert made["routing"] == [
        {"operation": 10, "work_center": "ASM", "setup_minutes": "10", "minutes_per_unit": "2.5"}
    ]
    bought = (await client.get("/v1/items/RM-1")).json()
    assert (bought["low_level_code"], bought["minimum_order_quantity"], bought["supplier"]) == (1, "100", "SUP-A")
    events = await published(database, ItemDefined)
    assert [(e.item, e.aggregate_version) for e in events] == [("RM-1", 1), ("PRT-1", 1)]
    assert events[1].standard_cost == Decimal("3.3")
    assert events[1].components[0].scrap_percent == 10


async def test_an_item_is_found_by_code_and_by_id(client: httpx.AsyncClient) -> None:
    """Both references give the same record; a code may have a space."""
    made = await define(client, "RM 1+b")
    by_code = await client.get("/v1/items/RM 1+b")
    assert by_code.json() == (await client.get(f"/v1/items/{made['id']}")).json() == made
    assert by_code.headers["etag"] == '"1"'
    assert (await client.get("/v1/items/NONE")).status_code == 404


async def test_the_same_code_twice_is_refused(client: httpx.AsyncClient) -> None:
    """409 item_exists; also for two at the same time."""
    body = {"item": "RM-1", "source": "buy"}
    answers = await asyncio.gather(*(client.post("/v1/items", json=body) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"item_exists"}


async def test_unknown_components_and_cycles_are_refused(client: httpx.AsyncClient) -> None:
    """Self-use, use through another item and use of nothing each name their line; nothing is changed."""
    await define(client, "RM")
    new = {"item": "X", "source": "make", "routing": [STEP]}
    answer = await client.post("/v1/items", json={**new, "components": [{"item": "X", "quantity": 1}]})
    assert errors(answer) == [("/components/0/item", "bom_cycle")]
    lines = [{"item": "RM", "quantity": 1}, {"item": "NONE", "quantity": 1}]
    answer = await client.post("/v1/items", json={**new, "components": lines})
    assert errors(answer) == [("/components/1/item", "unknown_item")]
    assert (await client.get("/v1/items/X")).status_code == 404
    await define(client, "SUB", components=[{"item": "RM", "quantity": 1}])
    await define(client, "TOP", components=[{"item": "SUB", "quantity": 1}])
    answer = await client.post("/v1/items/SUB", json={"components": [{"item": "TOP", "quantity": 1}]})
    assert errors(answer) == [("/components/0/item", "bom_cycle")]
    assert (await client.get("/v1/items/SUB")).json()["version"] == 1


async def test_two_versions_at_once_cannot_close_a_cycle(client: httpx.AsyncClient) -> None:
    """A over B and B over A sent together: one of them is refused."""
    for item in ("A", "B"):
        await define(client, item, components=[])
    answers = await asyncio.gather(
        client.post("/v1/items/A", json={"components": [{"item": "B", "quantity": 1}]}),
        client.post("/v1/items/B", json={"components": [{"item": "A", "quantity": 1}]}),
    )
    assert sorted(a.status_code for a in answers) == [200, 422]


async def test_a_new_version_keeps_what_it_does_not_name(client: httpx.AsyncClient, database: Database) -> None:
    """Components change, the rolled-up cost follows, name and routing stay, the old version's bill is kept."""
    await define(client, "SUG", standard_cost="0.80")
    await define(client, "BEV", name="Lemonade", components=[{"item": "SUG", "quantity": "0.110"}])
    answer = await client.post("/v1/items/BEV", json={"components": [{"item": "SUG", "quantity": "0.095"}]})
    assert answer.status_code == 200, answer.text
    new = answer.json()
    assert (new["version"], new["name"], new["standard_cost"]) == (2, "Lemonade", "0.076")
    assert new["routing"][0]["work_center"] == "ASM"
    assert answer.headers["etag"] == '"2"'
    assert [e.aggregate_version for e in await published(database, ItemDefined) if e.item == "BEV"] == [1, 2]


async def test_a_standard_that_was_set_stays(client: httpx.AsyncClient) -> None:
    """Only a cost nobody set follows the components; null hands it back to them."""
    await define(client, "RM", standard_cost=1)
    await define(client, "P", standard_cost=5, components=[{"item": "RM", "quantity": 1}])
    doubled = [{"item": "RM", "quantity": 2}]
    assert (await client.post("/v1/items/P", json={"components": doubled})).json()["standard_cost"] == "5.00"
    assert (await client.post("/v1/items/P", json={"standard_cost": None})).json()["standard_cost"] == "2.00"


async def test_if_match_guards_a_new_version(client: httpx.AsyncClient) -> None:
    """A version someone else changed is not overwritten when the caller asks for that."""
    await define(client, "RM")
    first = await client.post("/v1/items/RM", json={"price": 1}, headers={"If-Match": '"1"'})
    second = await client.post("/v1/items/RM", json={"price": 2}, headers={"If-Match": '"1"'})
    assert (first.status_code, second.status_code) == (200, 412)
    assert (await client.get("/v1/items/RM")).json()["price"] == "1.00"


async def test_closure_explodes_every_level_at_its_current_version(
    client: httpx.AsyncClient, database: Database
) -> None:
    """What a version no longer uses is left out; low-level codes follow the structure both ways."""
    for code in ("RM", "OLD"):
        await define(client, code)
    await define(client, "SUB", components=[{"item": "OLD", "quantity": 1}])
    await define(client, "TOP", components=[{"item": "SUB", "quantity": 3}, {"item": "RM", "quantity": 1}])
    assert (await client.get("/v1/items/OLD")).json()["low_level_code"] == 2
    await client.post("/v1/items/SUB", json={"components": [{"item": "RM", "quantity": 2}]})
    async with database.read() as reader:
        found = await closure(reader, ["TOP", "UNKNOWN"])
    assert {code: s.low_level_code for code, s in found.items()} == {"TOP": 0, "SUB": 1, "RM": 2}
    assert [(c.item, c.quantity) for c in found["TOP"].components] == [("SUB", 3), ("RM", 1)]
    assert found["SUB"].version == 2
    assert (await client.get("/v1/items/OLD")).json()["low_level_code"] == 0


async def test_closure_takes_three_statements_at_any_depth(
    client: httpx.AsyncClient, database: Database, statements: Callable[[], list[str]]
) -> None:
    """Exploding a chain of eight levels asks the database as often as one level."""
    await define(client, "L0")
    for level in range(1, 8):
        await define(client, f"L{level}", components=[{"item": f"L{level - 1}", "quantity": 1}])
    seen = statements()
    async with database.read() as reader:
        assert len(await closure(reader, ["L7"])) == 8
    assert len(seen) == 3


async def test_bad_input_names_field_and_rule(client: httpx.AsyncClient) -> None:
    """Every refused field is told by JSON pointer."""
    good = {"item": "X", "source": "buy"}
    for change, expected in (
        ({"item": "A/B"}, ("/item", "string_pattern_mismatch")),
        ({"item": ""}, ("/item", "string_too_short")),
        ({"source": "steal"}, ("/source", "literal_error")),
        ({"price": "-1"}, ("/price", "greater_than_equal")),
        ({"price": "1.00001"}, ("/price", "decimal_max_places")),
        ({"lead_time_days": -1}, ("/lead_time_days", "greater_than_equal")),
        ({"colour": "blue"}, ("/colour", "extra_forbidden")),
        ({"components": [{"item": "Y", "quantity": 0}]}, ("/components/0/quantity", "greater_than")),
        ({"name": "nul\x00"}, ("/name", "string_pattern_mismatch")),
    ):
        answer = await client.post("/v1/items", json={**good, **change})
        assert expected in errors(answer), change
    answer = await client.post("/v1/items", json={"item": "X", "source": "make"})
    assert errors(answer) == [("/routing", "routing_required")]
    answer = await client.post("/v1/items", json={"source": "buy"})
    assert errors(answer) == [("/item", "missing")]


async def test_items_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    """Pages follow each other without gaps; filters narrow; unknown filters are refused."""
    for code in ("A", "B", "C"):
        await define(client, code, supplier="S1" if code == "B" else "S2")
    first = (await client.get("/v1/items", params={"limit": 2})).json()
    rest = (await client.get("/v1/items", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [i["item"] for i in first["items"] + rest["items"]] == ["A", "B", "C"]
    assert rest["next_cursor"] is None
    only = (await client.get("/v1/items", params={"supplier": "S1"})).json()
    assert [i["item"] for i in only["items"]] == ["B"]
    assert (await client.get("/v1/items", params={"colour": "blue"})).status_code == 422


async def test_suppliers_are_registered_once(client: httpx.AsyncClient) -> None:
    """POST makes one, GET finds it, a second of the same code is refused."""
    made = await client.post("/v1/suppliers", json={"supplier": "SUP-A", "name": "Alpha", "email": "a@alpha.test"})
    assert made.status_code == 201
    assert (await client.get("/v1/suppliers")).json()["items"] == [made.json()]
    assert (await client.get("/v1/suppliers/SUP-A")).json()["email"] == "a@alpha.test"
    again = await client.post("/v1/suppliers", json={"supplier": "SUP-A"})
    assert (again.status_code, again.json()["code"]) == (409, "supplier_exists")


async def test_scopes_are_needed(client: httpx.AsyncClient, issuer: TestIssuer) -> None:
    """Reading and writing need their own scope each."""
    client.headers["Authorization"] = f"Bearer {issuer.token('items:read')}"
    assert (await client.get("/v1/items")).status_code == 200
    assert (await client.post("/v1/items", json={"item": "X", "source": "buy"})).status_code == 403
    assert (await client.get("/v1/stock")).status_code == 403


async def test_a_repeat_with_the_same_key_changes_nothing(client: httpx.AsyncClient) -> None:
    """An Idempotency-Key makes a repeated definition answer as the first did."""
    body, headers = {"item": "X", "source": "buy"}, {"Idempotency-Key": "k1"}
    first = await client.post("/v1/items", json=body, headers=headers)
    again = await client.post("/v1/items", json=body, headers=headers)
    assert again.status_code == 201
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json() == first.json()

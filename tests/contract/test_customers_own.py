"""A customer sees and changes what is its own and nothing else; the paths are found in the public document."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from e2e.plant import Plant

from chassis.http.document import operations
from contract.surface import Operation
from devkit.client import Api, Credentials
from devkit.platform import Platform
from devkit.testing import wait_until
from gateway.access.rules import ROLES

# The path parameters that name a customer's own records, and the lists of those.
OWN = {"order": "/v1/orders", "shipment": "/v1/shipments", "invoice": "/v1/invoices"}
LISTS = (*OWN.values(), "/v1/notifications")


@dataclass
class TwoCustomers:
    """One has an order, its shipment and its invoice; the other has nothing."""

    owner: Api
    stranger: Api
    records: dict[str, dict[str, Any]]
    operations: dict[str, list[Operation]]

    async def ask(self, who: Api, operation: Operation, record: str) -> httpx.Response:
        """A customer's well-formed request about a record."""
        bearer = {"Authorization": f"Bearer {await who.token()}"}
        return await who.http.request(**operation.request(record, headers=bearer))


@pytest.fixture
async def two(platform: Platform) -> AsyncIterator[TwoCustomers]:
    """Two customers of the running platform, each with a client of its own."""
    async with Plant.connect(platform) as plant:
        item = await plant.buy_item("BOX", price="9.00")
        await plant.stock_up(item, "10")
        apis = {}
        for name in ("OWNER", "STRANGER"):
            number = await plant.customer_number(name)
            made = await plant.admin.post("/v1/clients", {"role": "customer", "customer": number})
            apis[number] = Api(platform.gateway_url, Credentials(made["client_id"], made["client_secret"]))
        owner, stranger = apis.values()
        async with owner, stranger:
            order = await plant.order(next(iter(apis)), {item: "2"})
            await plant.ship_and_deliver(order["id"])
            records = {name: (await owner.get(path))["items"][0] for name, path in OWN.items()}
            yield TwoCustomers(
                owner, stranger, records, await wait_until(lambda: _operations(owner), 30, "all documents")
            )


async def _operations(api: Api) -> dict[str, list[Operation]]:
    """The operations on a customer's own records; none until every service has given its part of the document."""
    document = (await api.http.get("/openapi.json")).json()
    found: dict[str, list[Operation]] = {name: [] for name in OWN}
    for path, method, described in operations(document):
        operation = Operation("gateway", path, method, described, document)
        for name in OWN:
            if f"{{{name}}}" in path and operation.scopes and operation.scopes <= ROLES["customer"]:
                found[name].append(operation)
    return found if all(found.values()) else {}


async def test_a_stranger_finds_nothing_and_changes_nothing(two: TwoCustomers) -> None:
    before = await two.owner.get(f"/v1/orders/{two.records['order']['id']}")
    wrong = []
    for name, found in two.operations.items():
        for operation in found:
            for reference in (two.records[name]["id"], two.records[name]["number"]):
                answer = await two.ask(two.stranger, operation, reference)
                unknown = await two.ask(two.stranger, operation, "UNKNOWN-1")
                if answer.status_code != 404 or _without_reference(answer) != _without_reference(unknown):
                    wrong.append(f"{operation}: {answer.status_code} {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert await two.owner.get(f"/v1/orders/{two.records['order']['id']}") == before
    assert {name: len(found) for name, found in two.operations.items()} == {"order": 8, "shipment": 1, "invoice": 1}


async def test_the_owner_finds_all_of_it(two: TwoCustomers) -> None:
    for name, found in two.operations.items():
        for operation in found:
            if operation.method == "get" and not operation.path.endswith("/stream"):
                answer = await two.ask(two.owner, operation, two.records[name]["id"])
                assert answer.status_code == 200, f"{operation}: {answer.text}"
                assert not operation.broken(answer)


async def test_lists_hold_only_what_is_the_callers(two: TwoCustomers) -> None:
    (owner,) = {record["customer"] for record in two.records.values()}
    for path in LISTS:
        assert (await two.stranger.get(path))["items"] == []
        mine = (await two.owner.get(path))["items"]
        assert mine
        assert {record["customer"] for record in mine} == {owner}
    for path in ("/v1/orders", "/v1/invoices", "/v1/notifications"):
        assert (await two.stranger.get(path, customer=owner))["items"] == []
    order = two.records["order"]["id"]
    for path in ("/v1/shipments", "/v1/notifications"):
        assert (await two.stranger.get(path, order=order))["items"] == []


async def test_nobody_orders_in_anothers_name(two: TwoCustomers) -> None:
    line = {key: two.records["order"]["lines"][0][key] for key in ("item", "quantity")}
    body = {
        "customer": two.records["order"]["customer"],
        "requested_date": two.records["order"]["requested_date"],
        "lines": [line],
    }
    token = {"Authorization": f"Bearer {await two.stranger.token()}"}
    assert (await two.stranger.http.post("/v1/orders", json=body, headers=token)).status_code in (404, 422)
    batch = await two.stranger.http.post("/v1/orders:batch", json={"orders": [body]}, headers=token)
    assert [item["status"] for item in batch.json()["items"]] == [422]
    assert (await two.stranger.get("/v1/orders"))["items"] == []


def _without_reference(answer: httpx.Response) -> dict[str, Any]:
    """What an answer tells beside the reference that was asked for."""
    return {name: value for name, value in answer.json().items() if name not in ("detail", "correlation_id")}

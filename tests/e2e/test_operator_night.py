"""The worked night of docs/runbooks/a-bad-event-at-night.md, played through the commands as it is written there."""

import asyncio
import json
import os
import sys
from typing import Any

import httpx

from chassis.clock import new_id, now
from chassis.events import EventMeta
from chassis.messaging.kafka import make_producer
from devkit.platform import Platform
from devkit.testing import wait_until
from e2e.plant import Plant

ORDERS = "crm.order.events.v1"
BOTH = {"erp.loop", "gateway.order-status"}


class Operator:
    """Somebody with the `orderloop` command and nothing else."""

    def __init__(self, platform: Platform) -> None:
        self._environment = {**os.environ, "ORDERLOOP_STATE": str(platform.folder.path)}

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "devkit", *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 240)
        return process.returncode or 0, out.decode(), err.decode()

    async def ask(self, *arguments: str) -> dict[str, Any]:
        """The JSON answer of a command that succeeds."""
        status, out, err = await self.run(*arguments, "--json")
        assert status == 0, f"{arguments}: {out}\n{err}"
        return dict(json.loads(out))


async def send_garbage(platform: Platform, order_id: str) -> str:
    """What a broken tool wrote onto the order's key: an amendment nobody can read; its event id."""
    meta = EventMeta(new_id(), "crm.OrderAmended.v1", "some-tool", now(), order_id, correlation_id=order_id)
    headers = [(name, value.encode()) for name, value in meta.headers().items()]
    producer = make_producer(platform.kafka, "some-tool")
    await producer.start()
    try:
        await producer.send_and_wait(ORDERS, b'{"order_id": "half a mess', order_id.encode(), headers=headers)
    finally:
        await producer.stop()
    return str(meta.event_id)


async def readiness(platform: Platform, service: str) -> dict[str, Any]:
    """The checks of /readyz."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://127.0.0.1:{platform.port(service)}/readyz", timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["checks"])


async def test_a_bad_event_is_found_given_up_and_the_order_goes_on(plant: Plant) -> None:
    platform, operator = plant.platform, Operator(plant.platform)
    item = await plant.buy_item("BOLT", cost="0.50", lead_time_days=3, supplier="SUP-N")
    order = await plant.order(await plant.customer_number(), {item: "5"})
    await plant.stage(order["number"], "promised")

    bad = await send_garbage(platform, order["id"])
    lines = [{"line": 1, "item": item, "quantity": "3"}]
    await plant.sales.patch(f"/v1/orders/{order['id']}", {"lines": lines}, order["version"])

    # The alarm: one aggregate is parked, the consumer goes on.
    async def alarm() -> bool:
        return "1 parked keys" in (await readiness(platform, "erp"))["consumer erp.loop"]["detail"]

    await wait_until(alarm, 60, "the alarm")
    parked = (await operator.ask("parked", "list"))["parked"]
    assert {one["group"] for one in parked if one["key"] == order["id"]} == BOTH
    async with httpx.AsyncClient(trust_env=False) as http:
        metrics = (await http.get(f"http://127.0.0.1:{platform.port('erp')}/metrics", timeout=10)).text
    assert 'parked_keys{group="erp.loop"} 1.0' in metrics

    # The operator looks: which event, why, what waits behind it.
    [letter] = (await operator.ask("dlt", "show", bad, "--group", "erp.loop"))["letters"]
    assert (letter["state"], letter["key"], letter["topic"]) == ("waiting", order["id"], ORDERS)
    assert letter["value"] == '{"order_id": "half a mess'
    assert "malformed" in letter["error"]
    status, _, said = await operator.run("dlt", "replay", bad, "--apply")
    assert status == 1
    assert f"parked release {order['id']}" in said
    status, _, said = await operator.run("parked", "release", order["id"])
    assert status == 1
    assert bad in said
    assert said.count("\n") == 1

    # It can never be applied, so it is given up; then what waits behind it is tried, and let go.
    tried = await operator.ask("parked", "skip", order["id"])
    assert not tried["applied"]
    given_up = await operator.ask("parked", "skip", order["id"], "--apply")
    assert {(one["group"], one["skipped"], one["waiting"]) for one in given_up["parked"]} == {(g, bad, 1) for g in BOTH}
    assert (await plant.status(order["number"]))["lines"][0]["quantity"] == "5"
    tried = await operator.ask("parked", "release", order["id"])
    assert {one["applied"] for one in tried["parked"]} == {1}
    assert (await plant.status(order["number"]))["lines"][0]["quantity"] == "5"
    await operator.ask("parked", "release", order["id"], "--apply")

    # The order goes on, as amended.
    await plant.stock_up(item, "3")
    await plant.stage(order["number"], "completed", 60)
    await plant.ship_and_deliver(order["number"])
    view = await plant.stage(order["number"], "delivered", 60)
    assert (view["lines"][0]["quantity"], view["lines"][0]["delivered"]) == ("3", "3")

    # And all is well.
    letters = (await operator.ask("dlt", "list"))["letters"]
    assert {(one["group"], one["state"]) for one in letters if one["id"] == bad} == {
        (group, "skipped") for group in BOTH
    }
    assert (await operator.ask("projection", "verify"))["equal"]
    checked = await operator.ask("invariants")
    assert checked["violations"] == 0
    assert "between services: ordered is shipped and open" in checked["laws"]


async def test_an_orders_story_is_one_tree_across_the_services(plant: Plant) -> None:
    operator = Operator(plant.platform)
    center, _ = await plant.work_center("WC")
    bolt = await plant.buy_item("BOLT", cost="0.50")
    part = await plant.make_item("PART", {bolt: "2"}, [(center, "0", "1")])
    await plant.stock_up(bolt, "10")
    order = await plant.order(await plant.customer_number(), {part: "5"})
    await plant.make_all(center)
    await plant.stage(order["number"], "completed")

    events = (await operator.ask("events", "trace", order["number"]))["events"]
    by_id = {event["id"]: event for event in events}
    depth = {event["type"]: event["depth"] for event in events}
    assert events[0]["type"] == "crm.OrderPlaced.v1"
    assert (depth["erp.PlanReleased.v1"], depth["mes.WorkOrderCreated.v1"]) == (1, 2)
    assert {"erp.stock.events.v1", "mes.batch.events.v1", "crm.notification.events.v1"} <= {e["topic"] for e in events}
    assert all(event["parent"] in (None, event["causationid"]) for event in events)
    assert all(event["parent"] in by_id for event in events if event["parent"])
    assert all(event["seconds"] >= 0 for event in events if event["of_order"])

    [batch] = [event for event in events if event["type"] == "mes.BatchCompleted.v1"]
    [found] = (await operator.ask("events", "get", batch["id"]))["events"]
    assert (found["topic"], found["data"]["good"]) == ("mes.batch.events.v1", "5")


async def test_lag_topics_and_replay_as_an_operator_asks(plant: Plant) -> None:
    operator = Operator(plant.platform)

    async def quiet() -> dict[str, Any] | None:
        seen = await operator.ask("lag")
        return seen if seen["total"] == 0 else None

    seen = await wait_until(quiet, 120, "all consumers to be done")
    assert {row["group"] for row in seen["lag"]} >= {"crm.order-state", "erp.loop", "mes.plans", "gateway.order-status"}
    assert all(row["members"] == 1 for row in seen["lag"])
    assert (await operator.ask("topics", "plan"))["differences"] == []
    status, _, said = await operator.run("replay", "--group", "crm.order-state", "--from", "beginning", "--apply")
    assert status == 1
    assert "stop its workers first" in said

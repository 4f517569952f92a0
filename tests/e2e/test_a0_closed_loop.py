"""Story A0 of the domain: 1,000 parts in four batches, a machine fault, one event twice and two out of order."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from chassis.clock import now
from contracts.mes import BatchCompleted
from contracts.topics import TOPICS
from devkit.demo.checks import check_books
from devkit.testing import wait_until
from e2e.plant import Plant


async def _batch_records(kafka: str, item: str) -> list[Any]:
    """The BatchCompleted records of an item, in the order of their times."""
    partitions = next(topic.partitions for topic in TOPICS if topic.name == BatchCompleted.TOPIC)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        assigned = [TopicPartition(BatchCompleted.TOPIC, index) for index in range(partitions)]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        records: list[Any] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records.extend(batch)
    finally:
        await consumer.stop()
    mine = [r for r in records if dict(r.headers)["ce_type"] == b"mes.BatchCompleted.v1" and item.encode() in r.value]
    return sorted(mine, key=lambda r: dict(r.headers)["ce_time"])


async def _republish(kafka: str, records: list[Any]) -> None:
    """Send the same events again, byte for byte, in this order."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(record.topic, record.value, record.key, headers=list(record.headers))
    finally:
        await producer.stop()


async def test_a0_one_thousand_parts_exactly_once(plant: Plant) -> None:
    center, (m1, m2) = await plant.work_center("OP10", machines=2)
    rm1 = await plant.buy_item("RM-1", cost="2.00")
    prt1 = await plant.make_item("PRT-1", {rm1: "2"}, [(center, "15", "0.75")], price="9.00", standard_cost="5.00")
    await plant.stock_up(rm1, "2500")
    customer = await plant.customer_number()

    placed_at = now()
    order = (await plant.order(customer, {prt1: "1000"}, days=5))["number"]
    await plant.stage(order, "planned", seconds=5)
    assert now() - placed_at < timedelta(seconds=5)
    await plant.stock_is(rm1, on_hand=2500, reserved=2000, available=500)
    view = await plant.status(order)
    assert view["lines"][0]["planned"] == "1000"
    assert view["promised_date"] is not None

    operation = await plant.operation(center)
    assert operation["quantity"] == "1000"
    await plant.start(operation["id"], m2)
    first = await plant.report(operation["id"], "250")
    assert first["batch"]
    assert first["lot"]
    before = await plant.stage(order, "in_production")

    stopped_at = now()
    await plant.operator.post(f"/v1/machines/{m2}/state", {"state": "down", "reason": "spindle fault"})

    async def maintenance() -> Any:
        listed = await plant.operator.get("/v1/maintenance-orders", machine=m2)
        return listed["items"]

    opened = await wait_until(maintenance, 2, "a maintenance order for the stopped machine")
    assert datetime.fromisoformat(opened[0]["created_at"]) - stopped_at < timedelta(seconds=2)
    assert opened[0]["notified"]

    async def moved() -> Any:
        found = await plant.operator.get(f"/v1/operations/{operation['id']}")
        return found if found["state"] == "paused" and found["machine"] == m1 else None

    await wait_until(moved, 10, "the remaining work to move to the other machine")

    async def told_why() -> Any:
        seen = await plant.status(order)
        return seen if (seen["reason"] or {}).get("code") == "MACHINE_DOWN" and seen["eta"] != before["eta"] else None

    told = await wait_until(told_why, 10, "the ETA to move because of the machine")
    assert m2 in told["reason"]["text"]
    assert told["reason"]["event_id"] in {entry["event_id"] for entry in told["trail"]}
    notices = await plant.notices(order, "promise_revised")
    assert any(m2 in notice["text"] for notice in notices)

    await plant.start(operation["id"], m1, verb="resume")
    for done in (False, False, True):
        await plant.report(operation["id"], "250", done=done)

    records = await wait_until(lambda: _four(plant, prt1), 10, "four batches on the topic")
    # One delivered twice, two out of order.
    await _republish(plant.platform.kafka, [records[2], records[3], records[1]])

    complete = await plant.stage(order, "completed")
    assert complete["lines"][0]["produced"] == "1000"
    assert complete["progress"] == 100
    await plant.stock_is(prt1, on_hand=1000, reserved=1000, available=0)
    await plant.stock_is(rm1, on_hand=500, reserved=0, available=500)
    work_order = (await plant.work_orders(prt1))[0]
    assert (work_order["good"], work_order["scrap"], work_order["state"]) == ("1000", "0", "completed")

    await plant.ship_and_deliver(order)
    closed = await plant.stage(order, "delivered")
    assert closed["lines"][0]["shipped"] == closed["lines"][0]["delivered"] == "1000"
    assert len(await plant.notices(order, "delivered")) == 1
    invoices = (await plant.sales.get(f"/v1/orders/{order}/invoices"))["items"]
    assert [invoice["amount"] for invoice in invoices] == ["9000.00"]
    await plant.stock_is(prt1, on_hand=0, reserved=0)

    books = await check_books(plant.admin)
    assert books.balanced
    assert not [fault for fault in books.faults if plant.suffix in fault]


async def _four(plant: Plant, item: str) -> list[Any] | None:
    records = await _batch_records(plant.platform.kafka, item)
    return records if len(records) == 4 else None


async def test_oee_of_the_machine_states(plant: Plant) -> None:
    """ISO 22400-2: PBT 450, APT 405, PRI 0.75, PQ 500, GQ 490 → A 0.900, E 0.9259, Q 0.980, OEE 0.8167."""
    center, (machine,) = await plant.work_center("OEE")
    part = await plant.make_item("OEE-PART", {}, [(center, "0", "0.75")], standard_cost="1.00")
    customer = await plant.customer_number()
    shift = now() - timedelta(minutes=500)

    async def state(name: str, minutes: float) -> None:
        at = (shift + timedelta(minutes=minutes)).isoformat()
        await plant.operator.post(f"/v1/machines/{machine}/state", {"state": name, "at": at, "reason": "shift"})

    await state("running", 0)
    await state("down", 200)
    await state("running", 245)
    await state("off", 450)
    await plant.operator.post(f"/v1/machines/{machine}/state", {"state": "idle", "reason": "night shift"})
    await plant.order(customer, {part: "500"})
    operation = await plant.operation(center)
    await plant.start(operation["id"], machine)
    during = (shift + timedelta(minutes=440)).isoformat()
    await plant.report(operation["id"], "490", scrap="10", reason="burr", at=during)
    window = {"from": shift.isoformat(), "to": (shift + timedelta(minutes=450)).isoformat()}
    oee = await plant.planner.get(f"/v1/machines/{machine}/oee", **window)
    ratios = {name: round(Decimal(str(oee[name])), 4) for name in ("availability", "effectiveness", "quality", "oee")}
    assert ratios == {
        "availability": Decimal("0.9000"),
        "effectiveness": Decimal("0.9259"),
        "quality": Decimal("0.9800"),
        "oee": Decimal("0.8167"),
    }

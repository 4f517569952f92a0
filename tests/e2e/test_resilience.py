"""kill -9 of every part once during a small load: nothing is lost, nothing is doubled."""

import asyncio
import signal
from collections import Counter
from decimal import Decimal

from devkit.demo.checks import check_books
from devkit.demo.floor import Floor, working_floor
from devkit.testing import wait_until
from e2e.plant import Plant

_ORDERS = 40
_PIECES = 5
_VICTIMS = ("crm", "erp", "mes", "gateway", "kafka")


async def test_every_part_is_killed_once_under_load(plant: Plant) -> None:
    center, _ = await plant.work_center("WC", machines=2)
    bolt = await plant.buy_item("BOLT", cost="0.50")
    part = await plant.make_item("PART", {bolt: "2"}, [(center, "0", "1")], standard_cost="3.00")
    await plant.stock_up(bolt, str(2 * _PIECES * _ORDERS))
    customer = await plant.customer_number()
    placed: list[str] = []

    async def place() -> None:
        while len(placed) < _ORDERS:
            order = await plant.order(customer, {part: str(_PIECES)})
            placed.append(order["number"])

    async def kill_each() -> None:
        for nth, victim in enumerate(_VICTIMS, start=1):
            wanted = nth * _ORDERS // (len(_VICTIMS) + 1)
            await wait_until(lambda wanted=wanted: len(placed) >= wanted, 60, f"{wanted} orders to be placed")
            plant.platform.kill(victim, signal.SIGKILL)
            await wait_until(lambda victim=victim: asyncio.to_thread(plant.platform.restart, victim), 30, victim)

    floor = Floor(plant.operator, plant.warehouse, speed=1_000_000)
    async with working_floor(floor):
        async with asyncio.TaskGroup() as group:
            group.create_task(place())
            group.create_task(kill_each())

        async def all_delivered() -> bool:
            orders = [o async for o in plant.sales.items("/v1/orders", customer=customer)]
            return all(order["state"] in ("delivered", "closed") for order in orders)

        await wait_until(all_delivered, 90, "all orders to be delivered")

    orders = [order async for order in plant.sales.items("/v1/orders", customer=customer)]
    assert Counter(order["number"] for order in orders) == Counter(placed)
    for order in orders:
        shipments = (await plant.warehouse.get(f"/v1/orders/{order['number']}/shipments"))["items"]
        shipped = [Decimal(line["quantity"]) for s in shipments if s["state"] == "delivered" for line in s["lines"]]
        assert shipped == [_PIECES], order["number"]
    produced = sum(Decimal(work["good"]) for work in await plant.work_orders(part))
    left = await plant.stock(part)
    assert produced == _ORDERS * _PIECES + left["on_hand"]
    assert (await plant.stock(bolt))["on_hand"] == 2 * _PIECES * _ORDERS - 2 * produced
    books = await check_books(plant.admin)
    assert books.balanced
    assert not [fault for fault in books.faults if plant.suffix in fault]

"""What the end-to-end tests do at the public API, in the words of a person who works there."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Self

from chassis.clock import now
from devkit.client import Api
from devkit.demo.target import local
from devkit.platform import Platform
from devkit.testing import wait_until

ROLES = ("customer", "sales", "planner", "operator", "warehouse", "quality", "finance", "admin")
Record = dict[str, Any]


def in_days(days: int) -> date:
    """A day from today on."""
    return now().date() + timedelta(days=days)


@dataclass
class Plant:
    """Clients of one platform, and codes that no other test uses."""

    platform: Platform
    clients: dict[str, Api]
    suffix: str = field(default_factory=lambda: secrets.token_hex(3).upper())

    @classmethod
    @asynccontextmanager
    async def connect(cls, platform: Platform) -> AsyncIterator[Self]:
        """Clients for every role."""
        target = local(platform)
        async with AsyncExitStack() as stack:
            yield cls(platform, {role: await stack.enter_async_context(target.api(role)) for role in ROLES})

    def code(self, name: str) -> str:
        """A code of this test's own, e.g. PRT-1 → PRT-1-3FA09C."""
        return f"{name}-{self.suffix}"

    def __getattr__(self, role: str) -> Api:
        if role in ROLES:
            return self.clients[role]
        raise AttributeError(role)

    async def customer_number(self, name: str = "C") -> str:
        """A new customer; its number."""
        body = {"number": self.code(name), "name": f"Customer {name}", "email": "buyer@example.com"}
        return str((await self.sales.post("/v1/customers", body))["number"])

    async def buy_item(self, name: str, cost: str = "2.00", **more: Any) -> str:
        """A bought item; its code."""
        body = {"item": self.code(name), "name": name, "unit": "EA", "source": "buy", "standard_cost": cost, **more}
        return str((await self.planner.post("/v1/items", body))["item"])

    async def make_item(
        self, name: str, components: dict[str, str], routing: list[tuple[str, str, str]], **more: Any
    ) -> str:
        """A made item of `{component: quantity}` and `[(work center, setup minutes, minutes per unit)]`; its code."""
        body = {
            "item": self.code(name),
            "name": name,
            "unit": "EA",
            "source": "make",
            "price": "10.00",
            "components": [{"item": item, "quantity": quantity} for item, quantity in components.items()],
            "routing": [
                {"operation": 10 * n, "work_center": center, "setup_minutes": setup, "minutes_per_unit": each}
                for n, (center, setup, each) in enumerate(routing, start=1)
            ],
            **more,
        }
        return str((await self.planner.post("/v1/items", body))["item"])

    async def work_center(self, name: str, machines: int = 1) -> tuple[str, list[str]]:
        """A work center and its machines' codes."""
        center = self.code(name)
        await self.admin.post("/v1/work-centers", {"work_center": center, "name": name})
        codes = [f"{center}-M{index}" for index in range(1, machines + 1)]
        for code in codes:
            await self.admin.post("/v1/machines", {"machine": code, "work_center": center, "name": code})
        return center, codes

    async def stock_up(self, item: str, quantity: str, lot: str | None = None) -> None:
        """Opening stock."""
        body = {"item": item, "quantity": quantity, "reason": "opening stock", "lot": lot or f"{item}-L0"}
        await self.warehouse.post("/v1/stock/receipts", body)

    async def order(self, customer: str, lines: dict[str, str], days: int = 5, **more: Any) -> Record:
        """Place an order of `{item: quantity}`."""
        body = {
            "customer": customer,
            "requested_date": str(in_days(days)),
            "lines": [{"item": item, "quantity": quantity} for item, quantity in lines.items()],
            **more,
        }
        return await self.sales.post("/v1/orders", body, key=secrets.token_hex(8))

    async def status(self, order: str) -> Record:
        """The order-status view."""
        return await self.sales.get(f"/v1/orders/{order}/status")

    async def stage(self, order: str, stage: str, seconds: float = 15) -> Record:
        """The view once the order has reached `stage` or passed it."""
        ranks = ("placed", "promised", "planned", "in_production", "completed", "shipped", "delivered", "closed")

        async def reached() -> Record | None:
            view = await self.status(order)
            if stage == "cancelled" or view["stage"] == "cancelled":
                return view if view["stage"] == stage else None
            return view if ranks.index(view["stage"]) >= ranks.index(stage) else None

        return await wait_until(reached, seconds, f"order {order} to be {stage}")

    async def work_orders(self, item: str, count: int = 1, seconds: float = 15) -> list[Record]:
        """The live work orders of an item, once there are `count`."""

        async def there() -> list[Record] | None:
            found = [w async for w in self.operator.items("/v1/work-orders", item=item) if w["state"] != "cancelled"]
            return found if len(found) >= count else None

        return await wait_until(there, seconds, f"{count} work orders of {item}")

    async def operation(self, work_center: str, state: str = "ready", seconds: float = 15) -> Record:
        """The first operation of a work center's dispatch list in this state, once it is planned on a machine."""

        async def there() -> Record | None:
            listed = await self.operator.get("/v1/operations", work_center=work_center, state=state)
            return next((o for o in listed["items"] if o["planned_start"]), None)

        return await wait_until(there, seconds, f"a {state} operation at {work_center}")

    async def start(self, operation: str, machine: str | None = None, verb: str = "start") -> Record:
        """Start or resume an operation."""
        body = {"operator": "Ada", **({"machine": machine} if machine else {})}
        return await self.operator.post(f"/v1/operations/{operation}/{verb}", body, key=secrets.token_hex(8))

    async def report(self, operation: str, good: str, **more: Any) -> Record:
        """Report quantities at an operation."""
        body = {"good": good, **more}
        return await self.operator.post(f"/v1/operations/{operation}/reports", body, key=secrets.token_hex(8))

    async def make_all(self, work_center: str, seconds: float = 15) -> Record:
        """Start the next operation of a work center and report all of it good."""
        operation = await self.operation(work_center, seconds=seconds)
        started = await self.start(operation["id"])
        return await self.report(operation["id"], started["quantity"], done=True)

    async def stock(self, item: str) -> dict[str, Decimal]:
        """On hand, reserved, held and available."""
        answer = await self.warehouse.get(f"/v1/stock/{item}")
        return {name: Decimal(answer[name]) for name in ("on_hand", "reserved", "held", "available")}

    async def stock_is(self, item: str, seconds: float = 10, **expected: int) -> None:
        """Wait until the item's stock has these values."""

        async def matches() -> bool:
            seen = await self.stock(item)
            return all(seen[name] == value for name, value in expected.items())

        await wait_until(matches, seconds, f"stock of {item} to be {expected}, it is {await self.stock(item)}")

    async def ship_and_deliver(self, order: str) -> Record:
        """Ship the order's planned shipment and confirm its delivery; returns the shipment."""

        async def planned() -> Record | None:
            listed = await self.warehouse.get("/v1/shipments", order=order, state="planned")
            return listed["items"][0] if listed["items"] else None

        shipment = await wait_until(planned, 15, f"a planned shipment of {order}")
        await self.warehouse.post(f"/v1/shipments/{shipment['id']}/ship", key=secrets.token_hex(8))
        return await self.warehouse.post(f"/v1/shipments/{shipment['id']}/deliver", key=secrets.token_hex(8))

    async def notices(self, order: str, milestone: str) -> list[Record]:
        """The customer's notices of one milestone of an order, once there is one."""

        async def there() -> list[Record]:
            listed = await self.sales.get(f"/v1/orders/{order}/notifications", limit=200)
            return [n for n in listed["items"] if n["milestone"] == milestone]

        return await wait_until(there, 10, f"a notice of {milestone} for {order}")

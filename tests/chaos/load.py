"""Continuous orders through the public API, a shop floor that makes them, and the people things go wrong for.

Every write is noted with its outcome: ok, fail (refused, nothing was done) or unknown.
"""

import asyncio
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import httpx
from e2e.plant import ROLES, Plant, in_days
from history.model import Command

from chassis.clock import now
from devkit.client import Api, ApiProblem
from devkit.demo.floor import Floor
from devkit.demo.target import local
from devkit.platform import Platform

_PATIENCE_SECONDS = 90.0
_RETRY_SECONDS = 0.25
# What may have been done although the answer is an error.
_UNKNOWN_STATUSES = (500, 502, 504)
_LATER_STATUSES = (429, 503)
_SMALLEST = Decimal("0.001")
_FLOOR_SPEED = 1_000_000.0
Outcome = Literal["ok", "fail", "unknown"]
_WORTH: dict[Outcome, int] = {"fail": 0, "unknown": 1, "ok": 2}
_KINDS = (
    ("PATCH /v1/orders/", "amend"),
    ("/cancel$", "cancel"),
    ("/v1/orders$", "place"),
    ("/reports$", "report"),
    ("/(start|resume|pause)$", "work"),
    ("/ship$", "ship"),
    ("/deliver$", "deliver"),
    ("/v1/purchase-orders/", "receive"),
    ("/v1/stock/", "stock"),
    ("/v1/(inspections|defects)$", "judge"),
    ("/v1/lots/", "dispose"),
    ("/state$", "machine"),
)


@dataclass
class Notes:
    """What became of every write, and answers no client should ever get."""

    faults: list[str] = field(default_factory=list)
    # How often the floor found no way to go on until later.
    gave_up: int = 0
    _commands: dict[str, Command] = field(default_factory=dict)

    @property
    def commands(self) -> list[Command]:
        """One for each key."""
        return list(self._commands.values())

    def add(self, key: str, request: str, started: datetime, outcome: Outcome, record: str) -> None:
        """Note one write; of one that is tried again later, with its key, the best answer counts."""
        kind = next((kind for pattern, kind in _KINDS if re.search(pattern, request)), "define")
        before = self._commands.get(key)
        if before is None or _WORTH[outcome] >= _WORTH[before.outcome]:
            begun = before.started if before else started
            self._commands[key] = Command(key, kind, begun, now(), outcome, (), record)

    def give_up(self, error: BaseException) -> None:
        """Note that the floor could not go on; that the platform was away too long for it is no fault."""
        self.gave_up += 1
        if isinstance(error, ApiProblem) and error.status < 500 and error.status not in _LATER_STATUSES:
            self.faults.append(f"the floor gave up: {error!r}")


@dataclass
class NotingApi(Api):
    """A client that notes its writes. One that is not patient takes the first answer for the last."""

    notes: Notes = field(default_factory=Notes)
    patient: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        # Each attempt is one call, so that none goes by unseen.
        self.patience_seconds = 0.0

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """As `Api.request`: repeated until answered, and noted when it writes."""
        name = f"{method} {path}"
        key = None if method == "GET" else key or secrets.token_hex(12)
        started, deadline = now(), time.monotonic() + _PATIENCE_SECONDS
        maybe_done = False
        while True:
            try:
                answer = await super().request(method, path, params=params, body=body, key=key, headers=headers)
            except (ApiProblem, httpx.TransportError) as error:
                status = error.status if isinstance(error, ApiProblem) else None
                if status == 500:
                    self.notes.faults.append(f"{name} was answered 500: {error}")
                maybe_done = maybe_done or status is None or status in _UNKNOWN_STATUSES
                again = status is None or status in (*_UNKNOWN_STATUSES, *_LATER_STATUSES) or _running(error)
                if again and self.patient and time.monotonic() < deadline:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if key:
                    self.notes.add(key, name, started, "unknown" if maybe_done or _running(error) else "fail", "")
                raise
            if key:
                self.notes.add(key, name, started, "ok", str(answer.json().get("number", "")))
            return answer


def _running(error: Exception) -> bool:
    return isinstance(error, ApiProblem) and error.code == "idempotency_key_running"


@dataclass
class Rates:
    """How much of everything there is."""

    seconds_between_orders: float = 0.8
    open_orders: int = 20
    amended: float = 0.2
    cancelled: float = 0.1
    impatient: float = 0.15
    scrapped: float = 0.15
    judged: float = 0.15
    seconds_between_stops: float = 6.0
    seconds_between_receipts: float = 5.0


class Load:
    """Customers, operators, inspectors and suppliers of one small factory, at work until told to stop."""

    def __init__(self, platform: Platform, chance: random.Random, rates: Rates, notes: Notes) -> None:
        self._chance = chance
        self._rates = rates
        self._notes = notes
        clients = {role: self._client(platform, role) for role in ROLES}
        self.plant = Plant(platform, dict(clients))
        self._hasty = self._client(platform, "sales", patient=False)
        self._apis = [*clients.values(), self._hasty]
        self.stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Orders that are not finished, as counted now and then by who watches.
        self.open_orders = 0

    def _client(self, platform: Platform, role: str, patient: bool = True) -> NotingApi:
        return NotingApi(platform.gateway_url, local(platform).clients[role], notes=self._notes, patient=patient)

    async def prepare(self) -> None:
        """The factory: machines, bought and made items, a supplier, stock and customers."""
        plant = self.plant
        (cutting, cutters), (joining, joiners) = [await plant.work_center(name, machines=2) for name in ("CUT", "JOIN")]
        self._machines = [*cutters, *joiners]
        supplier = plant.code("SUP")
        await plant.admin.post("/v1/suppliers", {"supplier": supplier, "name": "Boards & Bolts"})
        bolt = await plant.buy_item("BOLT", cost="0.10", price="0.30", supplier=supplier, lead_time_days=1)
        board = await plant.buy_item("BOARD", cost="4.00", price="9.00", supplier=supplier, lead_time_days=2)
        leg = await plant.make_item("LEG", {board: "0.5", bolt: "2"}, [(cutting, "0", "1")], standard_cost="3.00")
        box = await plant.make_item(
            "BOX", {board: "2", bolt: "8"}, [(cutting, "1", "1"), (joining, "0", "2")], standard_cost="10.00"
        )
        table = await plant.make_item("TABLE", {leg: "4", board: "1"}, [(joining, "2", "3")], standard_cost="20.00")
        self._bought, self._sold = [bolt, board], [leg, box, table, leg, box, bolt]
        for item, quantity in ((bolt, "4000"), (board, "300"), (leg, "40")):
            await plant.stock_up(item, quantity)
        self._customers = [await plant.customer_number(f"C{number}") for number in range(4)]

    async def run(self) -> None:
        """Work until `stopping` is set and the floor is told to end by `close`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._floor())
            group.create_task(self._every(self._rates.seconds_between_orders, self._order_when_idle))
            group.create_task(self._every(self._rates.seconds_between_stops, self._stop_machine))
            group.create_task(self._every(self._rates.seconds_between_receipts, self._receive))
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """End the floor too, and the connections."""
        self.stopping.set()
        self._closing.set()
        await asyncio.gather(*self._tasks)

    async def disconnect(self) -> None:
        """Close the clients."""
        for api in self._apis:
            await api.http.aclose()

    def order_at_once(self) -> None:
        """Place an order however many are open: whoever asks measures when it is promised."""
        self._begin(self._order())

    async def tidy(self) -> None:
        """Decide about every lot that is still held, as somebody in the end does."""
        async for lot in self.plant.quality.items("/v1/lots", status="held"):
            with suppress(ApiProblem):
                await self._dispose(lot["lot"])

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while not self.stopping.is_set():
            self._begin(act())
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds * self._chance.uniform(0.5, 1.5))

    def _begin(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            # Refused (the plan changed meanwhile) or unanswered: it is in the notes.
            with suppress(ApiProblem, httpx.TransportError):
                await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _floor(self) -> None:
        """A floor that was answered nothing but "later" for too long is followed by the next."""
        while not self._closing.is_set():
            floor = Floor(self.plant.operator, self.plant.warehouse, _FLOOR_SPEED, stop=self._closing)
            floor.on_start, floor.on_report = self._on_start, self._on_report
            try:
                await floor.run()
            except* (ApiProblem, httpx.TransportError) as errors:
                self._notes.give_up(errors.exceptions[0])

    async def _order_when_idle(self) -> None:
        if self.open_orders < self._rates.open_orders:
            await self._order()

    async def _order(self) -> None:
        chance, plant = self._chance, self.plant
        items = chance.sample(self._sold, chance.choice((1, 1, 2)))
        body = {
            "customer": chance.choice(self._customers),
            "requested_date": str(in_days(chance.randint(1, 20))),
            "priority": chance.randint(0, 99),
            "lines": [{"item": item, "quantity": self._quantity()} for item in dict.fromkeys(items)],
        }
        hasty = chance.random() < self._rates.impatient
        order = await (self._hasty if hasty else plant.sales).post("/v1/orders", body)
        self.open_orders += 1
        fate = chance.random()
        if fate < self._rates.amended + self._rates.cancelled:
            await asyncio.sleep(chance.uniform(0, 3))
        if fate < self._rates.amended:
            lines = [{**line, "quantity": self._quantity()} for line in order["lines"][:1]]
            kept = [
                {"line": line["line"], "item": line["item"], "quantity": line["quantity"]} for line in order["lines"]
            ]
            changed = {"line": lines[0]["line"], "item": lines[0]["item"], "quantity": lines[0]["quantity"]}
            await plant.sales.patch(f"/v1/orders/{order['number']}", {"lines": [changed, *kept[1:]]}, order["version"])
        elif fate < self._rates.amended + self._rates.cancelled:
            await plant.sales.post(f"/v1/orders/{order['number']}/cancel", {"reason": "no longer needed"})

    def _quantity(self) -> str:
        return str(self._chance.choice((1, 2, 3, 5, "2.5", "1.25")))

    async def _on_start(self, operation: dict[str, Any]) -> None:
        """Some work begins with an odd portion, and some with scrap."""
        portion = (Decimal(operation["quantity"]) / 8).quantize(_SMALLEST)
        if self._chance.random() >= self._rates.scrapped or not portion:
            return
        first = {"good": str(2 * portion)}
        if self._chance.random() < 0.5:
            first |= {"scrap": str(portion), "reason": "knot"}
        operation |= await self.plant.operator.post(f"/v1/operations/{operation['id']}/reports", first)

    async def _on_report(self, report: dict[str, Any]) -> None:
        if (lot := report.get("lot")) and self._chance.random() < self._rates.judged:
            self._begin(self._judge(lot))

    async def _judge(self, lot: str) -> None:
        """A finished lot is inspected or found defective; what is held because of it is released or scrapped."""
        quality, kind = self.plant.quality, self._chance.choice(("accepted", "rejected", "defect"))
        found: dict[str, Any] = {"lot": lot, "characteristic": "length", "severity": "minor"}
        if kind == "accepted":
            await quality.post("/v1/inspections", {**found, "result": "accepted"})
            return
        path = "/v1/defects" if kind == "defect" else "/v1/inspections"
        await quality.post(path, {**found, "description": "too short"} | ({} if kind == "defect" else {"result": kind}))
        await asyncio.sleep(self._chance.uniform(0, 3))
        await self._dispose(lot)

    async def _dispose(self, lot: str) -> None:
        verb = self._chance.choice(("release", "release", "scrap"))
        await self.plant.quality.post(f"/v1/lots/{lot}/{verb}", {"reason": "looked at again"})

    async def _stop_machine(self) -> None:
        path = f"/v1/machines/{self._chance.choice(self._machines)}/state"
        try:
            await self.plant.operator.post(path, {"state": "down", "reason": "blade jammed"})
            await asyncio.sleep(self._chance.uniform(0.5, 2))
        finally:
            await self.plant.operator.post(path, {"state": "idle", "reason": "blade changed"})

    async def _receive(self) -> None:
        item = self._chance.choice(self._bought)
        body = {"item": item, "quantity": str(self._chance.randint(5, 50)), "reason": "found behind the shelf"}
        await self.plant.warehouse.post("/v1/stock/receipts", {**body, "lot": f"{item}-{secrets.token_hex(4)}"})

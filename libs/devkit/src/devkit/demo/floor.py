"""A simulated shop floor: operators, machines, warehouse, carrier and suppliers' trucks, acting only through the API.

It keeps a sped-up clock of its own: what takes an hour in the plan takes ``3600 / speed`` seconds here.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chassis.clock import now
from devkit.client import Api, ApiProblem

# How often each looks at its list; a truck is not in a hurry.
_DISPATCH_SECONDS, _SHIPPING_SECONDS, _BUYING_SECONDS = 0.15, 0.25, 1.0
# How much of a dispatch list is read at a time.
_LIST_LENGTH = 100
_TRANSIT_HOURS = 8.0
_SECONDS_PER_DAY = 86_400.0
# A batch is reported when this share of the operation is done, so that progress is seen on the way.
_REPORTS_PER_OPERATION = 2
_WATCHED_SECONDS = 0.05


@dataclass
class Floor:
    """The people and machines around the platform. `run` works until `stop` is set."""

    operator: Api
    warehouse: Api
    speed: float = 14_400.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # Called after each report with the answer; the demo's bad lot is found here.
    on_report: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    on_start: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    # Trucks are loaded and unloaded at so many doors.
    doors: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    # How often the plan had changed under the floor's hands.
    refused: int = 0
    _busy: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _attempts: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Work until told to stop; raises what a worker could not handle."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(_DISPATCH_SECONDS, self._dispatch))
            group.create_task(self._every(_SHIPPING_SECONDS, self._ship))
            group.create_task(self._every(_BUYING_SECONDS, self._receive))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _every(self, seconds: float, look: Callable[[], Awaitable[None]]) -> None:
        while not self.stop.is_set():
            await look()
            failed = next((task for task in self._tasks if task.done() and task.exception()), None)
            if failed is not None:
                await failed
            try:
                await asyncio.wait_for(self.stop.wait(), seconds)
            except TimeoutError:
                continue

    async def _pass(self, seconds: float) -> None:
        """Let this many seconds of the floor's own time pass."""
        await asyncio.sleep(seconds / self.speed)

    def _begin(self, name: str, work: Awaitable[None]) -> None:
        self._busy.add(name)

        async def run() -> None:
            try:
                await work
            except ApiProblem as problem:
                # The plan changed under our hands (machine down, order cancelled, lot held): look again.
                if problem.status not in (404, 409):
                    raise
                self.refused += 1
            self._busy.discard(name)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() else self._tasks.discard(done))

    async def _dispatch(self) -> None:
        """Each free machine takes the next operation of its dispatch list."""
        # What runs without us was begun by a floor before this one; of the rest, what is to start next comes first.
        for state in ("running", "paused", "ready"):
            listed = await self.operator.get("/v1/operations", state=state, limit=_LIST_LENGTH)
            for operation in listed["items"]:
                station = operation["machine"] or operation["work_center"]
                planned = operation["planned_start"] is not None
                if planned and operation["id"] not in self._busy and station not in self._busy:
                    self._busy.add(station)
                    self._begin(operation["id"], self._work(operation, station))

    async def _work(self, operation: dict[str, Any], station: str) -> None:
        try:
            path = f"/v1/operations/{operation['id']}"
            started = operation
            if operation["state"] != "running":
                verb = "resume" if operation["state"] == "paused" else "start"
                machine = {"machine": operation["machine"]} if operation["machine"] else {}
                key = f"{path}:{verb}:{next(self._attempts)}"
                started = await self.operator.post(f"{path}/{verb}", {"operator": f"at {station}", **machine}, key=key)
            if self.on_start:
                await self.on_start(started)
            remaining = Decimal(started["quantity"]) - Decimal(started["good"]) - Decimal(started["scrap"])
            seconds = _planned_seconds(operation)
            for good, done in _portions(remaining, watched=seconds / self.speed > _WATCHED_SECONDS):
                await self._pass(seconds * float(good / remaining))
                report = {"good": str(good), "done": done}
                key = f"{path}:report:{next(self._attempts)}"
                answer = await self.operator.post(f"{path}/reports", report, key=key)
                if self.on_report:
                    await self.on_report(answer)
        finally:
            self._busy.discard(station)

    async def _ship(self) -> None:
        # What is on the road without us was sent by a floor before this one.
        for state in ("planned", "shipped"):
            async for shipment in self.warehouse.items("/v1/shipments", state=state):
                if shipment["id"] not in self._busy:
                    self._begin(shipment["id"], self._carry(shipment))

    async def _carry(self, shipment: dict[str, Any]) -> None:
        path = f"/v1/shipments/{shipment['id']}"
        if shipment["state"] == "planned":
            async with self.doors:
                await self.warehouse.post(f"{path}/ship", key=f"{path}:ship:{next(self._attempts)}")
        await self._pass(_TRANSIT_HOURS * 3600)
        async with self.doors:
            await self.warehouse.post(f"{path}/deliver", key=f"{path}:deliver")

    async def _receive(self) -> None:
        async for order in self.warehouse.items("/v1/purchase-orders", state="sent"):
            if order["id"] not in self._busy:
                self._begin(order["id"], self._truck(order))

    async def _truck(self, order: dict[str, Any]) -> None:
        """The supplier delivers every line in full, when the last is due."""
        days = max((date.fromisoformat(line["due"]) - now().date()).days for line in order["lines"])
        await self._pass(max(days, 0) * _SECONDS_PER_DAY)
        path = f"/v1/purchase-orders/{order['id']}/receipts"
        lines = [
            {
                "line": line["line"],
                "quantity": line["quantity"],
                "supplier_lot": f"{order['supplier'] or 'SUPPLIER'}-{order['number']}-{line['line']}",
            }
            for line in order["lines"]
        ]
        async with self.doors:
            await self.warehouse.post(path, {"lines": lines}, key=path)


@asynccontextmanager
async def working_floor(floor: Floor) -> AsyncIterator[None]:
    """The floor works while the block runs; a worker's failure ends the block."""
    async with asyncio.TaskGroup() as group:
        group.create_task(floor.run())
        try:
            yield
        finally:
            floor.stop.set()


def _planned_seconds(operation: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(operation[name]) for name in ("planned_start", "planned_end"))
    return max((end - start).total_seconds(), 0.0)


def _portions(remaining: Decimal, watched: bool) -> list[tuple[Decimal, bool]]:
    """What is reported when: whole pieces in portions if that can be watched, else all at once."""
    if not watched or remaining < _REPORTS_PER_OPERATION or remaining != remaining.to_integral_value():
        return [(remaining, True)]
    first = remaining // _REPORTS_PER_OPERATION
    return [(first, False), (remaining - first, True)]

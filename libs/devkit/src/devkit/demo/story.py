"""The demo: a small furniture factory takes six orders, one machine stops, one lot is bad, and all is delivered."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from devkit.client import Api
from devkit.demo.checks import Books, events_per_topic, wait_for_books
from devkit.demo.floor import Floor, working_floor
from devkit.demo.target import Target
from devkit.demo.watch import OrderWatch, show_until_done
from devkit.imports import layout
from devkit.imports.loader import Loader, Report

FURNITURE = Path(__file__).parent / "furniture"
_STOPPED_MACHINE = "CUT-1"
_BAD_ITEM = "ACC-100"
_REPAIR_HOURS = 6.0
_DISPOSITION_HOURS = 2.0


@dataclass
class Outcome:
    """What a demo run showed."""

    orders: list[dict[str, Any]]
    seconds_to_first_delivery: float
    batches: int
    defects: int
    books: Books
    events: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether the loop closed: every order delivered, books and stock in order."""
        return all(order["stage"] in ("delivered", "closed") for order in self.orders) and self.books.in_order

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON-ready document."""
        return {
            "closed": self.closed,
            "orders": self.orders,
            "seconds_to_first_delivery": round(self.seconds_to_first_delivery, 1),
            "batches": self.batches,
            "defects": self.defects,
            "ledger_balanced": self.books.balanced,
            "stock_faults": self.books.faults,
            "events": self.events,
            "reasons": self.reasons,
        }


@dataclass
class Incidents:
    """One machine stop and one bad lot, each at the first good moment."""

    operator: Api
    quality: Api
    speed: float
    note: str = ""
    _stopped: bool = False
    _rejected: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def on_start(self, operation: dict[str, Any]) -> None:
        """Stop the machine once, shortly after it started to work."""
        if operation["machine"] == _STOPPED_MACHINE and not self._stopped:
            self._stopped = True
            self._later(self._stop_machine())

    async def on_report(self, report: dict[str, Any]) -> None:
        """Reject the first finished lot of the accessory."""
        if report["item"] == _BAD_ITEM and report.get("lot") and not self._rejected:
            self._rejected = True
            self._later(self._reject(report["lot"]))

    async def settled(self) -> None:
        """Wait until the machine is back and the bad lot disposed of."""
        await asyncio.gather(*self._tasks)

    def _later(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _stop_machine(self) -> None:
        await asyncio.sleep(0.25 * 3600 / self.speed)
        path = f"/v1/machines/{_STOPPED_MACHINE}/state"
        await self.operator.post(path, {"state": "down", "reason": "blade jammed"})
        self.note = f"{_STOPPED_MACHINE} has stopped: blade jammed"
        await asyncio.sleep(_REPAIR_HOURS * 3600 / self.speed)
        await self.operator.post(path, {"state": "idle", "reason": "blade changed"})
        self.note = f"{_STOPPED_MACHINE} is back"

    async def _reject(self, lot: str) -> None:
        found = {
            "lot": lot,
            "characteristic": "output voltage",
            "result": "rejected",
            "value": "5.61",
            "lower_limit": "4.75",
            "upper_limit": "5.25",
            "sample_size": 20,
            "nonconforming": 5,
            "severity": "major",
            "description": "output voltage too high",
        }
        await self.quality.post("/v1/inspections", found)
        self.note = f"lot {lot} of {_BAD_ITEM} is bad: output voltage too high"
        await asyncio.sleep(_DISPOSITION_HOURS * 3600 / self.speed)
        await self.quality.post(f"/v1/lots/{lot}/scrap", {"reason": "cannot be reworked"})
        self.note = f"lot {lot} of {_BAD_ITEM} was scrapped and is made again"


async def load_furniture(target: Target, console: Console) -> tuple[layout.Dataset, Report]:
    """Put the furniture factory into the platform; a factory that is there already stays as it is."""
    dataset = layout.read_folder(FURNITURE)
    async with target.api("admin") as admin:
        with console.status("loading the furniture factory"):
            report = await Loader(admin, dataset).load()
    created, present = sum(report.created.values()), sum(report.present.values())
    console.print(f"Furniture factory: {created} records loaded, {present} already there.")
    return dataset, report


async def place_orders(target: Target, dataset: layout.Dataset) -> list[str]:
    """Place the demo's orders, new ones on every run; returns their numbers."""
    run = f"{datetime.now().astimezone():%m%d%H%M%S}"
    renamed = {row.order: f"{row.order}-{run}" for row in dataset.orders}
    fresh = layout.Dataset(
        orders=[row.model_copy(update={"order": renamed[row.order]}) for row in dataset.orders],
        order_lines=[row.model_copy(update={"order": renamed[row.order]}) for row in dataset.order_lines],
    )
    async with target.api("sales") as sales:
        return await Loader(sales, fresh).place_orders()


async def run_demo(target: Target, console: Console, speed: float, deadline_seconds: float) -> Outcome:
    """Load, order, make, break and deliver; raises TimeoutError when the loop does not close in time."""
    dataset, _ = await load_furniture(target, console)
    async with AsyncExitStack() as stack:
        roles = ("operator", "warehouse", "quality", "sales", "admin")
        api = {role: await stack.enter_async_context(target.api(role)) for role in roles}
        incidents = Incidents(api["operator"], api["quality"], speed)
        floor = Floor(api["operator"], api["warehouse"], speed)
        floor.on_start, floor.on_report = incidents.on_start, incidents.on_report
        started = time.monotonic()
        numbers = await place_orders(target, dataset)
        console.print(f"{len(numbers)} orders placed; the shop floor's clock runs {speed:,.0f} times as fast as ours.")
        watch = OrderWatch(api["sales"], numbers)
        async with asyncio.timeout(deadline_seconds), working_floor(floor):
            await show_until_done(console, watch, lambda: incidents.note)
            await incidents.settled()
        books = await wait_for_books(api["admin"])
        outcome = await _outcome(api["admin"], watch, books, started)
        if target.kafka:
            outcome.events = await events_per_topic(target.kafka)
        return outcome


async def _outcome(admin: Api, watch: OrderWatch, books: Books, started: float) -> Outcome:
    batches = [batch async for batch in admin.items("/v1/batches")]
    defects = [defect async for defect in admin.items("/v1/defects")]
    orders = [_order(watch.views[number]) for number in watch.numbers]
    seconds = min(watch.finished_at.values()) - started
    return Outcome(orders, seconds, len(batches), len(defects), books, reasons=watch.reasons)


def _order(view: dict[str, Any]) -> dict[str, Any]:
    times = [datetime.fromisoformat(entry["time"]) for entry in view["trail"]]
    return {
        "number": view["number"],
        "customer": view["customer"],
        "stage": view["stage"],
        "lines": [f"{line['quantity']} × {line['item']}" for line in view["lines"]],
        "lead_seconds": round((max(times) - min(times)).total_seconds(), 1) if times else 0.0,
        "work_orders": sorted({number for line in view["lines"] for number in line["work_orders"]}),
    }


def print_outcome(console: Console, outcome: Outcome, target: Target) -> None:
    """The summary tables, and where to look next."""
    table = Table(title="What was delivered", title_justify="left")
    for name in ("order", "customer", "what", "stage", "lead time", "work orders", "promise moved by"):
        table.add_column(name)
    for order in outcome.orders:
        moved = [code for code in outcome.reasons.get(order["number"], []) if code not in ("STOCK", "PLAN", "PROGRESS")]
        table.add_row(
            order["number"],
            order["customer"],
            ", ".join(order["lines"]),
            order["stage"],
            f"{order['lead_seconds']:.1f} s",
            str(len(order["work_orders"])),
            ", ".join(dict.fromkeys(moved)) or "-",
        )
    console.print(table)
    books = outcome.books
    console.print(f"First order delivered after {outcome.seconds_to_first_delivery:.1f} s")
    console.print(f"Batches {outcome.batches}, defects {outcome.defects}")
    console.print(f"Ledger balanced: {'yes' if books.balanced else 'NO'} (debit {books.debit}, credit {books.credit})")
    stock = "yes" if not books.faults else "NO: " + "; ".join(books.faults)
    console.print(f"Stock equals its ledger for all {books.items} items: {stock}")
    if outcome.events:
        events = Table(title="Events", title_justify="left")
        events.add_column("topic")
        events.add_column("events", justify="right")
        for topic, count in outcome.events.items():
            events.add_row(topic, str(count))
        console.print(events)
    _print_next(console, target)


def _print_next(console: Console, target: Target) -> None:
    lines: Sequence[str] = (
        f"API docs      {target.gateway}/docs",
        "Watch events  orderloop events tail --from-beginning",
        f"With kcat     kcat -C -b {target.kafka} -t crm.order.events.v1 -f '%T %k %h\\n%s\\n' -e",
    )
    console.print("Where to look next:")
    for line in lines if target.kafka else lines[:1]:
        console.print(f"  {line}", soft_wrap=True)

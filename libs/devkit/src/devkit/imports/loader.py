"""Load a factory through the public API in dependency order; every write is idempotent, so a second run is harmless."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from chassis.clock import now
from devkit.client import Api, ApiProblem
from devkit.imports.layout import Dataset, Problem, Row, build_levels

_AT_ONCE = 8
_BATCH = 500
_DEFAULT_REQUESTED_DAYS = 14

T = TypeVar("T")
# Told what is being loaded and how many of how many are done.
OnProgress = Callable[[str, int, int], None]


@dataclass
class Report:
    """What a load did: rows created, rows already there, and rows refused with file, line and reason."""

    created: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    present: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    problems: list[Problem] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON-ready document."""
        return {
            "created": dict(self.created),
            "present": dict(self.present),
            "problems": [vars(problem) for problem in self.problems],
            "orders": self.orders,
        }


@dataclass
class Loader:
    """Loads a dataset; `report` fills as it goes."""

    api: Api
    dataset: Dataset
    on_progress: OnProgress = lambda _what, _done, _total: None
    report: Report = field(default_factory=Report)

    async def load(self) -> Report:
        """Master data and opening stock; orders are placed by `place_orders`."""
        data = self.dataset
        self.report.problems.extend(data.problems)
        await self._each("suppliers", data.suppliers, lambda r: self._create("/v1/suppliers", r, _fields(r)))
        await self._each("work_centers", data.work_centers, lambda r: self._create("/v1/work-centers", r, _fields(r)))
        await self._each("machines", data.machines, lambda r: self._create("/v1/machines", r, _fields(r)))
        bodies = _item_bodies(data)
        done = 0
        for level in build_levels(data):
            await self._each(
                "items", level, lambda r: self._create("/v1/items", r, bodies[r.item]), done, len(data.items)
            )
            done += len(level)
        await self._each("stock", data.stock, self._receive)
        await self._customers()
        return self.report

    async def place_orders(self) -> list[str]:
        """Place the dataset's orders; returns their numbers. An order placed by an earlier run is not placed again."""
        lines = defaultdict(list)
        for row in self.dataset.order_lines:
            line = {"line": row.line, "item": row.item, "quantity": str(row.quantity)}
            if row.unit_price is not None:
                line["unit_price"] = str(row.unit_price)
            if row.options:
                line["options"] = dict(pair.split("=", 1) for pair in row.options.split(";"))
            lines[row.order].append(line)
        placed: dict[str, str] = {}
        requested = (now() + timedelta(days=_DEFAULT_REQUESTED_DAYS)).date()

        async def place(row: Any) -> None:
            body = {
                "customer": row.customer,
                "customer_reference": row.order,
                "requested_date": str(row.requested_date or requested),
                "lines": lines[row.order],
            }
            optional = {"priority": row.priority, "currency": row.currency}
            body.update({name: value for name, value in optional.items() if value is not None})
            # The requested date moves with the day of the run, so the key names the order and not the body.
            answer = await self._send("/v1/orders", row, body, f"import:order:{row.order}")
            found = (
                [answer] if answer else [o async for o in self.api.items("/v1/orders", customer_reference=row.order)]
            )
            if found:
                placed[row.order] = found[0]["number"]

        # One after the other: who ordered first is planned first.
        for done, order in enumerate(self.dataset.orders, start=1):
            await place(order)
            self.on_progress("orders", done, len(self.dataset.orders))
        self.report.orders = [placed[row.order] for row in self.dataset.orders if row.order in placed]
        return self.report.orders

    async def _each(
        self,
        what: str,
        rows: Sequence[T],
        work: Callable[[T], Awaitable[None]],
        done_before: int = 0,
        total: int | None = None,
    ) -> None:
        done = done_before
        waiting = iter(rows)

        async def worker() -> None:
            nonlocal done
            for row in waiting:
                await work(row)
                done += 1
                self.on_progress(what, done, total or len(rows))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(rows))):
                group.create_task(worker())

    async def _create(self, path: str, row: Row, body: dict[str, Any]) -> None:
        await self._send(path, row, body, _key(path, body))

    async def _receive(self, row: Any) -> None:
        body = {"item": row.item, "lot": row.lot, "quantity": str(row.quantity), "reason": "opening stock"}
        await self._create("/v1/stock/receipts", row, body)

    async def _send(self, path: str, row: Row, body: dict[str, Any], key: str) -> dict[str, Any] | None:
        what = path.removeprefix("/v1/").replace("/", "_")
        try:
            answer = await self.api.request("POST", path, body=body, key=key)
        except ApiProblem as problem:
            if problem.code.endswith("_exists") or problem.code == "idempotency_key_reused":
                self.report.present[what] += 1
            else:
                self.report.problems.append(Problem(row.file, row.row, str(problem)))
            return None
        counts = self.report.present if answer.headers.get("idempotent-replay") else self.report.created
        counts[what] += 1
        return dict(answer.json())

    async def _customers(self) -> None:
        rows = self.dataset.customers
        for start in range(0, len(rows), _BATCH):
            chunk = rows[start : start + _BATCH]
            body = {"customers": [_fields(row) for row in chunk]}
            results = (await self.api.post("/v1/customers:batch", body))["items"]
            for row, result in zip(chunk, results, strict=True):
                if result["status"] == 201:
                    self.report.created["customers"] += 1
                elif result["status"] == 409:
                    self.report.present["customers"] += 1
                else:
                    self.report.problems.append(Problem(row.file, row.row, result["problem"]["detail"]))
            self.on_progress("customers", start + len(chunk), len(rows))


def _fields(row: Row) -> dict[str, Any]:
    return row.model_dump(mode="json", exclude={"file", "row"}, exclude_none=True)


def _key(path: str, body: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return f"import:{path}:{digest[:32]}"


def _item_bodies(data: Dataset) -> dict[str, dict[str, Any]]:
    bodies = {row.item: _fields(row) for row in data.items}
    for body in bodies.values():
        if body["source"] == "make":
            body.update(components=[], routing=[])
    for part in data.components:
        bodies[part.parent]["components"].append(_without(part, "parent"))
    for step in data.routing:
        bodies[step.item]["routing"].append(_without(step, "item"))
    return bodies


def _without(row: Row, *names: str) -> dict[str, Any]:
    drop: Iterable[str] = names
    return {name: value for name, value in _fields(row).items() if name not in drop}

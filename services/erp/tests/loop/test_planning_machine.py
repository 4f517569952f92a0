"""Whatever happens in whatever order on a small two-level factory: nothing is lost, and every order gets there."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from chassis.tables import outbox
from contracts.erp import PlanCancelled, PlanChanged, PlanReleased
from contracts.mes import LotHeld, LotReleased, LotScrapped

_examples = count(1)
_PLAN_EVENTS = {kind.TYPE: kind for kind in (PlanReleased, PlanChanged, PlanCancelled)}

quantities = st.integers(1, 9)
choices = st.integers(0, 1000)


@dataclass
class Work:
    """A plan as the shop floor knows it."""

    plan: PlanReleased
    quantity: Decimal
    good: Decimal = Decimal(0)
    started: bool = False
    done: bool = False

    @property
    def left(self) -> Decimal:
        return self.quantity - self.good


class PlanningMachine(RuleBasedStateMachine):
    """CRM, MES, suppliers and the warehouse, at random."""

    def __init__(self, open_factory: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        super().__init__()
        self.example = next(_examples)
        self.runner = asyncio.Runner()
        self.opened = open_factory()
        self.factory = self.run(self.opened.__aenter__())
        self.factory.prefix = f"SO-{self.example}"
        self.lots = count(1)
        self.works: dict[Any, Work] = {}
        self.inbox: list[Any] = []
        self.seen = 0
        self.orders: list[Any] = []
        self.cancelled: set[Any] = set()
        self.held: dict[str, tuple[str, int]] = {}
        self.known_lots: dict[str, tuple[str, int]] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def item(self, kind: str) -> str:
        return f"{kind}-{self.example}"

    @initialize()
    def define(self) -> None:
        """TOP of one SUB and one RAW, SUB of two RAW."""
        self.run(self.factory.buy(self.item("RAW"), lead_time_days=2))
        self.run(self.factory.make(self.item("SUB"), {self.item("RAW"): "2"}))
        self.run(self.factory.make(self.item("TOP"), {self.item("SUB"): "1", self.item("RAW"): "1"}))

    @rule(
        kinds=st.lists(st.sampled_from(["RAW", "SUB", "TOP", "TOP"]), min_size=1, max_size=2),
        quantity=quantities,
        priority=st.sampled_from([10, 50, 90]),
    )
    def place(self, kinds: list[str], quantity: int, priority: int) -> None:
        wanted = [(self.item(kind), quantity) for kind in kinds]
        self.orders.append(self.run(self.factory.place(*wanted, priority=priority)))

    @precondition(lambda self: self.orders)
    @rule(which=choices, kind=st.sampled_from(["SUB", "TOP"]), quantity=quantities, keep=st.booleans())
    def amend(self, which: int, kind: str, quantity: int, keep: bool) -> None:
        order = self.orders[which % len(self.orders)]
        item = order.lines[1][0] if keep else self.item(kind)
        self.run(self.factory.amend(order, (item, quantity)))

    @precondition(lambda self: self.orders)
    @rule(which=choices)
    def cancel(self, which: int) -> None:
        order = self.orders[which % len(self.orders)]
        self.run(self.factory.cancel(order))
        self.cancelled.add(order.order_id)

    @rule(kind=st.sampled_from(["RAW", "SUB", "TOP"]), quantity=quantities)
    def receive_stock(self, kind: str, quantity: int) -> None:
        self.run(self.factory.stock(self.item(kind), quantity, self.new_lot(kind)))

    @rule(kind=st.sampled_from(["RAW", "SUB", "TOP"]), quantity=quantities)
    def count_stock(self, kind: str, quantity: int) -> None:
        body = {"item": self.item(kind), "quantity": str(quantity)}
        self.run(self.factory.client.post("/v1/stock/counts", json=body))
        self.run(self.factory.check())

    @rule(which=choices, quantity=quantities)
    def receive_purchase(self, which: int, quantity: int) -> None:
        waiting = self.open_purchases()
        if waiting:
            order = waiting[which % len(waiting)]
            left = Decimal(order["lines"][0]["quantity"]) - Decimal(order["lines"][0]["received"])
            self.receive(order, min(left, Decimal(quantity)))

    @rule(which=choices, quantity=quantities, held=st.booleans())
    def finish_batch(self, which: int, quantity: int, held: bool) -> None:
        if works := self.running():
            self.batch(works[which % len(works)], Decimal(quantity), held and quantity > 6)

    @rule(which=choices, quantity=quantities)
    def consume(self, which: int, quantity: int) -> None:
        if works := self.running():
            work = works[which % len(works)]
            lot = next((n for n, (kind, _) in self.known_lots.items() if kind == "RAW"), "UNKNOWN")
            work.started = True
            used = (self.item("RAW"), f"{lot}-{self.example}", quantity)
            self.run(self.factory.happened(self.factory.consumed(work.plan, used)))

    @rule(which=choices)
    def complete(self, which: int) -> None:
        if works := [work for work in self.running() if work.started]:
            self.finish(works[which % len(works)])

    @precondition(lambda self: self.inbox)
    @rule()
    def answer(self) -> None:
        """The shop floor answers the oldest change it was asked for."""
        event = self.inbox.pop(0)
        work = self.works[event.plan_id]
        if work.done:
            return
        wanted = event.quantity if isinstance(event, PlanChanged) else Decimal(0)
        if work.started:
            self.run(self.factory.happened(self.factory.changed(event, str(work.quantity), "kept")))
        elif wanted == 0:
            work.done = True
            self.run(self.factory.happened(self.factory.withdrawn(work.plan)))
        elif wanted != work.quantity:
            work.quantity = wanted
            self.run(self.factory.happened(self.factory.changed(event, str(wanted), "changed")))

    @precondition(lambda self: self.known_lots)
    @rule(which=choices, kind=st.sampled_from([LotHeld, LotReleased, LotReleased, LotScrapped]))
    def decide_on_lot(self, which: int, kind: Any) -> None:
        lot = sorted(self.known_lots)[which % len(self.known_lots)]
        self.decide(lot, kind)

    @rule(which=choices, then_deliver=st.booleans())
    def ship(self, which: int, then_deliver: bool) -> None:
        planned = self.run(self.factory.get("/v1/shipments", state="planned", limit="200"))["items"]
        if planned:
            path = f"/v1/shipments/{planned[which % len(planned)]['number']}"
            answer = self.run(self.factory.client.post(f"{path}/ship"))
            assert answer.status_code == 200 or answer.json()["code"] == "lot_held", answer.text
            if answer.status_code == 200 and then_deliver:
                self.run(self.factory.post(f"{path}/deliver", 200))
            self.run(self.factory.check())

    def teardown(self) -> None:
        """When everybody does what they were asked to, every order that was not cancelled can be shipped."""
        try:
            self.drain()
        finally:
            self.run(self.opened.__aexit__(None, None, None))
            self.runner.close()

    def drain(self) -> None:
        for lot, (_, version) in list(self.known_lots.items()):
            if version > 1:
                self.decide(lot, LotReleased)
        for _ in range(40):
            works = self.running()
            for order in self.open_purchases():
                line = order["lines"][0]
                self.receive(order, Decimal(line["quantity"]) - Decimal(line["received"]))
            while self.inbox:
                self.answer()
            for work in works:
                if not work.done:
                    self.batch(work, work.left, False)
                    self.finish(work)
            if not works and not self.inbox and not self.open_purchases():
                break
        for order in self.orders:
            state = self.run(self.factory.progress(order)).state
            assert state in ("allocated", "shipped", "closed") or order.order_id in self.cancelled, state

    def new_lot(self, kind: str) -> str:
        lot = f"{kind}-L{next(self.lots)}"
        self.known_lots[lot] = (kind, 1)
        return f"{lot}-{self.example}"

    def decide(self, lot: str, kind: Any) -> None:
        item, version = self.known_lots[lot]
        self.known_lots[lot] = (item, version + 1)
        event = self.factory.lot(kind, self.item(item), f"{lot}-{self.example}", version + 1)
        self.run(self.factory.happened(event))

    def batch(self, work: Work, quantity: Decimal, held: bool) -> None:
        work.started = True
        good = min(quantity, work.left)
        if good > 0:
            work.good += good
            lot = self.new_lot(work.plan.item.rsplit("-", 1)[0])
            self.run(self.factory.happened(self.factory.batch(work.plan, str(good), lot, held=held)))

    def finish(self, work: Work) -> None:
        work.done = True
        self.run(self.factory.happened(self.factory.completed(work.plan)))

    def receive(self, order: dict[str, Any], quantity: Decimal) -> None:
        path = f"/v1/purchase-orders/{order['number']}/receipts"
        lines = [{"line": 1, "quantity": str(quantity), "lot": self.new_lot("RAW")}]
        self.run(self.factory.post(path, lines=lines))
        self.run(self.factory.check())

    def open_purchases(self) -> list[dict[str, Any]]:
        """Purchase orders of this example not received yet."""
        found: list[dict[str, Any]] = []
        for state in ("sent", "part_received"):
            page = self.run(self.factory.get("/v1/purchase-orders", state=state, item=self.item("RAW"), limit="200"))
            found += page["items"]
        return found

    def running(self) -> list[Work]:
        """Work orders not done, after the plan events since the last look."""
        for event in self.run(self.plan_events()):
            if isinstance(event, PlanReleased):
                self.works[event.plan_id] = Work(event, event.quantity)
                self.factory.work_order(event)
            elif event.plan_id in self.works:
                self.inbox.append(event)
        return [work for work in self.works.values() if not work.done]

    async def plan_events(self) -> list[Any]:
        query = select(outbox).where(outbox.c.id > self.seen, outbox.c.type.in_(_PLAN_EVENTS)).order_by(outbox.c.id)
        async with self.factory.database.read() as reader:
            rows = await reader.all(query)
        self.seen = max([self.seen, *(row["id"] for row in rows)])
        events = [_PLAN_EVENTS[row["type"]].model_validate_json(row["payload"]) for row in rows]
        return [event for event in events if event.item.endswith(f"-{self.example}")]


def test_any_sequence_keeps_everything_covered(
    open_factory: Callable[[], AbstractAsyncContextManager[Any]],
) -> None:
    """Random days at the factory; the invariants are checked after every transaction."""
    run_state_machine_as_test(
        lambda: PlanningMachine(open_factory),
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

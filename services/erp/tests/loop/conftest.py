"""A small factory around the erp service: what CRM and the shop floor would say, and what must always hold."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from chassis.clock import new_id, now
from chassis.db import Database
from chassis.events import DomainEvent
from chassis.testing import TestIssuer, client_of, deliver, published
from contracts.crm import OrderAmended, OrderCancelled, OrderLine, OrderPlaced
from contracts.envelope import Reason
from contracts.erp import FulfilmentChanged, OrderPromised, PlanCancelled, PlanChanged, PlanReleased, PromiseRevised
from contracts.mes import (
    BatchCompleted,
    ConsumedLot,
    LotHeld,
    LotReleased,
    LotScrapped,
    MaterialConsumed,
    ProducedLot,
    WorkOrderCancelled,
    WorkOrderChanged,
    WorkOrderCompleted,
    WorkOrderScheduled,
)
from erp.fulfilment.queries import invariants as shipment_invariants
from erp.planning.queries import invariants as planning_invariants
from erp.service import SERVICE


@dataclass
class Order:
    """A customer order as CRM sees it."""

    number: str
    customer: str
    priority: int
    requested_date: date
    lines: dict[int, tuple[str, Decimal]]
    order_id: UUID = field(default_factory=new_id)
    version: int = 1

    def state(self) -> dict[str, Any]:
        """What placing and amending say."""
        return {
            "aggregate_version": self.version,
            "order_id": self.order_id,
            "number": self.number,
            "customer_id": UUID(int=7),
            "customer": self.customer,
            "requested_date": self.requested_date,
            "priority": self.priority,
            "currency": "EUR",
            "lines": [
                OrderLine(line=line, item=item, quantity=quantity, unit_price=Decimal(10))
                for line, (item, quantity) in self.lines.items()
            ],
        }


@dataclass
class WorkOrder:
    """A plan on the shop floor."""

    plan: PlanReleased
    quantity: Decimal
    work_order_id: UUID = field(default_factory=new_id)
    version: int = 1
    good: Decimal = Decimal(0)

    def facts(self) -> dict[str, Any]:
        """What every work order event says."""
        self.version += 1
        return {
            "aggregate_version": self.version,
            "work_order_id": self.work_order_id,
            "work_order": f"WO-{self.plan.plan}",
            "plan_id": self.plan.plan_id,
            "item": self.plan.item,
            "quantity": self.quantity,
            "good": self.good,
            "scrap": max(self.quantity - self.good, Decimal(0)),
            "percent": 0,
            "pegs": self.plan.pegs,
        }


class Factory:
    """Drives the service under test."""

    def __init__(self, database: Database, client: httpx.AsyncClient) -> None:
        self.database = database
        self.client = client
        self.consumer = SERVICE.consumers[0]
        self._numbers = itertools.count(1)
        self.prefix = "SO"
        self._work_orders: dict[UUID, WorkOrder] = {}

    async def buy(self, item: str, *, lead_time_days: int = 6, supplier: str = "SUP-A", cost: str = "2.00") -> None:
        """Define a bought item."""
        await self.post(
            "/v1/items",
            item=item,
            name=item,
            unit="pcs",
            source="buy",
            price=cost,
            standard_cost=cost,
            lead_time_days=lead_time_days,
            supplier=supplier,
        )

    async def make(
        self, item: str, components: dict[str, str], *, cost: str = "9.00", minutes: str = "0.6", setup: str = "0"
    ) -> None:
        """Define a made item with one operation."""
        await self.post(
            "/v1/items",
            item=item,
            name=item,
            unit="pcs",
            source="make",
            price="20",
            standard_cost=cost,
            components=[{"item": used, "quantity": quantity} for used, quantity in components.items()],
            routing=[{"operation": 10, "work_center": "WC", "setup_minutes": setup, "minutes_per_unit": minutes}],
        )

    async def stock(self, item: str, quantity: int | str, lot: str | None = None) -> None:
        """Put opening stock in."""
        await self.post("/v1/stock/receipts", item=item, quantity=str(quantity), lot=lot or f"{item}-0")

    def order(self, *wanted: tuple[str, int | str], days: int = 5, priority: int = 50, customer: str = "C-77") -> Order:
        """An order for items and quantities, not placed yet."""
        lines = {line: (item, Decimal(quantity)) for line, (item, quantity) in enumerate(wanted, start=1)}
        number = f"{self.prefix}-{next(self._numbers):06d}"
        return Order(number, customer, priority, now().date() + timedelta(days=days), lines)

    def placed(self, order: Order) -> OrderPlaced:
        """The order is placed."""
        return OrderPlaced(**order.state(), placed_at=now())

    async def place(self, *wanted: tuple[str, int | str], **how: Any) -> Order:
        """A customer places an order."""
        order = self.order(*wanted, **how)
        await self.happened(self.placed(order))
        return order

    async def amend(self, order: Order, *wanted: tuple[str, int | str]) -> None:
        """The customer changes the lines."""
        order.version += 1
        order.lines = {line: (item, Decimal(quantity)) for line, (item, quantity) in enumerate(wanted, start=1)}
        await self.happened(OrderAmended(**order.state(), changed=["lines"]))

    async def cancel(self, order: Order) -> None:
        """The customer withdraws the order."""
        order.version += 1
        event = OrderCancelled(
            aggregate_version=order.version, order_id=order.order_id, number=order.number, reason="changed my mind"
        )
        await self.happened(event)

    async def happened(self, *events: DomainEvent, event_id: UUID | None = None) -> list[UUID]:
        """Events reach the service, one transaction each; all that must hold holds after each."""
        ids = []
        for event in events:
            ids += await self.deliver(event, event_id)
        await self.check()
        return ids

    async def deliver(self, event: DomainEvent, event_id: UUID | None = None) -> list[UUID]:
        """An event reaches the service."""
        return await deliver(self.database, self.consumer, event, event_id=event_id)

    async def post(self, path: str, expect: int = 201, **body: Any) -> dict[str, Any]:
        """POST and return the answer; it must have the expected status."""
        answer = await self.client.post(path, json=body or None)
        assert answer.status_code == expect, answer.text
        return dict(answer.json())

    async def get(self, path: str, **filters: str) -> dict[str, Any]:
        """GET and return the answer."""
        answer = await self.client.get(path, params=filters)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def balance(self, item: str) -> dict[str, Decimal]:
        """On hand, reserved, held and available of an item."""
        found = await self.get(f"/v1/stock/{item}")
        return {name: Decimal(found[name]) for name in ("on_hand", "reserved", "held", "available")}

    async def plans(self, item: str) -> list[PlanReleased]:
        """Plans released for an item, oldest first."""
        return [plan for plan in await published(self.database, PlanReleased) if plan.item == item]

    async def last(self, kind: type[Any], matches: Callable[[Any], bool] = lambda _: True) -> Any:
        """The newest published event of a kind that matches."""
        return [event for event in await published(self.database, kind) if matches(event)][-1]

    async def progress(self, order: Order) -> FulfilmentChanged:
        """What was last said of an order's fulfilment."""
        found = await self.last(FulfilmentChanged, lambda e: e.order_id == order.order_id)
        assert isinstance(found, FulfilmentChanged)
        return found

    async def promises(self, order: Order) -> list[OrderPromised | PromiseRevised]:
        """What the customer was promised, oldest first."""
        said = [*await published(self.database, OrderPromised), *await published(self.database, PromiseRevised)]
        return sorted((p for p in said if p.order_id == order.order_id), key=lambda p: p.aggregate_version)

    async def shipment(self, order: Order) -> dict[str, Any]:
        """The newest shipment of an order."""
        found = await self.get(f"/v1/orders/{order.number}/shipments")
        return dict(found["items"][-1])

    def work_order(self, plan: PlanReleased) -> WorkOrder:
        """The work order of a plan."""
        return self._work_orders.setdefault(plan.plan_id, WorkOrder(plan, plan.quantity))

    def batch(self, plan: PlanReleased, good: int | str, lot: str, *, held: bool = False) -> BatchCompleted:
        """A batch of a plan's work order."""
        work = self.work_order(plan)
        work.good += Decimal(good)
        return BatchCompleted(
            aggregate_version=1,
            batch_id=new_id(),
            batch=f"B-{lot}",
            plan_id=plan.plan_id,
            work_order_id=work.work_order_id,
            work_order=f"WO-{plan.plan}",
            item=plan.item,
            good=Decimal(good),
            scrap=Decimal(0),
            lots_out=[ProducedLot(lot=lot, quantity=Decimal(good))],
            inputs=[],
            bom_version=plan.bom_version,
            qc_state="held" if held else "released",
            pegs=plan.pegs,
        )

    def consumed(self, plan: PlanReleased, *used: tuple[str, str, int | str]) -> MaterialConsumed:
        """Lots (item, lot, quantity) went into a plan's work order."""
        return MaterialConsumed(
            **self.work_order(plan).facts(),
            operation_id=new_id(),
            consumed=[ConsumedLot(item=i, lot=lot, quantity=Decimal(quantity)) for i, lot, quantity in used],
            backflushed=True,
        )

    def completed(self, plan: PlanReleased) -> WorkOrderCompleted:
        """The work order of a plan is done with what it made so far."""
        return WorkOrderCompleted(**self.work_order(plan).facts(), batches=1)

    def changed(self, answered: PlanChanged | PlanCancelled, quantity: int | str, outcome: Any) -> WorkOrderChanged:
        """The shop floor's answer to a changed plan."""
        work = self._work_orders[answered.plan_id]
        work.quantity = Decimal(quantity)
        return WorkOrderChanged(**work.facts(), plan_version=answered.aggregate_version, outcome=outcome)

    def withdrawn(self, plan: PlanReleased) -> WorkOrderCancelled:
        """Unstarted work was withdrawn."""
        reason = Reason(code="PLAN_CANCELLED", text="the plan was cancelled")
        return WorkOrderCancelled(**self.work_order(plan).facts(), reason=reason)

    def scheduled(self, plan: PlanReleased, end: datetime | None, reason: Reason) -> WorkOrderScheduled:
        """The shop floor's schedule of a plan."""
        return WorkOrderScheduled(**self.work_order(plan).facts(), planned_end=end, operations=[], reason=reason)

    def lot(
        self, kind: type[LotHeld | LotReleased | LotScrapped], item: str, lot: str, version: int = 1
    ) -> DomainEvent:
        """A quality decision about a lot."""
        reason = Reason(code="DEFECT", text=f"{lot} failed inspection", event_id=str(UUID(int=99)))
        return kind(aggregate_version=version, lot=lot, item=item, reason=reason)

    async def check(self) -> None:
        """Everything that must hold between transactions holds, and the books balance."""
        async with self.database.read() as reader:
            assert await planning_invariants(reader) == []
            assert await shipment_invariants(reader) == []
        assert (await self.get("/v1/ledger/trial-balance"))["balanced"]


@pytest.fixture
def open_factory(database_url: str, issuer: TestIssuer) -> Callable[[], AbstractAsyncContextManager[Factory]]:
    """Opens a factory on the test's database in the running event loop."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Factory]:
        scopes = ("items:write", "stock:read", "stock:write", "purchasing:read", "purchasing:write", "finance:read")
        token = issuer.token(*scopes, "shipping:read", "shipping:write", "production:read", "orders:read", seconds=3600)
        client, context = client_of(SERVICE, database_url, issuer, token)
        async with client:
            yield Factory(context.database, client)
        await context.database.dispose()

    return opened


@pytest_asyncio.fixture
async def factory(database: Database, client: httpx.AsyncClient) -> AsyncIterator[Factory]:
    """The factory, and a last check that all is well."""
    opened = Factory(database, client)
    yield opened
    await opened.check()

"""The life of customer orders in CRM, ERP, MES and the gateway, whatever is done when and heard of in which order.

Returns are not part of Orderloop yet, so no rule returns goods.
"""

from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from sqlalchemy import func, select

from chassis.clock import now
from crm.notifications.tables import notification
from crm.orders.tables import customer_order
from erp.fulfilment.queries import invariants as shipment_invariants
from erp.inventory.tables import stock_ledger, stock_lot
from erp.planning.queries import invariants as planning_invariants
from gateway.status import queries as status_queries
from gateway.status import rules as status_rules
from mes.scheduling import worker
from mes.traceability.tables import lot as mes_lot
from models.bus import Bus
from models.machines import AsyncMachine, choices, run_machine

quantities = st.integers(1, 6)
# Which streams are heard of after a step, and how many events of each.
heard = st.lists(st.tuples(choices, st.integers(1, 3)), max_size=6)
Hearing = list[tuple[int, int]]
_examples = count(1)
_RANKS = ("placed", "promised", "planned", "in_production", "completed", "cancelled", "shipped", "delivered", "closed")


@dataclass
class Order:
    """What the customer asked for and was told, as CRM's own answers say."""

    number: str
    id: str
    version: int
    lines: dict[int, tuple[str, Decimal]]
    cancelled: bool = False
    ranks: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class OrderLife(AsyncMachine):
    """Customers, planners, suppliers, the shop floor and the warehouse, at random."""

    def __init__(self, urls: dict[str, str], keys: Path) -> None:
        super().__init__()
        self.example = next(_examples)
        self.stack = AsyncExitStack()
        self.bus = self.run(Bus.open(self.stack, urls, keys))
        self.orders: list[Order] = []
        self.lots = count(1)
        self.looks = 0

    def item(self, kind: str) -> str:
        return f"{kind}-{self.example}"

    def call(self, service: str, method: str, path: str, **how: Any) -> Any:
        return self.run(self.bus.call(service, method, f"/v1{path}", **how))

    def done(self, service: str, path: str, **body: Any) -> dict[str, Any]:
        """A write that must succeed."""
        answer = self.call(service, "POST", path, json=body)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def items(self, service: str, path: str, **filters: Any) -> list[dict[str, Any]]:
        return list(self.call(service, "GET", path, params={**filters, "limit": 200}).json()["items"])

    @initialize()
    def define(self) -> None:
        """TOP of one SUB and one RAW in two operations, SUB of two RAW in one."""
        step = {"work_center": self.item("WC"), "setup_minutes": "1", "minutes_per_unit": "1"}
        self.done("erp", "/items", item=self.item("RAW"), source="buy", standard_cost=1, price=1, lead_time_days=1)
        for kind, components, steps in (("SUB", {"RAW": 2}, (10,)), ("TOP", {"SUB": 1, "RAW": 1}, (10, 20))):
            used = [{"item": self.item(name), "quantity": quantity} for name, quantity in components.items()]
            routing = [{"operation": number, **step} for number in steps]
            self.done("erp", "/items", item=self.item(kind), source="make", price=9, components=used, routing=routing)
        self.done("crm", "/customers", number=self.item("C"), name="A customer")
        self.run(self.bus.deliver_all())

    # What customers do.

    @rule(
        kinds=st.lists(st.sampled_from(["RAW", "SUB", "TOP", "TOP"]), min_size=1, max_size=2),
        quantity=quantities,
        hear=heard,
    )
    def place(self, kinds: list[str], quantity: int, hear: Hearing) -> None:
        lines = [{"item": self.item(kind), "quantity": quantity} for kind in kinds]
        body = {"customer": self.item("C"), "requested_date": now().date().isoformat(), "lines": lines}
        made = self.done("crm", "/orders", **body)
        self.orders.append(Order(made["number"], made["id"], 1, self.lines_of(made)))
        self.hear(hear)

    @precondition(lambda self: self.orders)
    @rule(which=choices, quantity=quantities, kind=st.sampled_from([None, "RAW", "TOP"]), hear=heard)
    def amend(self, which: int, quantity: int, kind: str | None, hear: Hearing) -> None:
        """Another quantity on the first line, perhaps one more line, the others withdrawn."""
        order = self.orders[which % len(self.orders)]
        number, (item, _) = min(order.lines.items())
        lines = [{"line": number, "item": item, "quantity": quantity}]
        lines += [{"line": number + 100, "item": self.item(kind), "quantity": 1}] if kind else []
        headers = {"If-Match": f'"{order.version}"'}
        answer = self.call("crm", "PATCH", f"/orders/{order.number}", json={"lines": lines}, headers=headers)
        if answer.status_code == 200:
            assert not order.cancelled
            order.version, order.lines = answer.json()["version"], self.lines_of(answer.json())
        else:
            # Another item under a line's number; too late; or CRM took back what came too late.
            assert answer.status_code in (409, 412, 422), answer.text
        self.hear(hear)

    @precondition(lambda self: self.orders)
    @rule(which=choices, hear=heard)
    def cancel(self, which: int, hear: Hearing) -> None:
        order = self.orders[which % len(self.orders)]
        answer = self.call("crm", "POST", f"/orders/{order.number}/cancel", json={"reason": "no need"})
        state = self.call("crm", "GET", f"/orders/{order.number}").json()["state"]
        if answer.status_code == 200:
            assert not order.cancelled
            assert state == "cancelled"
            order.cancelled = True
        else:
            assert answer.status_code == 409
            assert state in ("cancelled", "shipped", "delivered", "closed")
        self.hear(hear)

    # What people in the plant do.

    @rule(kind=st.sampled_from(["RAW", "SUB", "TOP"]), quantity=quantities, hear=heard)
    def receive_stock(self, kind: str, quantity: int, hear: Hearing) -> None:
        self.done("erp", "/stock/receipts", item=self.item(kind), quantity=quantity, lot=self.new_lot())
        self.hear(hear)

    @rule(which=choices, quantity=quantities, hear=heard)
    def receive_purchase(self, which: int, quantity: int, hear: Hearing) -> None:
        if waiting := self.open_purchases():
            self.receive(waiting[which % len(waiting)], Decimal(quantity))
        self.hear(hear)

    @rule(which=choices, good=quantities, scrap=st.sampled_from([0, 0, 1]), done=st.booleans(), hear=heard)
    def produce(self, which: int, good: int, scrap: int, done: bool, hear: Hearing) -> None:
        """Start an operation, or report something of one that runs."""
        self.run(self.bus.databases["mes"].write(worker.reschedule))
        self.hear(hear)
        if not (operations := self.operations()):
            return
        operation = operations[which % len(operations)]
        if operation["state"] != "running":
            self.done("mes", f"/operations/{operation['id']}/start")
            return
        left = Decimal(operation["quantity"]) - Decimal(operation["good"]) - Decimal(operation["scrap"])
        scrapped = min(Decimal(scrap), left)
        body = {"good": str(min(Decimal(good), left - scrapped)), "scrap": str(scrapped), "done": done and good > 4}
        if Decimal(body["good"]) or scrapped or body["done"]:
            self.done("mes", f"/operations/{operation['id']}/reports", **body)

    @rule(which=choices, verb=st.sampled_from(["hold", "release", "release", "scrap"]), hear=heard)
    def decide_on_lot(self, which: int, verb: str, hear: Hearing) -> None:
        lots = [lot for kind in ("RAW", "SUB", "TOP") for lot in self.items("mes", "/lots", item=self.item(kind))]
        if lots:
            lot = lots[which % len(lots)]["lot"]
            answer = self.call("mes", "POST", f"/lots/{lot}/{verb}", json={"reason": "looked at it"})
            assert answer.status_code in (200, 409), answer.text
        self.hear(hear)

    @rule(which=choices, deliver=st.booleans(), hear=heard)
    def ship(self, which: int, deliver: bool, hear: Hearing) -> None:
        if planned := self.shipments("planned"):
            path = f"/shipments/{planned[which % len(planned)]['number']}"
            answer = self.call("erp", "POST", f"{path}/ship")
            assert answer.status_code == 200 or answer.json()["code"] in ("lot_held", "not_allocated"), answer.text
            if answer.status_code == 200 and deliver:
                self.done("erp", f"{path}/deliver")
        self.hear(hear)

    # What Kafka does.

    def hear(self, hearing: Hearing) -> None:
        self.run(self.bus.relay())
        for which, how_many in hearing:
            if places := self.bus.pending():
                self.run(self.bus.deliver(places[which % len(places)], how_many))

    @precondition(lambda self: self.bus.pending())
    @rule(group=st.sampled_from(["crm.order-state", "erp.loop", "mes.plans", "mes.lots", "gateway.order-status"]))
    def hear_all_of_a_group(self, group: str) -> None:
        for place in self.bus.pending():
            if place.group == group:
                self.run(self.bus.deliver(place, 100))

    @precondition(lambda self: any(self.bus.places.values()))
    @rule(pick=choices, which=choices)
    def hear_again(self, pick: int, which: int) -> None:
        heard = sorted(place for place, position in self.bus.places.items() if position)
        self.run(self.bus.deliver_again(heard[pick % len(heard)], which))

    # What always holds.

    @invariant()
    def books_and_promises_hold(self) -> None:
        self.run(self.check())

    async def check(self) -> None:
        async with self.bus.databases["erp"].read() as reader:
            assert await planning_invariants(reader) == []
            assert await shipment_invariants(reader) == []
        async with self.bus.databases["crm"].read() as reader:
            query = select(customer_order.c.number, customer_order.c.state)
            states = {row["number"]: row["state"] for row in await reader.all(query)}
        self.looks += 1
        for number, order in enumerate(self.orders):
            self.must_not_go_back(order, "crm", states[order.number])
            if number == self.looks % len(self.orders) and (view := await self.view(order)):
                self.must_not_go_back(order, "gateway", view.stage)

    def must_not_go_back(self, order: Order, where: str, state: str) -> None:
        rank = _RANKS.index(state)
        assert rank >= order.ranks[where], f"{order.number} in {where} went back to {state}"
        order.ranks[where] = rank

    def teardown(self) -> None:
        """When everybody does what is asked for, every order gets to its end, and all agree on it."""
        try:
            self.drain()
            self.run(self.check())
            for order in self.orders:
                self.run(self.check_end(order))
            self.run(self.check_stock())
        finally:
            self.run(self.stack.aclose())
            self.runner.close()

    def drain(self) -> None:
        for _ in range(60):
            self.run(self.bus.deliver_all())
            self.run(self.bus.databases["mes"].write(worker.reschedule))
            self.run(self.bus.relay())
            worked = self.work()
            self.run(self.bus.deliver_all())
            if not worked and not self.open_purchases() and not self.shipments("planned", "shipped"):
                return
        raise AssertionError("the plant does not come to rest")

    def work(self) -> bool:
        """Everybody does all they can; whether there was anything."""
        did = False
        for kind in ("RAW", "SUB", "TOP"):
            for lot in self.items("mes", "/lots", item=self.item(kind), status="held"):
                self.done("mes", f"/lots/{lot['lot']}/release", reason="it is good")
                did = True
        for order in self.open_purchases():
            self.receive(order, Decimal(1000))
            did = True
        for operation in self.operations():
            if operation["state"] in ("ready", "paused"):
                self.done("mes", f"/operations/{operation['id']}/start")
                operation["state"] = "running"
            if operation["state"] == "running":
                left = Decimal(operation["quantity"]) - Decimal(operation["good"]) - Decimal(operation["scrap"])
                self.done("mes", f"/operations/{operation['id']}/reports", good=str(left), done=True)
                did = True
        for shipment in self.shipments("planned"):
            answer = self.call("erp", "POST", f"/shipments/{shipment['number']}/ship")
            did = did or answer.status_code == 200
        for shipment in self.shipments("shipped"):
            self.done("erp", f"/shipments/{shipment['number']}/deliver")
            did = True
        return did

    async def check_end(self, order: Order) -> None:
        """CRM, ERP and the gateway tell the same end of an order."""
        known = (await self.bus.clients["crm"].get(f"/v1/orders/{order.id}")).json()
        view = await self.view(order)
        assert view is not None
        assert known["state"] in (("cancelled", "closed") if order.cancelled else ("closed",)), order
        assert view.stage == known["state"]
        wanted = {line["line"]: Decimal(line["quantity"]) for line in known["lines"]}
        shipped = {line.line: line.shipped for line in view.lines if line.shipped}
        assert shipped == (wanted if known["state"] == "closed" else {}), order
        answer = await self.bus.clients["erp"].get(f"/v1/orders/{order.number}/shipments")
        left: dict[int, Decimal] = defaultdict(Decimal)
        for shipment in answer.json()["items"]:
            for line in shipment["lines"] if shipment["state"] == "delivered" else ():
                left[line["line"]] += Decimal(line["quantity"])
        assert dict(left) == shipped
        told = select(notification.c.milestone).where(notification.c.order == order.number)
        async with self.bus.databases["crm"].read() as reader:
            milestones = [row["milestone"] for row in await reader.all(told)]
        once = [m for m in milestones if m not in ("promise_revised", "amended_too_late")]
        assert len(once) == len(set(once)), milestones

    async def check_stock(self) -> None:
        """The ledger explains what is on hand, and MES knows the same lots to hold the same quantities."""
        names = [self.item(kind) for kind in ("RAW", "SUB", "TOP")]
        ledger = select(stock_ledger.c.lot, func.sum(stock_ledger.c.quantity).label("quantity"))
        async with self.bus.databases["erp"].read() as reader:
            query = select(stock_lot.c.lot, stock_lot.c.quantity).where(stock_lot.c.item.in_(names))
            in_erp = {row["lot"]: row["quantity"] for row in await reader.all(query)}
            query = ledger.where(stock_ledger.c.item.in_(names)).group_by(stock_ledger.c.lot)
            assert in_erp == {row["lot"]: row["quantity"] for row in await reader.all(query)}
        async with self.bus.databases["mes"].read() as reader:
            query = select(mes_lot.c.lot, mes_lot.c.quantity).where(mes_lot.c.item.in_(names))
            in_mes = {row["lot"]: row["quantity"] for row in await reader.all(query)}
        assert in_mes == in_erp

    async def view(self, order: Order) -> status_rules.Status | None:
        """The order as the gateway's projection shows it; None while it has not heard of it."""
        async with status_queries.snapshot(self.bus.databases["gateway"]) as reader:
            fact = await status_queries.order_by(reader, order.id)
            return status_rules.status((await status_queries.gather(reader, fact)).facts) if fact else None

    def receive(self, order: dict[str, Any], quantity: Decimal) -> None:
        open_lines = [line for line in order["lines"] if Decimal(line["quantity"]) > Decimal(line["received"])]
        lines = [
            {
                "line": line["line"],
                "quantity": str(min(quantity, Decimal(line["quantity"]) - Decimal(line["received"]))),
                "lot": self.new_lot(),
            }
            for line in open_lines
        ]
        self.done("erp", f"/purchase-orders/{order['number']}/receipts", lines=lines)

    def open_purchases(self) -> list[dict[str, Any]]:
        return [
            order
            for state in ("sent", "part_received")
            for order in self.items("erp", "/purchase-orders", state=state, item=self.item("RAW"))
        ]

    def operations(self) -> list[dict[str, Any]]:
        """Operations of this example that are not done."""
        found = self.items("mes", "/operations", work_center=self.item("WC"))
        return [o for o in found if o["state"] not in ("done", "cancelled", "waiting")]

    def shipments(self, *states: str) -> list[dict[str, Any]]:
        mine = {order.number for order in self.orders}
        found = [shipment for state in states for shipment in self.items("erp", "/shipments", state=state)]
        return [shipment for shipment in found if shipment["order"] in mine]

    def new_lot(self) -> str:
        return f"L-{self.example}-{next(self.lots)}"

    @staticmethod
    def lines_of(record: dict[str, Any]) -> dict[int, tuple[str, Decimal]]:
        return {line["line"]: (line["item"], Decimal(line["quantity"])) for line in record["lines"]}


def test_every_order_gets_to_its_end_and_all_services_agree(urls: dict[str, str], tmp_path: Path) -> None:
    """Whatever happens, and in whatever order it is heard of."""
    run_machine(lambda: OrderLife(urls, tmp_path), examples=6, steps=25)

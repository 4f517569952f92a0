"""MES's work orders against a model: what may be done when, and where every piece is."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from chassis.clock import new_id, now
from chassis.testing import deliver
from contracts.envelope import Reason
from contracts.erp import PlanCancelled, PlanChanged, PlanReleased
from contracts.mes import BatchCompleted, WorkOrderEvent
from mes.scheduling import worker
from mes.service import PLANS
from models.bus import Bus
from models.machines import AsyncMachine, run_machine

# Some reports have a fraction of a piece: bulk goods are made too.
pieces = st.sampled_from(["0", "1", "2", "3", "0.5", "12"]).map(Decimal)
portions = st.sampled_from(["1", "0.5", "0.3"]).map(Decimal)
waste = st.sampled_from([0, 0, 0, 1]).map(Decimal)
# Most often the operation that is next, sometimes any.
which_step = st.sampled_from([None, None, None, 0, 1, 2])
machine_states = st.sampled_from(["down", "idle", "idle", "maintenance"])
_PLANNING = ("machine_enters", "reschedule", "change_plan", "cancel_plan")
_ACTIONS = (*["go_on"] * 6, "start", "pause", "report", "report", *_PLANNING)
_examples = count(1)
Draw = Callable[[st.SearchStrategy[Any]], Any]
_ZERO = Decimal(0)


@dataclass
class Step:
    """An operation as the model knows it."""

    id: str
    state: str
    quantity: Decimal
    good: Decimal = _ZERO
    scrap: Decimal = _ZERO
    rework: Decimal = _ZERO
    machine: str | None = None

    @property
    def left(self) -> Decimal:
        return self.quantity - self.good - self.scrap


@dataclass
class Work:
    """The work order as the model knows it."""

    plan: PlanReleased
    quantity: Decimal
    state: str = "created"
    plan_version: int = 1
    steps: list[Step] = field(default_factory=list)
    batches: list[Decimal] = field(default_factory=list)


class WorkOrderLife(AsyncMachine):
    """Operators and machines, and a planner who changes his mind, on one work order of three operations."""

    def __init__(self, urls: dict[str, str], keys: Path) -> None:
        super().__init__()
        self.example = next(_examples)
        self.stack = AsyncExitStack()
        self.bus = self.run(Bus.open(self.stack, urls, keys))
        self.down: set[str] = set()

    def post(self, path: str, **body: Any) -> tuple[int, str]:
        """Status and code of the answer."""
        answer = self.run(self.bus.clients["mes"].post(f"/v1{path}", json=body))
        assert answer.status_code < 500, answer.text
        problem = answer.json() if answer.status_code >= 400 else {}
        return answer.status_code, problem["errors"][0]["rule"] if problem.get("errors") else problem.get("code", "")

    def get(self, path: str) -> dict[str, Any]:
        return dict(self.run(self.bus.clients["mes"].get(f"/v1{path}")).json())

    def machine(self, number: int) -> str:
        return f"M{number}-{self.example}"

    @initialize(quantity=st.integers(3, 10))
    def release(self, quantity: int) -> None:
        """Three operations: on two machines, on the same two, by hand."""
        center, by_hand = f"WC-{self.example}", f"HAND-{self.example}"
        assert self.post("/work-centers", work_center=center) == (201, "")
        for number in (1, 2):
            assert self.post("/machines", machine=self.machine(number), work_center=center) == (201, "")
        step = {"setup_minutes": "0", "minutes_per_unit": "1"}
        plan = PlanReleased.model_validate(
            {
                "aggregate_version": 1,
                "plan_id": new_id(),
                "plan": f"PL-{self.example:06d}",
                "item": f"MADE-{self.example}",
                "quantity": quantity,
                "unit": "pcs",
                "due": now() + timedelta(days=5),
                "priority": 50,
                "material_status": "ready",
                "bom_version": 1,
                "routing_version": 1,
                "components": [],
                "routing": [
                    {"operation": number, "work_center": place, **step}
                    for number, place in ((10, center), (20, center), (30, by_hand))
                ],
            }
        )
        self.tell(plan)
        self.work = Work(plan, Decimal(quantity))
        first, *others = self.shown()["operations"]
        self.work.steps = [Step(first["id"], "ready", Decimal(quantity))]
        self.work.steps += [Step(other["id"], "waiting", Decimal(quantity)) for other in others]

    # One rule, so that every example has its share of going on.

    @rule(action=st.sampled_from(_ACTIONS), data=st.data())
    def act(self, action: str, data: st.DataObject) -> None:
        getattr(self, action)(data.draw)

    # Operators.

    def step_of(self, number: int | None) -> int:
        """The number given, else that of the first operation that is not done."""
        if number is not None:
            return number
        return next((n for n, step in enumerate(self.work.steps) if step.state != "done"), 2)

    def go_on(self, draw: Draw) -> None:
        """The next thing to do: start the next operation, or report some of it."""
        number = self.step_of(None)
        step = self.work.steps[number]
        if step.state != "running":
            self.try_start(number, "start", None)
        else:
            good = (step.left * draw(portions)).quantize(Decimal("0.1"), ROUND_DOWN)
            scrap = min(draw(waste), step.left - good)
            self.try_report(number, good, scrap, min(draw(waste), step.left - good - scrap), False)

    def start(self, draw: Draw) -> None:
        number = self.step_of(draw(which_step))
        self.try_start(number, draw(st.sampled_from(["start", "resume"])), draw(st.sampled_from([None, 1, 2])))

    def try_start(self, number: int, verb: str, machine: int | None) -> None:
        step = self.work.steps[number]
        named = self.machine(machine) if machine else None
        status, code = self.post(f"/operations/{step.id}/{verb}", machine=named)
        allowed = ("ready", "paused") if verb == "start" else ("paused",)
        if number == 2 and named:
            assert (status, code) == (422, "other_work_center")
        elif step.state not in allowed:
            assert (status, code) == (409, "wrong_state")
        elif number < 2 and (named in self.down or len(self.down) == 2):
            assert (status, code) == (409, "machine_unavailable")
        else:
            assert (status, code) == (200, "")
            step.state = self.work.state = "running"
            step.machine = self.get(f"/operations/{step.id}")["machine"]
            assert step.machine not in self.down
            assert named in (None, step.machine)

    def pause(self, draw: Draw) -> None:
        step = self.work.steps[self.step_of(draw(which_step))]
        running = step.state == "running"
        assert self.post(f"/operations/{step.id}/pause") == ((200, "") if running else (409, "wrong_state"))
        step.state = "paused" if running else step.state

    def report(self, draw: Draw) -> None:
        number = self.step_of(draw(which_step))
        self.try_report(number, draw(pieces), draw(pieces), draw(pieces), draw(st.integers(0, 3)) == 0)

    def try_report(self, number: int, good: Decimal, scrap: Decimal, rework: Decimal, done: bool) -> None:
        step = self.work.steps[number]
        body = {"good": str(good), "scrap": str(scrap), "rework": str(rework), "done": done}
        answer = self.post(f"/operations/{step.id}/reports", **body)
        if not (good or scrap or rework or done):
            assert answer[0] == 422
        elif step.state != "running":
            assert answer == (409, "wrong_state")
        elif good + scrap + rework > step.left:
            assert answer == (422, "exceeds_started")
        else:
            assert answer == (201, "")
            self.reported(number, good, scrap, rework, done)

    def reported(self, number: int, good: Decimal, scrap: Decimal, rework: Decimal, done: bool) -> None:
        step, following = self.work.steps[number], self.work.steps[number + 1 :]
        step.good, step.scrap, step.rework = step.good + good, step.scrap + scrap, step.rework + rework
        if not following and good:
            self.work.batches.append(good)
        if not (done or step.left == 0):
            return
        step.state = "done"
        ended = not following or step.good == 0
        for later in following:
            later.quantity, later.state = step.good, "done" if ended else later.state
        if ended:
            self.work.state = "completed"
        else:
            following[0].state = "ready"

    # Machines.

    def machine_enters(self, draw: Draw) -> None:
        """A machine that stops pauses what it ran; one that is back does not resume by itself."""
        code, state = self.machine(draw(st.sampled_from([1, 2]))), draw(machine_states)
        assert self.post(f"/machines/{code}/state", state=state) == (200, "")
        if state == "idle":
            self.down.discard(code)
            return
        self.down.add(code)
        for step in self.work.steps:
            if step.state == "running" and step.machine == code:
                step.state, step.machine = "paused", None

    def reschedule(self, _draw: Draw) -> None:
        """Schedules move times and machines of what is not running, and nothing else."""
        self.run(self.bus.databases["mes"].write(worker.reschedule))
        self.work.state = "scheduled" if self.work.state == "created" else self.work.state

    # The planner.

    def change_plan(self, draw: Draw) -> None:
        """Unstarted work takes the new quantity; started work keeps its own."""
        quantity, stale = draw(st.integers(1, 10)), draw(st.integers(0, 2)) == 0
        version = self.work.plan_version + (0 if stale else 1)
        state = self.work.plan.model_dump(exclude={"bom_version", "routing_version", "components", "routing"})
        self.tell(PlanChanged.model_validate({**state, "aggregate_version": version, "quantity": quantity}))
        if stale or self.work.state == "cancelled":
            return
        self.work.plan_version = version
        if self.work.state in ("created", "scheduled"):
            self.work.quantity = Decimal(quantity)
            for step in self.work.steps:
                step.quantity = Decimal(quantity)

    def cancel_plan(self, draw: Draw) -> None:
        """Unstarted work is withdrawn; started work goes on."""
        if self.work.state in ("created", "scheduled") and draw(st.integers(0, 5)):
            return
        self.work.plan_version += 1
        plan = self.work.plan
        event = PlanCancelled(
            aggregate_version=self.work.plan_version,
            plan_id=plan.plan_id,
            plan=plan.plan,
            item=plan.item,
            reason=Reason(code="CANCELLED", text="nobody wants it"),
        )
        self.tell(event)
        if self.work.state in ("created", "scheduled"):
            self.work.state = "cancelled"
            for step in self.work.steps:
                step.state = "cancelled"

    def tell(self, event: Any) -> None:
        """MES hears of it, and hears of it again."""
        event_id = new_id()
        for _ in range(2):
            self.run(deliver(self.bus.databases["mes"], PLANS, event, event_id=event_id))

    # What always holds.

    @invariant()
    def mes_is_as_the_model(self) -> None:
        if not hasattr(self, "work"):
            return
        shown, work = self.shown(), self.work
        assert (shown["state"], Decimal(shown["quantity"])) == (work.state, work.quantity)
        amounts = ("quantity", "good", "scrap", "rework")
        for known, step in zip(shown["operations"], work.steps, strict=True):
            assert known["state"] == step.state
            assert [Decimal(known[name]) for name in amounts] == [getattr(step, name) for name in amounts]
        last = work.steps[-1]
        assert Decimal(shown["good"]) == last.good == sum(work.batches, _ZERO)
        assert Decimal(shown["scrap"]) == sum((step.scrap for step in work.steps), _ZERO)
        assert Decimal(shown["good"]) + Decimal(shown["scrap"]) <= work.quantity
        for before, after in zip(work.steps, work.steps[1:], strict=False):
            assert after.good + after.scrap <= before.good or before.state != "done"
        running = [step.machine for step in work.steps if step.state == "running" and step.machine]
        assert len(running) == len(set(running))
        for known in self.get(f"/machines?work_center=WC-{self.example}")["items"]:
            assert (known["state"] in ("down", "maintenance")) == (known["machine"] in self.down)
            assert (known["operation"] is not None) == (known["machine"] in running)

    def teardown(self) -> None:
        """Versions told have no gap, and each batch was told once, as one lot."""
        try:
            if hasattr(self, "work"):
                self.run(self.check_events())
        finally:
            self.run(self.stack.aclose())
            self.runner.close()

    async def check_events(self) -> None:
        await self.bus.relay()
        told = self.bus.streams[WorkOrderEvent.TOPIC, self.id]
        versions = [WorkOrderEvent.model_validate_json(event.payload).aggregate_version for event in told]
        assert versions == list(range(1, len(versions) + 1))
        batches = [
            BatchCompleted.model_validate_json(event.payload)
            for stream in self.bus.streams.values()
            for event in stream
            if event.type == BatchCompleted.TYPE
        ]
        mine = [batch for batch in batches if batch.item == self.work.plan.item]
        assert [batch.good for batch in mine] == self.work.batches
        assert len({batch.lots_out[0].lot for batch in mine}) == len(mine)

    def shown(self) -> dict[str, Any]:
        answer = self.run(self.bus.clients["mes"].get("/v1/work-orders", params={"plan": f"PL-{self.example:06d}"}))
        (found,) = answer.json()["items"]
        self.id = found["id"]
        return dict(found)


def test_every_piece_of_a_work_order_is_accounted_for(urls: dict[str, str], tmp_path: Path) -> None:
    """Whatever operators, machines and planners do."""
    run_machine(lambda: WorkOrderLife(urls, tmp_path), examples=10, steps=40)

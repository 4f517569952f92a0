"""What the shop floor reports of its work orders, applied to plans, stock and the books.

Like `erp.planning.commands`: under the planning lock, and the outcome is to be followed up.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import and_, select, update

from chassis.db import Tx
from chassis.messaging.handlers import PermanentError
from contracts.envelope import Reason
from contracts.mes import (
    BatchCompleted,
    ConsumedLot,
    MaterialConsumed,
    OperationStarted,
    WorkOrderCancelled,
    WorkOrderChanged,
    WorkOrderCompleted,
    WorkOrderScheduled,
)
from erp.finance.commands import post_adjustment, post_close, post_completion, post_issue
from erp.inventory.commands import issue_many, lock_balances, receive, receive_ahead
from erp.inventory.queries import find_lots
from erp.inventory.rules import Move
from erp.planning.commands import replan
from erp.planning.plans import Plan, close, load_plans, save_plans
from erp.planning.publishing import Outcome
from erp.planning.rules import PlanState, Supply, required
from erp.planning.store import Store
from erp.planning.tables import demand, peg, production_plan, supply

# Reasons that are only told when the arrival moves.
_ORDINARY = ("SCHEDULE", "PROGRESS")
# A schedule that moves less is the same schedule.
_SCHEDULE_TOLERANCE = timedelta(minutes=1)


async def batch_completed(tx: Tx, event: BatchCompleted, event_id: UUID) -> Outcome:
    """Put a batch into stock and give it to those who wait for it.

    Raises PermanentError for a plan not ours or one of another item.
    """
    await lock_balances(tx, [event.item])
    plan = await _plan(tx, event.plan_id)
    if plan.item != event.item:
        raise PermanentError(f"plan {plan.id} makes {plan.item}, not {event.item}")
    for lot in event.lots_out:
        await receive(
            tx,
            event.item,
            lot.lot,
            lot.quantity,
            "production_receipt",
            held=event.qc_state == "held",
            source_event=event_id,
        )
    await post_completion(tx, event_id, plan.id, item=event.item, good=event.good, components=plan.components)
    store = Store(tx)
    await store.load_supplies([plan.id])
    await store.load_stock([event.item])
    output = store.book.supplies[plan.id]
    store.book.receive(output, event.good)
    if plan.state is PlanState.COMPLETED:
        await _close_when_received(store, plan, event_id)
    elif plan.state is not PlanState.CLOSED:
        _begin(plan, output)
    held = Reason(code="DEFECT", text=f"batch {event.batch} is held", event_id=str(event_id))
    return await replan(store, [event.item], {plan.id: plan}, held if event.qc_state == "held" else None)


async def material_consumed(tx: Tx, event: MaterialConsumed, event_id: UUID) -> Outcome:
    """Issue consumed lots to the plan; the books follow the shop floor where they knew of less.

    Raises PermanentError for a plan not ours or a lot of another item.
    """
    await lock_balances(tx, {used.item for used in event.consumed})
    plan = await _plan(tx, event.plan_id)
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for used in event.consumed:
        quantities[used.item] += used.quantity
    moves = await _available_moves(tx, event.consumed, event_id)
    await issue_many(tx, moves, "issue", source_event=event_id)
    await post_issue(tx, event_id, plan.id, quantities)
    store = Store(tx)
    await store.load_supplies([plan.id])
    await store.load_stock(quantities)
    for component in await store.load_demands(and_(demand.c.plan_id == plan.id, demand.c.item.in_(quantities))):
        store.book.issue(component, quantities[component.item])
    if plan.state is PlanState.RELEASED:
        _begin(plan, store.book.supplies[plan.id])
    return await replan(store, quantities, {plan.id: plan}, None)


async def work_order_completed(tx: Tx, event: WorkOrderCompleted, event_id: UUID) -> Outcome:
    """Nothing more will come than was reported good: who waits for the rest is covered anew."""
    store, plan, output = await _load(tx, event.plan_id)
    if plan.state is PlanState.CLOSED:
        return Outcome()
    short = event.good < output.quantity
    _resize(store, output, event.good)
    plan.state = PlanState.COMPLETED
    await _close_when_received(store, plan, event_id)
    scrap = Reason(
        code="SCRAP",
        text=f"{event.work_order} made {event.good} {plan.unit} of {plan.item}, {event.scrap} were scrapped",
        event_id=str(event_id),
    )
    return await replan(store, store.book.stock.keys(), {plan.id: plan}, scrap if short else None)


async def work_order_changed(tx: Tx, event: WorkOrderChanged) -> Outcome:
    """The shop floor said what will really be made; an answer to an older question is ignored."""
    store, plan, output = await _load(tx, event.plan_id)
    if event.plan_version < plan.asked_version or plan.state in (PlanState.COMPLETED, PlanState.CLOSED):
        return Outcome()
    _resize(store, output, event.quantity)
    if event.outcome == "kept":
        _begin(plan, output)
    for component in store.book.components_of(plan.id):
        if component.item in plan.components:
            store.book.resize(component, required(plan.components[component.item], output.quantity))
    return await replan(store, store.book.stock.keys(), {plan.id: plan}, None)


async def work_order_cancelled(tx: Tx, event: WorkOrderCancelled, event_id: UUID) -> Outcome:
    """The work was withdrawn: its material is free again, and who still waited for it is covered anew."""
    store, plan, output = await _load(tx, event.plan_id)
    if plan.state in (PlanState.COMPLETED, PlanState.CLOSED):
        return Outcome()
    plan.state = PlanState.CANCELLED
    _resize(store, output, Decimal(0))
    for component in store.book.components_of(plan.id):
        store.book.resize(component, component.issued)
    return await replan(store, store.book.stock.keys(), {plan.id: plan}, _caused(event.reason, event_id))


async def work_order_scheduled(tx: Tx, event: WorkOrderScheduled, event_id: UUID) -> set[UUID]:
    """Note when the shop floor will be done; the orders whose arrival that may move."""
    plan = await _plan(tx, event.plan_id)
    known, end = plan.planned_end, event.planned_end
    moved = abs(known - end) >= _SCHEDULE_TOLERANCE if known and end else known is not end
    same_reason = plan.schedule_reason is not None and plan.schedule_reason.code == event.reason.code
    if not plan.running or (same_reason and not moved):
        return set()
    plan.planned_end, plan.schedule_reason = end, _caused(event.reason, event_id)
    await save_plans(tx, [plan])
    if end is not None:
        await tx.execute(update(supply).where(supply.c.id == plan.id).values(expected=end))
    if event.reason.code in _ORDINARY and not await _decisive(tx, plan.id):
        return set()
    return {share.order_id for share in plan.facts.shares}


async def operation_started(tx: Tx, event: OperationStarted) -> None:
    """The plan is being worked on: it is not asked to shrink any more."""
    begun = update(production_plan).where(
        production_plan.c.id == event.plan_id, production_plan.c.state == PlanState.RELEASED
    )
    await tx.execute(begun.values(state=PlanState.IN_PROGRESS, updated_at=tx.now))


async def _plan(tx: Tx, plan_id: UUID) -> Plan:
    plan = (await load_plans(tx, [plan_id])).get(plan_id)
    if plan is None:
        raise PermanentError(f"plan {plan_id} is unknown")
    return plan


async def _load(tx: Tx, plan_id: UUID) -> tuple[Store, Plan, Supply]:
    """A plan, its output and who waits for it, its component demands and their stock."""
    plan = await _plan(tx, plan_id)
    store = Store(tx)
    await store.load_supplies([plan_id])
    await _load_components(store, plan)
    return store, plan, store.book.supplies[plan_id]


async def _load_components(store: Store, plan: Plan) -> None:
    components = await store.load_demands(demand.c.plan_id == plan.id)
    await store.load_stock({plan.item, *(component.item for component in components)})


async def _available_moves(tx: Tx, consumed: Sequence[ConsumedLot], event_id: UUID) -> list[Move]:
    """What can be taken out of the lots, after what the books did not know of was put in.

    A lot not received yet was produced: its receipt, overtaken by this, brings less then. Else the books are corrected.
    A lot scrapped meanwhile was written off with what had been consumed of it: only its value is put back.
    """
    lots = await find_lots(tx, [used.lot for used in consumed])
    found: dict[str, Decimal] = defaultdict(Decimal)
    moves = []
    left = {lot: row["quantity"] for lot, row in lots.items()}
    for used in consumed:
        known = lots.get(used.lot)
        if known is not None and known["item"] != used.item:
            raise PermanentError(f"lot {used.lot} is not a lot of {used.item}")
        missing = max(used.quantity - left.get(used.lot, Decimal(0)), Decimal(0))
        left[used.lot] = max(left.get(used.lot, Decimal(0)) - used.quantity, Decimal(0))
        scrapped = known is not None and known["status"] == "scrapped"
        on_its_way = known is None or known["received_at"] is None
        if missing > 0 and (scrapped or not on_its_way):
            found[used.item] += missing
        if scrapped:
            continue
        if missing > 0 and on_its_way:
            await receive_ahead(tx, used.item, used.lot, missing, source_event=event_id)
        elif missing > 0:
            await receive(tx, used.item, used.lot, missing, "correction", source_event=event_id)
        moves.append(Move(used.item, used.lot, used.quantity))
    if found:
        await post_adjustment(tx, event_id, found)
    return moves


async def _decisive(tx: Tx, plan_id: UUID) -> bool:
    """Whether a plan's end decides when an order arrives: the schedule of a plan above it counts it already."""
    above = production_plan.alias("above")
    waiting = (
        select(peg.c.demand_id)
        .join(demand, demand.c.id == peg.c.demand_id)
        .outerjoin(above, above.c.id == demand.c.plan_id)
        .where(peg.c.supply_id == plan_id, peg.c.quantity > 0, above.c.planned_end.is_(None))
    )
    return await tx.scalar(waiting.limit(1)) is not None


def _begin(plan: Plan, output: Supply) -> None:
    if plan.state in (PlanState.RELEASED, PlanState.CANCELLED):
        plan.state = PlanState.IN_PROGRESS
    output.shrinkable = False


def _resize(store: Store, output: Supply, quantity: Decimal) -> None:
    output.quantity = max(quantity, output.received)
    store.book.trim(output)


async def _close_when_received(store: Store, plan: Plan, event_id: UUID) -> None:
    """Close a completed plan once its output is in: unused material is free again, what cost more is variance."""
    output = store.book.supplies[plan.id]
    if output.open > 0:
        return
    await _load_components(store, plan)
    for component in store.book.components_of(plan.id):
        store.book.resize(component, component.issued)
    await post_close(store.tx, event_id, plan.id)
    close(store.tx, plan, output.quantity, output.received)


def _caused(reason: Reason, event_id: UUID) -> Reason:
    return reason.model_copy(update={"event_id": reason.event_id or str(event_id)})

"""The end of every planning transaction: plans are brought up to their pegs, published, and everything is saved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from contracts.envelope import Reason
from erp.planning.pegging import OrderShare, PlanFacts, facts_of, rank_components, shares_of
from erp.planning.plans import Plan, change, load_facts, load_plans, plans_below, release, save_plans
from erp.planning.rules import Requisition, SupplyKind
from erp.planning.store import Store
from erp.planning.tables import demand


@dataclass(frozen=True)
class Purchase:
    """A requisition and the orders that wait for it."""

    requisition: Requisition
    shares: tuple[OrderShare, ...]


@dataclass
class Outcome:
    """What a planning transaction touched, for purchasing and the order processes to follow up."""

    orders: set[UUID] = field(default_factory=set)
    # Why, for orders that lost stock or supply they counted on, and for the order that was amended.
    causes: dict[UUID, Reason] = field(default_factory=dict)
    # Items whose stock moved or changed hands: picks in their lots may be broken.
    items: set[str] = field(default_factory=set)
    purchases: list[Purchase] = field(default_factory=list)


async def publish(store: Store, given: Mapping[UUID, Plan], reason: Reason | None) -> Outcome:
    """Derive, publish and save what the book decided, and save the `given` plans the caller loaded and changed."""
    _shrink(store)
    new = {decided.supply.id: decided for decided in store.book.plans}
    touched = await _touched(store, new.keys())
    plans = {plan_id: plan for plan_id, plan in given.items() if plan_id in touched}
    plans.update(await load_plans(store.tx, touched - plans.keys()) if touched - plans.keys() else {})
    await _load_around(store, touched)
    others = {d.plan_id for d in store.book.demands.values() if d.plan_id} - touched - new.keys()
    facts = await load_facts(store.tx, others) if others else {}
    _derive(store, plans, facts)
    outcome = Outcome()
    told = dict(given)
    for plan_id, plan in plans.items():
        if plan.running and facts[plan_id].differs(plan.facts):
            outcome.orders |= {share.order_id for share in (*plan.facts.shares, *facts[plan_id].shares)}
            change(store.tx, plan, facts[plan_id], reason)
            told[plan_id] = plan
    await store.save_supplies()
    await release(store.tx, [(decided, facts[plan_id]) for plan_id, decided in new.items()], reason)
    await save_plans(store.tx, told.values())
    _collect(store, facts, reason, outcome)
    await store.save()
    return outcome


def _shrink(store: Store) -> None:
    """Ask for no more than is waited for of plans that have not begun."""
    for supply in list(store.book.surplus()):
        supply.quantity = supply.received + supply.pegged


async def _touched(store: Store, new: Iterable[UUID]) -> set[UUID]:
    """Stored plans whose situation may have changed, with all below those that serve others than before."""
    book = store.book
    repegged = store.resized_supplies()
    owners: set[UUID | None] = set()
    for peg, was in store.changed_pegs():
        if peg.total != was.total:
            repegged.add(peg.supply_id)
        if peg.quantity != was.quantity:
            owners.add(book.demands[peg.demand_id].plan_id)
    for changed in store.changed_demands():
        if store.reranked(changed):
            repegged |= {peg.supply_id for peg in book.pegs_of(changed)}
    above = {i for i in repegged if book.supplies[i].kind is SupplyKind.PLAN} - set(new)
    below = await plans_below(store.tx, above) if above else set()
    return above | below | {i for i in owners if i is not None} - set(new)


async def _load_around(store: Store, plan_ids: set[UUID]) -> None:
    """Load what the facts of stored plans are made of."""
    if plan_ids:
        await store.load_demands(demand.c.plan_id.in_(plan_ids))
        await store.load_supplies(plan_ids)


def _derive(store: Store, plans: Mapping[UUID, Plan], facts: dict[UUID, PlanFacts]) -> None:
    """Fill in the facts of stored and new plans, parents before their components."""
    routings = {
        **{plan_id: plan.routing for plan_id, plan in plans.items()},
        **{decided.supply.id: decided.definition.routing for decided in store.book.plans},
    }
    begun: set[UUID] = set()

    def derive(plan_id: UUID) -> None:
        if plan_id in begun or plan_id not in routings:
            return
        begun.add(plan_id)
        for peg in store.book.pegs_on(plan_id):
            parent = store.book.demands[peg.demand_id].plan_id
            if parent is not None:
                derive(parent)
        before = plans[plan_id].facts if plan_id in plans else None
        facts[plan_id] = facts_of(store.book, plan_id, facts, before)
        rank_components(store.book, plan_id, facts[plan_id], routings[plan_id])

    for plan_id in routings:
        derive(plan_id)


def _collect(store: Store, facts: Mapping[UUID, PlanFacts], reason: Reason | None, outcome: Outcome) -> None:
    book = store.book
    outcome.orders |= {changed.order_id for changed in store.changed_demands() if changed.order_id is not None}
    hit: set[UUID] = set()
    for demand_id in book.hit:
        lost = book.demands[demand_id]
        if lost.order_id is not None:
            hit.add(lost.order_id)
        elif lost.plan_id is not None:
            hit |= {share.order_id for share in facts[lost.plan_id].shares}
    outcome.orders |= hit
    if reason is not None:
        outcome.causes = dict.fromkeys(hit, reason)
    outcome.items |= set(book.stock)
    outcome.purchases = [Purchase(r, shares_of(book, r.supply.id, facts)) for r in book.requisitions]

"""Define items, version by version, and suppliers."""

from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx
from chassis.http.calls import check_version
from chassis.http.problems import FieldError, broken_rules, invalid, wrong_state
from contracts import erp as contracts
from erp.finance.commands import post_revaluation
from erp.inventory.commands import lock_balances
from erp.items import queries, rules
from erp.items.rules import Component, Definition, RoutingStep
from erp.items.tables import bom_line, item, routing_step, supplier

# Serializes definitions: two of them together could close a cycle that neither sees alone.
_STRUCTURE_LOCK = 0x69_74_65_6D


async def create_item(tx: Tx, definition: Definition) -> dict[str, Any]:
    """Define a new item; raises 409 `item_exists`, 422 with every rule it breaks."""
    await _lock_structure(tx)
    if await tx.scalar(select(item.c.item).where(item.c.item == definition.item)) is not None:
        raise wrong_state(f"item {definition.item!r} exists already", "item_exists")
    return await _define(tx, definition, None)


async def change_item(
    tx: Tx, reference: str, changes: dict[str, Any], expected_version: int | None = None
) -> dict[str, Any]:
    """Define a new version of an item: fields in `changes` are new, the others stay.

    A standard cost nobody ever set is rolled up again. Raises 404, 412 when the item is at another version than
    expected, 422 with every rule broken.
    """
    await _lock_structure(tx)
    old = await queries.get_item(tx, reference)
    if expected_version is not None:
        check_version(old["version"], expected_version)
    if changes.get("item", old["item"]) != old["item"]:
        raise invalid("/item", "item_differs", f"this is item {old['item']!r}; its code cannot change")
    present = Definition(
        item=old["item"],
        name=old["name"],
        unit=old["unit"],
        source=old["source"],
        price=old["price"],
        standard_cost=None if old["cost_rolled_up"] else old["standard_cost"],
        lead_time_days=old["lead_time_days"],
        supplier=old["supplier"],
        minimum_order_quantity=old["minimum_order_quantity"],
        category=old["category"],
        components=tuple(old["components"]),
        routing=tuple(old["routing"]),
    )
    return await _define(tx, replace(present, **changes), old)


async def create_supplier(tx: Tx, code: str, name: str, email: str | None) -> dict[str, Any]:
    """Register a supplier; raises 409 `supplier_exists`."""
    new = upsert(supplier).values(
        supplier=code, id=new_id(), name=name, email=email, version=1, created_at=tx.now, updated_at=tx.now
    )
    if not (await tx.execute(new.on_conflict_do_nothing())).rowcount:
        raise wrong_state(f"supplier {code!r} exists already", "supplier_exists")
    return await queries.get_supplier(tx, code)


async def _lock_structure(tx: Tx) -> None:
    await tx.execute(select(func.pg_advisory_xact_lock(_STRUCTURE_LOCK)))


async def _define(tx: Tx, definition: Definition, old: dict[str, Any] | None) -> dict[str, Any]:
    codes = [component.item for component in definition.components]
    costs = await queries.standard_costs(tx, codes)
    structure = await queries.structure_below(tx, codes)
    if broken := rules.broken_rules(definition, costs, structure):
        raise broken_rules([FieldError(**asdict(b)) for b in broken])
    standard_cost = definition.standard_cost
    if standard_cost is None:
        standard_cost = rules.rolled_up_cost(definition.components, {code: cost for code, (_, cost) in costs.items()})
    version = old["version"] + 1 if old else 1
    master = {
        "name": definition.name,
        "unit": definition.unit,
        "source": definition.source,
        "price": definition.price,
        "standard_cost": standard_cost,
        "cost_rolled_up": definition.standard_cost is None,
        "lead_time_days": definition.lead_time_days,
        "supplier": definition.supplier,
        "minimum_order_quantity": definition.minimum_order_quantity,
        "category": definition.category,
        "version": version,
        "updated_at": tx.now,
    }
    if old is None:
        identity = {"item": definition.item, "id": new_id(), "low_level_code": 0, "created_at": tx.now}
        await tx.execute(insert(item).values({**identity, **master}))
    else:
        await tx.execute(update(item).where(item.c.item == definition.item).values(master))
    await _write_structure(tx, definition, version)
    await _update_low_level_codes(tx, definition, [c.item for c in old["components"]] if old else [])
    event_id = tx.append(_event(definition, master))
    balances = await lock_balances(tx, [definition.item])
    if old is not None:
        before, after = (old["source"], old["standard_cost"]), (definition.source, standard_cost)
        await post_revaluation(tx, event_id, balances[definition.item].on_hand, before, after)
    return await queries.get_item(tx, definition.item)


async def _write_structure(tx: Tx, definition: Definition, version: int) -> None:
    of = {"item": definition.item, "version": version}
    lines = [
        {
            **of,
            "component": component.item,
            "position": position,
            "quantity": component.quantity,
            "scrap_percent": component.scrap_percent,
        }
        for position, component in enumerate(definition.components)
    ]
    if lines:
        await tx.execute(insert(bom_line), lines)
    if definition.routing:
        await tx.execute(insert(routing_step), [{**of, **asdict(step)} for step in definition.routing])


async def _update_low_level_codes(tx: Tx, definition: Definition, earlier_components: list[str]) -> None:
    """Number the item and everything that is or was below it anew."""
    if not definition.components and not earlier_components:
        return
    affected = await queries.structure_below(tx, [definition.item, *earlier_components])
    parents = await queries.parents_of(tx, affected)
    known = {code: level for above in parents.values() for code, level in above.items()}
    codes = rules.low_level_codes({code: list(above) for code, above in parents.items()}, known)
    by_level: dict[int, list[str]] = {}
    for code, level in codes.items():
        by_level.setdefault(level, []).append(code)
    for level, at_level in sorted(by_level.items()):
        stale = item.c.item.in_(at_level) & (item.c.low_level_code != level)
        await tx.execute(update(item).where(stale).values(low_level_code=level))


def _event(definition: Definition, master: dict[str, Any]) -> contracts.ItemDefined:
    return contracts.ItemDefined(
        aggregate_version=master["version"],
        item=definition.item,
        name=definition.name,
        unit=definition.unit,
        source=definition.source,
        price=definition.price,
        standard_cost=master["standard_cost"],
        lead_time_days=definition.lead_time_days,
        supplier=definition.supplier,
        components=[_published(component) for component in definition.components],
        routing=[_published_step(step) for step in sorted(definition.routing, key=lambda step: step.operation)],
    )


def _published(component: Component) -> contracts.Component:
    return contracts.Component(**asdict(component))


def _published_step(step: RoutingStep) -> contracts.RoutingStep:
    return contracts.RoutingStep(**asdict(step))

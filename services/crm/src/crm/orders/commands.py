"""What can be done to customer orders."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.http.calls import check_version
from chassis.http.problems import FieldError, Problem, broken_rules, not_found, wrong_state
from contracts.crm import OrderAmended, OrderCancelled, OrderPlaced
from contracts.erp import ItemDefined
from crm import numbers
from crm.customers import queries as customers
from crm.notifications import rules as sentences
from crm.notifications.commands import Notice, notify
from crm.notifications.rules import Milestone
from crm.orders import queries, rules
from crm.orders.rules import Breach, Line, State, Terms, WantedLine, WantedOrder
from crm.orders.tables import ORDER_NUMBER, catalogue_item, customer_order, order_line

log = structlog.get_logger()


async def place(tx: Tx, wanted: WantedOrder, owner: str | None, house_currency: str) -> dict[str, Any]:
    """Place an order; raises Problem 422 with every broken rule."""
    (outcome,) = await place_each(tx, [wanted], owner, house_currency)
    if isinstance(outcome, Problem):
        raise outcome
    return outcome


async def place_each(
    tx: Tx, orders: Sequence[WantedOrder], owner: str | None, house_currency: str
) -> list[dict[str, Any] | Problem]:
    """Place the orders that break no rule; the outcome of each is its record, or the Problem with its broken rules.

    `owner` is the number of the customer the caller is bound to, if any.
    """
    known = await customers.by_reference(tx, {wanted.customer for wanted in orders if wanted.customer})
    known = {reference: row for reference, row in known.items() if owner in (None, row["number"])}
    prices = await queries.prices(tx, [line.item for wanted in orders for line in wanted.lines])
    outcomes: list[dict[str, Any] | Problem] = []
    placed: list[dict[str, Any]] = []
    for wanted in orders:
        lines = rules.numbered(wanted.lines)
        currency = wanted.currency or house_currency
        found = [
            *_breaches_of_customer(wanted.customer, known),
            *rules.breaches_of_date(wanted.requested_date, tx.now.date()),
            *rules.breaches_of_lines(lines, prices, {}, prices_apply=currency == house_currency),
        ]
        if found:
            outcomes.append(_problem(found))
            continue
        customer = known[wanted.customer or ""]
        row = {
            "id": new_id(),
            "version": 1,
            "customer_id": customer["id"],
            "customer": customer["number"],
            "customer_reference": wanted.customer_reference,
            "requested_date": wanted.requested_date,
            "promised_date": None,
            "priority": customer["priority"] if wanted.priority is None else wanted.priority,
            "currency": currency,
            "state": State.PLACED,
            "created_at": tx.now,
            "updated_at": tx.now,
        }
        placed.append(queries.record(row, rules.agreed_lines(lines, prices, {})))
        outcomes.append(placed[-1])
    await _store(tx, placed)
    return outcomes


async def _store(tx: Tx, placed: Sequence[dict[str, Any]]) -> None:
    if not placed:
        return
    drawn = await numbers.draw(tx, ORDER_NUMBER, "SO", len(placed))
    for order, number in zip(placed, drawn, strict=True):
        order["number"] = number
    columns = customer_order.c.keys()
    await tx.execute(insert(customer_order), [{name: order[name] for name in columns} for order in placed])
    await tx.execute(insert(order_line), [row for order in placed for row in _line_rows(order["id"], order["lines"])])
    notices = []
    for order in placed:
        event = OrderPlaced.model_validate({**_event(order), "placed_at": tx.now})
        event_id = tx.append(event, correlation_id=str(order["id"]))
        text = sentences.confirmed(order["number"], order["requested_date"])
        notices.append(_notice(order, Milestone.CONFIRMED, text, event_id))
    await notify(tx, notices)


async def amend(
    tx: Tx,
    reference: str,
    owner: str | None,
    expected_version: int,
    *,
    changes: Mapping[str, Any],
    lines: Sequence[WantedLine] | None,
    house_currency: str,
) -> dict[str, Any]:
    """Amend an order before it ships; `lines`, when given, are all lines it is to have. No difference, no event.

    Raises Problem 404 unknown or not the `owner`'s, 412 not at `expected_version`, 409 too late, 422 broken rules.
    """
    row = await _locked(tx, reference, owner)
    check_version(row["version"], expected_version)
    _check_open(row, "amended")
    before = (await queries.lines_of(tx, [row["id"]]))[row["id"]]
    old = Terms(row["customer_reference"], row["requested_date"], row["priority"], before)
    after = before
    found: list[Breach] = []
    if changes.get("requested_date", old.requested_date) != old.requested_date:
        found += rules.breaches_of_date(changes["requested_date"], tx.now.date())
    if lines is not None:
        by_number = {line.line: line for line in before}
        wanted = rules.numbered(lines)
        prices = await queries.prices(tx, [line.item for line in wanted])
        in_house_currency = row["currency"] == house_currency
        found += rules.breaches_of_lines(wanted, prices, by_number, prices_apply=in_house_currency)
        after = [] if found else list(rules.agreed_lines(wanted, prices, by_number))
    if found:
        raise _problem(found)
    terms: dict[str, Any] = {
        "customer_reference": old.customer_reference,
        "requested_date": old.requested_date,
        "priority": old.priority,
        **changes,
    }
    changed = rules.changed_fields(old, Terms(**terms, lines=after))
    if not changed:
        return queries.record(row, before)
    row |= {**terms, "version": row["version"] + 1, "updated_at": tx.now}
    await tx.execute(update(customer_order).where(customer_order.c.id == row["id"]).values(row))
    await _save_lines(tx, row["id"], rules.changed_lines(before, after))
    order = queries.record(row, after)
    tx.append(OrderAmended.model_validate({**_event(order), "changed": changed}), correlation_id=str(row["id"]))
    return order


async def cancel(
    tx: Tx, reference: str, owner: str | None, expected_version: int | None, reason: str
) -> dict[str, Any]:
    """Withdraw an order before it ships.

    Raises Problem 404 unknown or not the `owner`'s, 412 when a version is expected and differs, 409 too late.
    """
    row = await _locked(tx, reference, owner)
    if expected_version is not None:
        check_version(row["version"], expected_version)
    _check_open(row, "cancelled")
    row |= {"version": row["version"] + 1, "state": State.CANCELLED, "updated_at": tx.now}
    await tx.execute(update(customer_order).where(customer_order.c.id == row["id"]).values(row))
    event = OrderCancelled(aggregate_version=row["version"], order_id=row["id"], number=row["number"], reason=reason)
    event_id = tx.append(event, correlation_id=str(row["id"]))
    text = sentences.cancelled(row["number"], reason)
    await notify(tx, [_notice(row, Milestone.CANCELLED, text, event_id)])
    return queries.record(row, (await queries.lines_of(tx, [row["id"]]))[row["id"]])


async def follow(
    tx: Tx,
    order_id: UUID,
    reached: State,
    event_id: UUID,
    *,
    notice: Callable[[Mapping[str, Any]], tuple[Milestone, str]] | None = None,
    promised_date: date | None = None,
) -> None:
    """Take over what ERP or MES reports: the state moves forward only, and the customer is told while it is open.

    `notice` makes the milestone and the text from the order's row.
    """
    row = await tx.first(select(customer_order).where(customer_order.c.id == order_id).with_for_update())
    if row is None:
        log.warning("unknown_order", order_id=str(order_id), event_id=str(event_id))
        return
    found = dict(row)
    state = State(found["state"])
    moved = {"state": rules.advanced(state, reached), "promised_date": promised_date or found["promised_date"]}
    if any(found[name] != value for name, value in moved.items()):
        changed = update(customer_order).where(customer_order.c.id == order_id)
        await tx.execute(changed.values(**moved, updated_at=tx.now))
    if notice is not None and rules.is_open(state):
        await notify(tx, [_notice(found, *notice(found), event_id)])


async def take_back_late_amendments(
    tx: Tx, order_id: UUID, shipped_version: int, quantities: Mapping[int, Decimal], event_id: UUID
) -> None:
    """Give an order that shipped at an earlier version the lines it shipped with, by number; the customer is told.

    Its goods had left when the amendments after that version reached ERP, so they will never be fulfilled.
    """
    row = await tx.first(select(customer_order).where(customer_order.c.id == order_id).with_for_update())
    if row is None or row["version"] <= shipped_version:
        return
    before = (await queries.lines_of(tx, [order_id]))[order_id]
    changed = rules.changed_lines(before, after := rules.as_shipped(before, quantities))
    if not changed:
        return
    found = {**row, "version": row["version"] + 1, "updated_at": tx.now}
    await tx.execute(update(customer_order).where(customer_order.c.id == order_id).values(found))
    await _save_lines(tx, order_id, changed)
    names = [f"lines/{line.line}" for line in changed]
    event = OrderAmended.model_validate({**_event(queries.record(found, after)), "changed": names})
    tx.append(event, correlation_id=str(order_id))
    await notify(tx, [_notice(found, Milestone.AMENDED_TOO_LATE, sentences.amended_too_late(row["number"]), event_id)])


async def define_item(tx: Tx, item: ItemDefined) -> None:
    """Take an item, or its newest version, into the catalogue."""
    values = {
        "item": item.item,
        "name": item.name,
        "unit": item.unit,
        "price": item.price,
        "version": item.aggregate_version,
    }
    newest = upsert(catalogue_item).values(values)
    await tx.execute(
        newest.on_conflict_do_update(
            index_elements=["item"], set_=values, where=catalogue_item.c.version < item.aggregate_version
        )
    )


async def _locked(tx: Tx, reference: str, owner: str | None) -> dict[str, Any]:
    found = await tx.first(select(customer_order).where(matches(customer_order, reference)).with_for_update())
    if found is None or owner not in (None, found["customer"]):
        raise not_found("order", reference)
    return dict(found)


def _check_open(row: Mapping[str, Any], wanted: str) -> None:
    if not rules.is_open(State(row["state"])):
        raise wrong_state(f"order {row['number']} is {row['state']} and can no longer be {wanted}")


def _breaches_of_customer(reference: str | None, known: Mapping[str, Any]) -> Iterable[Breach]:
    if reference is None:
        yield Breach("/customer", "missing", "say for which customer")
    elif reference not in known:
        yield Breach("/customer", "unknown_customer", f"customer {reference!r} is unknown")


def _problem(found: Sequence[Breach]) -> Problem:
    return broken_rules([FieldError(**asdict(breach)) for breach in found])


async def _save_lines(tx: Tx, order_id: UUID, lines: Sequence[Line]) -> None:
    if not lines:
        return
    statement = upsert(order_line)
    changed = {name: statement.excluded[name] for name in ("quantity", "unit_price", "options", "withdrawn")}
    await tx.execute(
        statement.on_conflict_do_update(index_elements=["order_id", "line"], set_=changed),
        _line_rows(order_id, lines),
    )


def _line_rows(order_id: UUID, lines: Iterable[Line]) -> list[dict[str, Any]]:
    return [{"order_id": order_id, **asdict(line)} for line in lines]


def _event(order: Mapping[str, Any]) -> dict[str, Any]:
    lines = [asdict(line) for line in order["lines"]]
    return {**order, "lines": lines, "order_id": order["id"], "aggregate_version": order["version"]}


def _notice(order: Mapping[str, Any], milestone: Milestone, text: str, event_id: UUID) -> Notice:
    return Notice(order["id"], order["number"], order["customer"], milestone, text, event_id)

"""Postings: one function per business fact, each a journal entry in the caller's transaction.

All take the id of the event that states the fact; posting the same rule for the same event again does nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx
from contracts.erp import InvoicePosted
from contracts.values import minor_units
from erp.finance import rules
from erp.finance.queries import work_in_process
from erp.finance.rules import Line, Valued
from erp.finance.tables import entry_number, invoice, invoice_line, invoice_number, journal_entry, journal_line
from erp.items.queries import standard_costs
from erp.settings import house_currency


@dataclass(frozen=True)
class Received:
    """Goods received against a purchase order, `price` per unit."""

    item: str
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True)
class InvoiceLine:
    """One shipped order line to be invoiced, `unit_price` in the order's currency."""

    line: int
    item: str
    quantity: Decimal
    unit_price: Decimal


async def post(
    tx: Tx,
    rule: str,
    source_event: UUID | str,
    lines: Iterable[Line],
    *,
    currency: str | None = None,
    reference: str | None = None,
) -> None:
    """Post one balanced entry, in the house currency unless told; nothing when all amounts are zero or on a repeat.

    Raises ValueError when the lines do not balance.
    """
    posted = rules.netted(lines)
    if not rules.balanced(posted):
        raise ValueError(f"entry {rule!r} does not balance: {posted}")
    if not posted:
        return
    entry = upsert(journal_entry).values(
        id=new_id(),
        number=await tx.number(entry_number, "JE"),
        source_event=str(source_event),
        rule=rule,
        reference=reference,
        currency=currency or house_currency(),
        at=tx.now,
    )
    entry_id = await tx.scalar(entry.on_conflict_do_nothing().returning(journal_entry.c.id))
    if entry_id is None:
        return
    await tx.execute(
        insert(journal_line),
        [
            {
                "entry": entry_id,
                "account": line.account,
                "debit": max(line.amount, Decimal(0)),
                "credit": max(-line.amount, Decimal(0)),
            }
            for line in posted
        ],
    )


async def post_purchase_receipt(tx: Tx, source_event: UUID | str, received: Sequence[Received]) -> None:
    """Inventory at standard, the supplier's claim at purchase price, the difference to purchase price variance."""
    costs = await standard_costs(tx, {r.item for r in received})
    priced = [(Valued(costs[r.item][0], r.quantity, costs[r.item][1]), r.price) for r in received]
    await post(tx, "purchase_receipt", source_event, rules.purchase_receipt(priced, _house_rounding()))


async def post_issue(tx: Tx, source_event: UUID | str, plan_id: UUID, quantities: Mapping[str, Decimal]) -> None:
    """Material issued to a plan: from inventory to its work in process, at standard."""
    await _post_stock(
        tx,
        "issue",
        source_event,
        against=rules.WORK_IN_PROCESS,
        quantities=_negative(quantities),
        reference=str(plan_id),
    )


async def post_completion(
    tx: Tx,
    source_event: UUID | str,
    plan_id: UUID,
    *,
    item: str,
    good: Decimal,
    components: Mapping[str, Decimal],
) -> None:
    """A good quantity is finished: conversion cost is absorbed into work in process, and finished goods leave it.

    `components` has the quantity of each component per good unit, planned scrap included.
    """
    costs = await standard_costs(tx, {item, *components})
    components_cost = sum((per * costs[code][1] for code, per in components.items()), Decimal(0))
    source, standard_cost = costs[item]
    absorbed = _house_rounding()(rules.conversion_cost(good, standard_cost, components_cost))
    conversion = rules.transfer(rules.WORK_IN_PROCESS, rules.CONVERSION_ABSORBED, absorbed)
    finished = rules.into_stock([Valued(source, good, standard_cost)], rules.WORK_IN_PROCESS, _house_rounding())
    await post(tx, "conversion", source_event, conversion, reference=str(plan_id))
    await post(tx, "completion", source_event, finished, reference=str(plan_id))


async def post_close(tx: Tx, source_event: UUID | str, plan_id: UUID) -> None:
    """Settle what is left in a closed plan's work in process to material usage variance."""
    residual = await work_in_process(tx, plan_id)
    lines = rules.transfer(rules.USAGE_VARIANCE, rules.WORK_IN_PROCESS, residual)
    await post(tx, "close", source_event, lines, reference=str(plan_id))


async def post_shipment(tx: Tx, source_event: UUID | str, order_id: UUID, quantities: Mapping[str, Decimal]) -> None:
    """Shipped goods become cost of goods sold at standard."""
    await _post_stock(
        tx,
        "shipment",
        source_event,
        against=rules.COST_OF_GOODS_SOLD,
        quantities=_negative(quantities),
        reference=str(order_id),
    )


async def post_scrap(tx: Tx, source_event: UUID | str, quantities: Mapping[str, Decimal]) -> None:
    """Scrapped stock is a loss at standard."""
    await _post_stock(tx, "scrap", source_event, against=rules.SCRAP_LOSS, quantities=_negative(quantities))


async def post_adjustment(tx: Tx, source_event: UUID | str, quantities: Mapping[str, Decimal]) -> None:
    """Stock found or brought in (positive) or missed (negative), against inventory adjustment at standard."""
    await _post_stock(tx, "adjustment", source_event, against=rules.INVENTORY_ADJUSTMENT, quantities=quantities)


async def post_revaluation(
    tx: Tx, source_event: UUID | str, on_hand: Decimal, before: tuple[str, Decimal], after: tuple[str, Decimal]
) -> None:
    """What is on hand has another source or standard cost (both given as a pair) since its item was defined anew."""
    lines = rules.revaluation(
        Valued(before[0], on_hand, before[1]), Valued(after[0], on_hand, after[1]), _house_rounding()
    )
    await post(tx, "revaluation", source_event, lines)


async def create_invoice(
    tx: Tx,
    source_event: UUID | str,
    *,
    order_id: UUID,
    order: str,
    customer: str,
    shipment_id: UUID,
    currency: str,
    lines: Sequence[InvoiceLine],
) -> UUID:
    """Invoice a shipment in the order's currency and book receivable and revenue; returns the invoice's id.

    A shipment is invoiced once: a repeat returns the invoice it has. Each line is rounded to the minor unit.
    """
    existing = await tx.scalar(select(invoice.c.id).where(invoice.c.shipment_id == shipment_id))
    if existing is not None:
        return UUID(str(existing))
    amounts = [minor_units(line.quantity * line.unit_price, currency) for line in lines]
    amount = sum(amounts, Decimal(0))
    invoice_id, number = new_id(), await tx.number(invoice_number, "INV")
    record = {
        "id": invoice_id,
        "number": number,
        "order_id": order_id,
        "order": order,
        "customer": customer,
        "shipment_id": shipment_id,
        "amount": amount,
        "currency": currency,
        "version": 1,
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    await tx.execute(insert(invoice).values(record))
    await tx.execute(
        insert(invoice_line),
        [
            {
                "invoice_id": invoice_id,
                "line": line.line,
                "item": line.item,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "amount": line_amount,
            }
            for line, line_amount in zip(lines, amounts, strict=True)
        ],
    )
    tx.append(
        InvoicePosted(
            aggregate_version=1,
            invoice_id=invoice_id,
            invoice=number,
            order_id=order_id,
            order=order,
            customer=customer,
            shipment_id=shipment_id,
            amount=amount,
            currency=currency,
        ),
        correlation_id=str(order_id),
    )
    revenue = rules.transfer(rules.RECEIVABLE, rules.REVENUE, amount)
    await post(tx, "invoice", source_event, revenue, currency=currency, reference=str(order_id))
    return invoice_id


def _house_rounding() -> rules.Rounding:
    return partial(minor_units, currency=house_currency())


def _negative(quantities: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {item: -quantity for item, quantity in quantities.items()}


async def _post_stock(
    tx: Tx,
    rule: str,
    source_event: UUID | str,
    *,
    against: str,
    quantities: Mapping[str, Decimal],
    reference: str | None = None,
) -> None:
    costs = await standard_costs(tx, quantities)
    moves = [Valued(costs[item][0], quantity, costs[item][1]) for item, quantity in quantities.items()]
    await post(tx, rule, source_event, rules.into_stock(moves, against, _house_rounding()), reference=reference)

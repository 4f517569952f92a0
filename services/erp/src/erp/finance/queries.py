"""Reads of the ledger and of invoices."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, func, select, text

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from erp.finance.rules import ACCOUNTS, WORK_IN_PROCESS
from erp.finance.tables import invoice, invoice_line, journal_entry, journal_line


async def work_in_process(reader: Reader, plan_id: UUID) -> Decimal:
    """Debits less credits of a plan's work in process, in the house currency."""
    query = (
        select(func.coalesce(func.sum(journal_line.c.debit - journal_line.c.credit), 0))
        .join(journal_entry, journal_entry.c.id == journal_line.c.entry)
        .where(journal_entry.c.reference == str(plan_id), journal_line.c.account == WORK_IN_PROCESS)
    )
    return Decimal(await reader.scalar(query))


async def currencies(reader: Reader) -> list[str]:
    """Currencies the ledger has entries in."""
    query = select(journal_entry.c.currency).distinct().order_by(journal_entry.c.currency)
    return [row["currency"] for row in await reader.all(query)]


async def trial_balance(reader: Reader, currency: str) -> dict[str, Any]:
    """Balance of every account in one currency, on its debit or credit side, and the totals of both sides."""
    net = func.sum(journal_line.c.debit - journal_line.c.credit).label("net")
    query = (
        select(journal_line.c.account, net)
        .join(journal_entry, journal_entry.c.id == journal_line.c.entry)
        .where(journal_entry.c.currency == currency)
        .group_by(journal_line.c.account)
        .order_by(journal_line.c.account)
    )
    accounts = [
        {
            "account": row["account"],
            "name": ACCOUNTS[row["account"]],
            "debit": max(row["net"], Decimal(0)),
            "credit": max(-row["net"], Decimal(0)),
        }
        for row in await reader.all(query)
    ]
    debit = sum((a["debit"] for a in accounts), Decimal(0))
    credit = sum((a["credit"] for a in accounts), Decimal(0))
    return {
        "currency": currency,
        "currencies": await currencies(reader),
        "accounts": accounts,
        "debit": debit,
        "credit": credit,
        "balanced": debit == credit,
    }


async def list_entries(
    reader: Reader,
    paging: ListQuery,
    *,
    source_event: str | None = None,
    rule: str | None = None,
    account: str | None = None,
    reference: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Journal entries with their lines, oldest first, and the next cursor."""
    query = select(journal_entry)
    for column, wanted in (
        (journal_entry.c.source_event, source_event),
        (journal_entry.c.rule, rule),
        (journal_entry.c.reference, reference),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if account is not None:
        query = query.where(
            journal_entry.c.id.in_(select(journal_line.c.entry).where(journal_line.c.account == account))
        )
    rows, cursor = await page(reader, query, [journal_entry.c.id], paging)
    lines = await reader.all(
        select(journal_line).where(journal_line.c.entry.in_([row["id"] for row in rows])).order_by(journal_line.c.id)
    )
    return [
        {
            **row,
            "lines": [{**line, "name": ACCOUNTS[line["account"]]} for line in lines if line["entry"] == row["id"]],
            "version": 1,
            "created_at": row["at"],
            "updated_at": row["at"],
        }
        for row in rows
    ], cursor


async def get_invoice(reader: Reader, reference: str, owner: str | None = None) -> dict[str, Any]:
    """The public record of an invoice, by id or number; raises 404, also when it is not the `owner`'s."""
    row = await reader.first(select(invoice).where(matches(invoice, reference)))
    if row is None or owner not in (None, row["customer"]):
        raise not_found("invoice", reference)
    return (await _with_lines(reader, [row]))[0]


async def list_invoices(
    reader: Reader,
    paging: ListQuery,
    owner: str | None,
    *,
    order_id: UUID | None = None,
    customer: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Public records of invoices, of the `owner` if given, oldest first, and the next cursor."""
    query: Select[Any] = select(invoice)
    if owner is not None:
        query = query.where(invoice.c.customer == owner)
    if order_id is not None:
        query = query.where(invoice.c.order_id == order_id)
    if customer is not None:
        query = query.where(invoice.c.customer == customer)
    rows, cursor = await page(reader, query, [invoice.c.id], paging)
    return await _with_lines(reader, rows), cursor


async def _with_lines(reader: Reader, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    lines = await reader.all(
        select(invoice_line)
        .where(invoice_line.c.invoice_id.in_([row["id"] for row in rows]))
        .order_by(invoice_line.c.line)
    )
    return [{**row, "lines": [line for line in lines if line["invoice_id"] == row["id"]]} for row in rows]


_UNBALANCED = text(
    """
    SELECT e.number, e.rule, coalesce(sum(l.debit), 0) AS debit, coalesce(sum(l.credit), 0) AS credit
    FROM journal_entry AS e LEFT JOIN journal_line AS l ON l.entry = e.id
    GROUP BY e.id HAVING coalesce(sum(l.debit), 0) <> coalesce(sum(l.credit), 0) OR count(l.id) < 2
    ORDER BY e.number
    """
)
_TOTALS = text(
    """
    SELECT e.currency, sum(l.debit) AS debit, sum(l.credit) AS credit
    FROM journal_line AS l JOIN journal_entry AS e ON e.id = l.entry
    GROUP BY e.currency HAVING sum(l.debit) <> sum(l.credit)
    """
)
_INVOICES = text(
    """
    SELECT i.number, i.amount, coalesce(sum(l.amount), 0) AS lines
    FROM invoice AS i LEFT JOIN invoice_line AS l ON l.invoice_id = i.id
    GROUP BY i.id HAVING i.amount <> coalesce(sum(l.amount), 0)
    """
)


async def invariants(reader: Reader) -> list[str]:
    """Sentences about the books that should hold between transactions and do not; empty when all is well.

    Debits = credits in every entry and in every currency; an invoice's amount is the sum of its lines.
    """
    entries, totals, invoices = [await reader.all(query) for query in (_UNBALANCED, _TOTALS, _INVOICES)]
    return [
        *(f"entry {e['number']} ({e['rule']}): debit {e['debit']}, credit {e['credit']}" for e in entries),
        *(f"ledger in {t['currency']}: debit {t['debit']}, credit {t['credit']}" for t in totals),
        *(f"invoice {i['number']}: {i['amount']}, its lines sum to {i['lines']}" for i in invoices),
    ]

"""Reads of customers."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, or_, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from crm.customers.tables import customer


async def one(reader: Reader, reference: str, owner: str | None) -> Mapping[str, Any]:
    """A customer by id or number; Problem 404 when unknown or not the `owner` the caller is bound to."""
    found = await reader.first(select(customer).where(matches(customer, reference)))
    if found is None or owner not in (None, found["number"]):
        raise not_found("customer", reference)
    return dict(found)


async def many(
    reader: Reader, paging: ListQuery, number: str | None, name: str | None, owner: str | None
) -> tuple[list[RowMapping], str | None]:
    """Customers in the order they registered; `name` finds a part of the name in any case."""
    query = select(customer)
    if owner is not None:
        query = query.where(customer.c.number == owner)
    if number is not None:
        query = query.where(customer.c.number == number)
    if name is not None:
        query = query.where(customer.c.name.icontains(name, autoescape=True))
    return await page(reader, query, [customer.c.id], paging)


async def by_reference(reader: Reader, references: Collection[str]) -> dict[str, RowMapping]:
    """Customers by the id or number they are referred to with; unknown references are absent."""
    ids = {reference: identity for reference in references if (identity := _uuid(reference))}
    wanted = or_(
        customer.c.number.in_(sorted(set(references) - set(ids))), customer.c.id.in_(sorted(set(ids.values())))
    )
    rows = await reader.all(select(customer).where(wanted))
    known = {row["number"]: row for row in rows} | {str(row["id"]): row for row in rows}
    return {reference: known[key] for reference in references if (key := str(ids.get(reference, reference))) in known}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

"""Reads of maintenance orders."""

from collections.abc import Mapping

from sqlalchemy import RowMapping, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from mes.maintenance.tables import maintenance_order


async def listed(
    reader: Reader, paging: ListQuery, filters: Mapping[str, str | None]
) -> tuple[list[RowMapping], str | None]:
    """One page of maintenance orders, oldest first; filters ``machine`` and ``state``."""
    query = select(maintenance_order)
    for name, value in filters.items():
        if value:
            query = query.where(maintenance_order.c[name] == value)
    return await page(reader, query, [maintenance_order.c.id], paging)


async def find(reader: Reader, reference: str) -> RowMapping | None:
    """A maintenance order, by id or number."""
    return await reader.first(select(maintenance_order).where(matches(maintenance_order, reference)))

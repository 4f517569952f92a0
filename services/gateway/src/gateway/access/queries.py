"""Reads of clients."""

from sqlalchemy import RowMapping, select

from chassis.db import Reader
from chassis.http.paging import ListQuery, page
from gateway.access.tables import RECORD, client


async def by_client_id(reader: Reader, client_id: str) -> RowMapping | None:
    """The client that is not disabled, or None."""
    return await reader.first(select(client).where(client.c.client_id == client_id, ~client.c.disabled))


async def clients(reader: Reader, paging: ListQuery) -> tuple[list[RowMapping], str | None]:
    """One page of clients, oldest first."""
    return await page(reader, select(*RECORD), [client.c.id], paging)

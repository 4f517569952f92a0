"""Reads of clients."""

from datetime import datetime

from sqlalchemy import RowMapping, select

from chassis.db import Reader
from chassis.http.paging import ListQuery, page
from gateway.access.rules import FORGET_FAILURES
from gateway.access.tables import RECORD, client, token_failure


async def by_client_id(reader: Reader, client_id: str) -> RowMapping | None:
    """The client that is not disabled, or None."""
    return await reader.first(select(client).where(client.c.client_id == client_id, ~client.c.disabled))


async def secret_digest_of(reader: Reader, id: str) -> str:
    """The digest of a client's secret."""
    return str(await reader.scalar(select(client.c.secret_sha256).where(client.c.id == id)))


async def failures(reader: Reader, client_id: str, address: str, at: datetime) -> RowMapping | None:
    """Failed token requests of this client from this address that are not forgotten: how many, and the last."""
    return await reader.first(
        select(token_failure.c.failures, token_failure.c.last_at).where(
            token_failure.c.client_id == client_id,
            token_failure.c.address == address,
            token_failure.c.last_at > at - FORGET_FAILURES,
        )
    )


async def clients(reader: Reader, paging: ListQuery) -> tuple[list[RowMapping], str | None]:
    """One page of clients, oldest first."""
    return await page(reader, select(*RECORD), [client.c.id], paging)

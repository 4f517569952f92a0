"""Reads of notifications."""

from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, select, text

from chassis.db import Reader
from chassis.http.paging import ListQuery, page
from crm.notifications.tables import notification


async def many(
    reader: Reader,
    paging: ListQuery,
    owner: str | None,
    *,
    order: str | None = None,
    customer: str | None = None,
    milestone: str | None = None,
) -> tuple[list[RowMapping], str | None]:
    """Notifications, oldest first; of the `owner` alone when the caller is bound to one."""
    filters = {notification.c.customer: customer, notification.c.milestone: milestone}
    conditions = [column == value for column, value in filters.items() if value is not None]
    if owner is not None:
        conditions.append(notification.c.customer == owner)
    if order is not None:
        conditions.append(_of_order(order))
    return await page(reader, select(notification).where(*conditions), [notification.c.id], paging)


async def told(reader: Reader, order: str, owner: str | None) -> bool:
    """Whether the customer was told anything about this order (the `owner`'s, when the caller is bound to one)."""
    query = select(notification.c.customer).where(_of_order(order)).limit(1)
    customer = await reader.scalar(query)
    return customer is not None and owner in (None, customer)


def _of_order(reference: str) -> ColumnElement[bool]:
    try:
        return notification.c.order_id == UUID(reference)
    except ValueError:
        return notification.c.order == reference


_MIXED_UP = text(
    """
    SELECT order_id, array_agg(DISTINCT "order") AS orders, array_agg(DISTINCT customer) AS customers
    FROM notification GROUP BY order_id
    HAVING count(DISTINCT "order") > 1 OR count(DISTINCT customer) > 1
    ORDER BY order_id
    """
)


async def invariants(reader: Reader) -> list[str]:
    """Sentences about notices that should hold between transactions and do not; empty when all is well.

    All notices of one order go to one customer.
    """
    return [
        f"notices of order {row['order_id']} are about {', '.join(row['orders'])} and go to "
        f"{', '.join(row['customers'])}"
        for row in await reader.all(_MIXED_UP)
    ]

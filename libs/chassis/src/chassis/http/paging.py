"""Lists: keyset paging with an opaque cursor, and query parameters that refuse what they do not know."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, DateTime, Integer, RowMapping, Select, Uuid, tuple_

from chassis.db import Reader
from chassis.http.problems import invalid

Row = TypeVar("Row")
_MAX_INTEGER = 2**63 - 1


class ListQuery(BaseModel):
    """Query parameters every list takes; subclass to add filters. An unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=500)


class Page(BaseModel, Generic[Row]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[Row]
    next_cursor: str | None = None


async def page(
    reader: Reader, query: Select[Any], order: Sequence[ColumnElement[Any]], paging: ListQuery
) -> tuple[list[RowMapping], str | None]:
    """Rows of `query` in ascending `order` (columns the query selects, unique together) and the next cursor.

    Raises Problem 422 on a cursor this list did not make.
    """
    if paging.cursor is not None:
        query = query.where(tuple_(*order) > tuple_(*_decode(paging.cursor, order)))
    rows = await reader.all(query.order_by(*order).limit(paging.limit + 1))
    if len(rows) <= paging.limit:
        return list(rows), None
    last = rows[paging.limit - 1]
    return list(rows[: paging.limit]), _encode([last[str(column.key)] for column in order])


def _encode(values: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values, default=str).encode()).decode().rstrip("=")


def _decode(cursor: str, order: Sequence[ColumnElement[Any]]) -> list[Any]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError("wrong shape")
        return [_typed(value, column) for value, column in zip(values, order, strict=True)]
    except ValueError as error:
        raise invalid("cursor", "cursor", "this cursor was not made by this list") from error


def _typed(value: Any, column: ColumnElement[Any]) -> Any:
    if isinstance(column.type, Integer):
        if type(value) is not int or abs(value) > _MAX_INTEGER:
            raise ValueError("not an integer")
        return value
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError("not a text")
    if isinstance(column.type, Uuid):
        return UUID(value)
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value)
    return value

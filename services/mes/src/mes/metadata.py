"""The tables of MES, and the columns every record has."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, DateTime, Integer, Numeric, Uuid, func

from chassis.tables import new_metadata

metadata = new_metadata()

QUANTITY = Numeric(18, 6)
TIME = DateTime(timezone=True)

# A row by column name, as read or as a dict being changed.
Row = Mapping[Any, Any]


def record_columns() -> tuple[Column[Any], ...]:
    """What every public record has besides its number: id, version and its two times."""
    return (
        Column("id", Uuid, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("created_at", TIME, nullable=False, server_default=func.now()),
        Column("updated_at", TIME, nullable=False, server_default=func.now()),
    )

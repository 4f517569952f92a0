"""Many rows in one statement whose text stays the same for any number of rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Table, cast, column, func, insert, select, update

from chassis.db import Tx


async def insert_rows(tx: Tx, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, which all have the same columns."""
    if rows:
        given = _unnested(table, list(rows[0]), rows)
        await tx.execute(insert(table).from_select(list(rows[0]), select(given)))


async def update_rows(tx: Tx, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Set the columns of rows, which all have the same, where their `key` columns match."""
    if rows:
        given = _unnested(table, list(rows[0]), rows)
        change = update(table).values({name: given.c[name] for name in rows[0] if name not in key})
        await tx.execute(change.where(*(table.c[name] == given.c[name] for name in key)))


def _unnested(table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    arrays = [cast([row[name] for row in rows], ARRAY(table.c[name].type)) for name in names]
    columns = [column(name, table.c[name].type) for name in names]
    return func.unnest(*arrays).table_valued(*columns, name="given").render_derived()

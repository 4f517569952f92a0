"""Reads of inspections and defects."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import RowMapping, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from chassis.http.problems import not_found
from mes.quality.tables import defect, inspection

_INSPECTIONS = select(inspection, defect.c.number.label("defect")).outerjoin(
    defect, defect.c.id == inspection.c.defect_id
)


async def inspections(
    reader: Reader, paging: ListQuery, lot: str | None, result: str | None
) -> tuple[list[RowMapping], str | None]:
    """One page of inspections, oldest first."""
    query = _INSPECTIONS
    if lot is not None:
        query = query.where(inspection.c.lot == lot)
    if result is not None:
        query = query.where(inspection.c.result == result)
    return await page(reader, query, [inspection.c.id], paging)


async def defects(
    reader: Reader, paging: ListQuery, lot: str | None, severity: str | None
) -> tuple[list[RowMapping], str | None]:
    """One page of defects, oldest first."""
    query = select(defect)
    if lot is not None:
        query = query.where(defect.c.lot == lot)
    if severity is not None:
        query = query.where(defect.c.severity == severity)
    return await page(reader, query, [defect.c.id], paging)


async def results(reader: Reader, lots: Iterable[str]) -> dict[str, list[RowMapping]]:
    """The judgements on these lots, by lot, oldest first."""
    found: dict[str, list[RowMapping]] = defaultdict(list)
    query = select(
        inspection.c.lot, inspection.c.number.label("inspection"), inspection.c.characteristic, inspection.c.result
    )
    for row in await reader.all(query.where(inspection.c.lot.in_(lots)).order_by(inspection.c.id)):
        found[row["lot"]].append(row)
    return found


async def inspection_record(reader: Reader, reference: str) -> RowMapping:
    """An inspection by id or number; raises 404."""
    row = await reader.first(_INSPECTIONS.where(matches(inspection, reference)))
    if row is None:
        raise not_found("inspection", reference)
    return row


async def defect_record(reader: Reader, reference: str) -> RowMapping:
    """A defect by id or number; raises 404."""
    row = await reader.first(select(defect).where(matches(defect, reference)))
    if row is None:
        raise not_found("defect", reference)
    return row

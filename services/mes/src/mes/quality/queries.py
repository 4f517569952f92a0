"""Reads of inspections and defects."""

from typing import Any

from sqlalchemy import RowMapping, Select, select

from chassis.db import Reader, matches
from chassis.http.problems import not_found
from mes.quality.tables import defect, inspection


def inspections() -> Select[Any]:
    """The records of all inspections, with the number of the defect a rejection became."""
    return select(inspection, defect.c.number.label("defect")).outerjoin(defect, defect.c.id == inspection.c.defect_id)


def defects() -> Select[Any]:
    """The records of all defects."""
    return select(defect)


async def inspection_record(reader: Reader, reference: str) -> RowMapping:
    """An inspection by id or number; raises 404."""
    row = await reader.first(inspections().where(matches(inspection, reference)))
    if row is None:
        raise not_found("inspection", reference)
    return row


async def defect_record(reader: Reader, reference: str) -> RowMapping:
    """A defect by id or number; raises 404."""
    row = await reader.first(defects().where(matches(defect, reference)))
    if row is None:
        raise not_found("defect", reference)
    return row

"""Reads of what was reported."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, select

from chassis.db import Reader
from mes.execution.tables import report


async def reported_at(reader: Reader, machine: str, start: datetime, end: datetime) -> Sequence[RowMapping]:
    """Quantities reported at a machine from `start` up to, not including, `end`, with their standard minutes a unit."""
    return await reader.all(
        select(report.c.minutes_per_unit, report.c.good, report.c.scrap, report.c.rework).where(
            report.c.machine == machine, report.c.at >= start, report.c.at < end
        )
    )

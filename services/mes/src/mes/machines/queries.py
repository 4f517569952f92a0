"""Reads of work centers, machines and their histories."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, or_, select

from chassis.db import Reader, matches
from chassis.http.paging import ListQuery, page
from mes.machines.rules import STOPPED, Effectiveness, Interval, Output, clip, effectiveness
from mes.machines.tables import machine, machine_state, work_center
from mes.metadata import Row


async def work_centers(reader: Reader, paging: ListQuery) -> tuple[list[RowMapping], str | None]:
    """One page of work centers by code."""
    query = select(work_center, work_center.c.work_center.label("number"))
    return await page(reader, query, [work_center.c.work_center], paging)


async def find_work_center(reader: Reader, reference: str) -> RowMapping | None:
    """A work center, by id or code."""
    query = select(work_center, work_center.c.work_center.label("number"))
    return await reader.first(query.where(matches(work_center, reference, "work_center")))


async def listed(
    reader: Reader, paging: ListQuery, filters: Mapping[str, str | None]
) -> tuple[list[RowMapping], str | None]:
    """One page of machines by code; filters ``work_center`` and ``state``."""
    query = select(machine, machine.c.machine.label("number"))
    for name, value in filters.items():
        if value:
            query = query.where(machine.c[name] == value)
    return await page(reader, query, [machine.c.machine], paging)


async def find(reader: Reader, reference: str) -> RowMapping | None:
    """A machine, by id or code."""
    query = select(machine, machine.c.machine.label("number"))
    return await reader.first(query.where(matches(machine, reference, "machine")))


async def all_machines(reader: Reader) -> Sequence[RowMapping]:
    """Every machine, by code."""
    return await reader.all(select(machine).order_by(machine.c.machine))


async def of_work_center(reader: Reader, code: str) -> Sequence[RowMapping]:
    """The machines of a work center, by code; none when it is unknown here."""
    return await reader.all(select(machine).where(machine.c.work_center == code).order_by(machine.c.machine))


def can_run(found: Row) -> bool:
    """Whether a machine's state allows work on it."""
    return found["state"] not in STOPPED


async def oee(reader: Reader, found: Row, start: datetime, end: datetime, outputs: Sequence[Output]) -> Effectiveness:
    """OEE of a machine between two times, from its state history and the pieces reported at it."""
    rows = await reader.all(
        select(machine_state)
        .where(
            machine_state.c.machine_id == found["id"],
            machine_state.c.started_at < end,
            or_(machine_state.c.ended_at.is_(None), machine_state.c.ended_at > start),
        )
        .order_by(machine_state.c.started_at)
    )
    intervals = [Interval(r["state"], r["started_at"], r["ended_at"] or end) for r in rows]
    return effectiveness(clip(intervals, start, end), outputs)

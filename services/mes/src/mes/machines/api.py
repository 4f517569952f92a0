"""Work centers and machines: master data, states and OEE."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from chassis.clock import now
from chassis.db import Reader
from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import invalid, not_found
from contracts.mes import MachineState
from contracts.values import Code, Quantity, UtcTime
from mes.execution import commands as execution
from mes.execution import queries as execution_queries
from mes.machines import commands, queries
from mes.machines.rules import Output
from mes.metadata import Row
from mes.records import Record
from mes.texts import Name, Remark
from mes.workorders import queries as work

router = APIRouter(prefix="/v1", tags=["machines"])
Reads = Annotated[Call, requires("production:read")]
Writes = Annotated[Call, requires("production:write")]
Executes = Annotated[Call, requires("execution:write")]
_OEE_WINDOW = timedelta(days=1)


class WorkCenter(Record):
    """Machines that can do the same operations."""

    work_center: str
    name: str


class NewWorkCenter(BaseModel):
    """A work center to make; its name is its code when left out."""

    model_config = ConfigDict(extra="forbid")

    work_center: Code
    name: Name | None = None


class Machine(Record):
    """A machine, its state, and the operation it runs."""

    machine: str
    work_center: str
    name: str
    state: MachineState
    since: UtcTime
    reason: str | None
    operation: str | None


class NewMachine(BaseModel):
    """A machine to make; its name is its code when left out."""

    model_config = ConfigDict(extra="forbid")

    machine: Code
    work_center: Code
    name: Name | None = None


class NewState(BaseModel):
    """The state a machine is in, since when (now when left out) and why."""

    model_config = ConfigDict(extra="forbid")

    state: MachineState
    reason: Remark | None = None
    at: UtcTime | None = None


class MachineQuery(ListQuery):
    """Filters of the list of machines."""

    work_center: str | None = None
    state: MachineState | None = None


class OeeQuery(BaseModel):
    """The window to measure: the last 24 hours when left out."""

    model_config = ConfigDict(extra="forbid")

    start: UtcTime | None = Field(default=None, alias="from")
    end: UtcTime | None = Field(default=None, alias="to")


class Oee(BaseModel):
    """Overall equipment effectiveness (ISO 22400-2); a ratio is null where nothing was planned or made."""

    machine: str
    start: UtcTime
    end: UtcTime
    pbt_minutes: Quantity = Field(description="planned busy time: all but off and maintenance")
    apt_minutes: Quantity = Field(description="actual production time: running")
    planned_minutes: Quantity = Field(description="planned run time per item × produced quantity")
    produced: Quantity
    good: Quantity
    availability: float | None
    effectiveness: float | None
    quality: float | None
    oee: float | None


@router.get("/work-centers", response_model=Page[WorkCenter])
async def list_work_centers(call: Reads, query: Annotated[ListQuery, Query()]) -> Response:
    """Work centers by code."""
    async with call.read() as reader:
        rows, cursor = await queries.work_centers(reader, query)
    return answer({"items": [dict(r) for r in rows], "next_cursor": cursor}, Page[WorkCenter])


@router.post("/work-centers", response_model=WorkCenter, status_code=201)
async def create_work_center(call: Writes, body: NewWorkCenter) -> Response:
    """Make a work center."""
    code, name = body.work_center, body.name or body.work_center
    return await call.write(lambda tx: commands.create_work_center(tx, code, name), WorkCenter, 201)


@router.get("/work-centers/{work_center}", response_model=WorkCenter)
async def read_work_center(call: Reads, work_center: str) -> Response:
    """One work center, by id or code."""
    async with call.read() as reader:
        row = await queries.find_work_center(reader, work_center)
    if row is None:
        raise not_found("work center", work_center)
    return answer(dict(row), WorkCenter)


@router.get("/machines", response_model=Page[Machine])
async def list_machines(call: Reads, query: Annotated[MachineQuery, Query()]) -> Response:
    """Machines by code, with what they do now."""
    async with call.read() as reader:
        filters = {"work_center": query.work_center, "state": query.state}
        rows, cursor = await queries.listed(reader, query, filters)
        items = await _with_operations(reader, rows)
    return answer({"items": items, "next_cursor": cursor}, Page[Machine])


@router.post("/machines", response_model=Machine, status_code=201)
async def create_machine(call: Writes, body: NewMachine) -> Response:
    """Make a machine; it is idle until it is reported otherwise."""
    name = body.name or body.machine
    return await call.write(lambda tx: commands.create_machine(tx, body.machine, body.work_center, name), Machine, 201)


@router.get("/machines/{machine}", response_model=Machine)
async def read_machine(call: Reads, machine: str) -> Response:
    """One machine, by id or code."""
    async with call.read() as reader:
        found = await _find(reader, machine)
        return answer((await _with_operations(reader, [found]))[0], Machine)


@router.post("/machines/{machine}/state", response_model=Machine)
async def report_machine_state(call: Executes, machine: str, body: NewState) -> Response:
    """Report a machine's state; stopping it (down, maintenance, off) pauses the operation it runs."""
    return await call.write(
        lambda tx: execution.report_machine_state(tx, machine, body.state, body.reason, body.at), Machine
    )


@router.get("/machines/{machine}/oee", response_model=Oee)
async def read_oee(call: Reads, machine: str, query: Annotated[OeeQuery, Query()]) -> Response:
    """OEE of a machine between two times."""
    end = query.end or now()
    start = query.start or end - _OEE_WINDOW
    if start >= end:
        raise invalid("from", "before_to", "the window must begin before it ends")
    async with call.read() as reader:
        found = await _find(reader, machine)
        reports = await execution_queries.reported_at(reader, found["machine"], start, end)
        measured = await queries.oee(reader, found, start, end, [Output(**r) for r in reports])
    return answer(
        {
            "machine": found["machine"],
            "start": start,
            "end": end,
            "pbt_minutes": round(measured.pbt_minutes, 6),
            "apt_minutes": round(measured.apt_minutes, 6),
            "planned_minutes": round(measured.planned_minutes, 6),
            "produced": measured.produced,
            "good": measured.good,
            "availability": _four_decimals(measured.availability),
            "effectiveness": _four_decimals(measured.effectiveness),
            "quality": _four_decimals(measured.quality),
            "oee": _four_decimals(measured.oee),
        },
        Oee,
    )


def _four_decimals(ratio: Decimal | None) -> float | None:
    return None if ratio is None else float(round(ratio, 4))


async def _find(reader: Reader, machine: str) -> Row:
    row = await queries.find(reader, machine)
    if row is None:
        raise not_found("machine", machine)
    return row


async def _with_operations(reader: Reader, rows: Sequence[Row]) -> list[dict[str, Any]]:
    running = await work.running_on(reader, [row["machine"] for row in rows])
    return [
        {**row, "operation": running[row["machine"]]["number"] if row["machine"] in running else None} for row in rows
    ]

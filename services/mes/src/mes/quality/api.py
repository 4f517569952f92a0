"""HTTP: inspections and defects."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from contracts.mes import SuspectedInput
from contracts.values import plain
from mes.quality import commands, queries
from mes.quality.rules import Measurement, Result, Severity
from mes.records import Record
from mes.texts import Characteristic, LotName, Remark

router = APIRouter(prefix="/v1", tags=["quality"])

Measure = Annotated[Decimal, Field(max_digits=18), PlainSerializer(plain, return_type=str, when_used="json")]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Measured(BaseModel):
    """What was measured or counted, on which lot."""

    lot: LotName
    characteristic: Characteristic
    value: Measure | None = None
    lower_limit: Measure | None = None
    upper_limit: Measure | None = None
    sample_size: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    nonconforming: Count | None = None
    severity: Severity = "major"
    description: Remark = ""


class NewDefect(Measured):
    """A defect somebody found."""

    model_config = ConfigDict(extra="forbid")

    def found_by(self, client_id: str) -> commands.Finding:
        """The finding this request reports."""
        measured = Measurement(self.value, self.lower_limit, self.upper_limit, self.sample_size, self.nonconforming)
        return commands.Finding(
            self.lot, self.characteristic, measured, self.severity, self.description, recorded_by=client_id
        )


class NewInspection(NewDefect):
    """A judgement on a lot; a rejection is a defect."""

    result: Result


class Recorded(Measured, Record):
    """What every finding's record has."""

    item: str
    recorded_by: str


class Inspection(Recorded):
    """A lot was judged; `defect` is the number of the defect a rejection became."""

    result: Result
    defect: str | None
    defect_id: UUID | None


class Defect(Recorded):
    """A lot is bad: what is held because of it, and which bought lots are suspected."""

    work_order: str | None
    batch: str | None
    held_lots: list[str]
    suspected_inputs: list[SuspectedInput]


class InspectionQuery(ListQuery):
    """Filters of the list of inspections."""

    lot: LotName | None = None
    result: Result | None = None


class DefectQuery(ListQuery):
    """Filters of the list of defects."""

    lot: LotName | None = None
    severity: Severity | None = None


@router.post("/inspections", response_model=Inspection, status_code=201)
async def record_inspection(call: Annotated[Call, requires("quality:write")], body: NewInspection) -> Response:
    """Record a judgement on a lot; a rejection holds the lot and its siblings."""
    found = body.found_by(call.principal.client_id)
    return await call.write(lambda tx: commands.record_inspection(tx, found, body.result), Inspection, 201)


@router.get("/inspections", response_model=Page[Inspection])
async def list_inspections(
    call: Annotated[Call, requires("quality:read")], query: Annotated[InspectionQuery, Query()]
) -> Response:
    """Inspections, oldest first."""
    async with call.read() as reader:
        items, next_cursor = await queries.inspections(reader, query, query.lot, query.result)
    return answer({"items": items, "next_cursor": next_cursor}, Page[Inspection])


@router.get("/inspections/{reference}", response_model=Inspection)
async def get_inspection(call: Annotated[Call, requires("quality:read")], reference: str) -> Response:
    """One inspection."""
    async with call.read() as reader:
        return answer(await queries.inspection_record(reader, reference), Inspection)


@router.post("/defects", response_model=Defect, status_code=201)
async def record_defect(call: Annotated[Call, requires("quality:write")], body: NewDefect) -> Response:
    """Record a defect: holds the lot, and unless it is minor its siblings."""
    found = body.found_by(call.principal.client_id)
    return await call.write(lambda tx: commands.record_defect(tx, found), Defect, 201)


@router.get("/defects", response_model=Page[Defect])
async def list_defects(
    call: Annotated[Call, requires("quality:read")], query: Annotated[DefectQuery, Query()]
) -> Response:
    """Defects, oldest first."""
    async with call.read() as reader:
        items, next_cursor = await queries.defects(reader, query, query.lot, query.severity)
    return answer({"items": items, "next_cursor": next_cursor}, Page[Defect])


@router.get("/defects/{reference}", response_model=Defect)
async def get_defect(call: Annotated[Call, requires("quality:read")], reference: str) -> Response:
    """One defect."""
    async with call.read() as reader:
        return answer(await queries.defect_record(reader, reference), Defect)

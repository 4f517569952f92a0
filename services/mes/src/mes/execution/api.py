"""The operations resource: the dispatch list, and what operators do."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from chassis.http.calls import Call, answer, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import not_found
from contracts.mes import ConsumedLot
from contracts.values import Code, PositiveQuantity, Quantity, UtcTime
from mes.execution import commands
from mes.records import OperationRecord
from mes.texts import LotName, Operator, Remark
from mes.workorders import queries

router = APIRouter(prefix="/v1/operations", tags=["operations"])
Reads = Annotated[Call, requires("production:read")]
Executes = Annotated[Call, requires("execution:write")]


class OperationQuery(ListQuery):
    """Filters of the dispatch list."""

    work_center: str | None = None
    state: Literal["waiting", "ready", "running", "paused", "done", "cancelled"] | None = None
    machine: str | None = None
    work_order: str | None = Field(default=None, description="number or id")


class Action(BaseModel):
    """Who does it, on which machine, and why."""

    model_config = ConfigDict(extra="forbid")

    operator: Operator | None = None
    machine: Code | None = None
    reason: Remark | None = None


class Consumed(BaseModel):
    """A quantity of a component's lot that went in."""

    model_config = ConfigDict(extra="forbid")

    item: Code
    lot: LotName
    quantity: PositiveQuantity


class NewReport(BaseModel):
    """Pieces and consumption since the last report. `done` ends the operation, even short of its quantity."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"good": "1"}]})

    good: Quantity = Field(default=0, validate_default=True)
    scrap: Quantity = Field(default=0, validate_default=True)
    rework: Quantity = Field(default=0, validate_default=True)
    reason: Remark | None = None
    consumed: list[Consumed] = Field(default_factory=list, max_length=200)
    done: bool = False
    at: UtcTime | None = Field(default=None, description="when it was made; now when left out")

    @model_validator(mode="after")
    def says_something(self) -> "NewReport":
        """Refuse a report of nothing."""
        if not (self.good or self.scrap or self.rework or self.consumed or self.done):
            raise ValueError("report pieces, consumption or done")
        return self

    def given(self) -> commands.Report:
        """The report as the command takes it."""
        consumed = [ConsumedLot(item=c.item, lot=c.lot, quantity=c.quantity) for c in self.consumed]
        return commands.Report(self.good, self.scrap, self.rework, self.reason, consumed, self.done, self.at)


class ReportedOperation(OperationRecord):
    """The operation after a report, and what it made at the last operation."""

    batch: str | None
    lot: str | None


@router.get("", response_model=Page[OperationRecord])
async def list_operations(call: Reads, query: Annotated[OperationQuery, Query()]) -> Response:
    """The dispatch list: operations in the order to work."""
    filters = query.model_dump(include={"work_center", "state", "machine", "work_order"})
    async with call.read() as reader:
        rows, cursor = await queries.dispatch_list(reader, query, filters)
    return answer({"items": rows, "next_cursor": cursor}, Page[OperationRecord])


@router.get("/{operation}", response_model=OperationRecord)
async def read_operation(call: Reads, operation: str) -> Response:
    """One operation, by id or number."""
    async with call.read() as reader:
        row = await queries.find_operation(reader, operation)
    if row is None:
        raise not_found("operation", operation)
    return answer(row, OperationRecord)


@router.post("/{operation}/start", response_model=OperationRecord)
async def start_operation(call: Executes, operation: str, body: Action | None = None) -> Response:
    """Run a ready or paused operation on the machine given, else the planned or a free one."""
    return await _start(call, operation, ("ready", "paused"), body or Action())


@router.post("/{operation}/resume", response_model=OperationRecord)
async def resume_operation(call: Executes, operation: str, body: Action | None = None) -> Response:
    """Run a paused operation again."""
    return await _start(call, operation, ("paused",), body or Action())


async def _start(call: Call, operation: str, states: tuple[str, ...], body: Action) -> Response:
    def work(tx: Any) -> Any:
        return commands.start(tx, operation, states, body.machine, body.operator)

    return await call.write(work, OperationRecord)


@router.post("/{operation}/pause", response_model=OperationRecord)
async def pause_operation(call: Executes, operation: str, body: Action | None = None) -> Response:
    """Stop a running operation; its machine becomes idle."""
    reason = body.reason if body else None
    return await call.write(lambda tx: commands.pause(tx, operation, reason), OperationRecord)


@router.post("/{operation}/reports", response_model=ReportedOperation, status_code=201)
async def report_operation(call: Executes, operation: str, body: NewReport) -> Response:
    """Report pieces of a running operation; good pieces of the last one are a batch and a finished lot."""
    return await call.write(lambda tx: commands.report(tx, operation, body.given()), ReportedOperation, 201)

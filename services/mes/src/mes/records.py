"""Shapes of public records that more than one capability answers with."""

from uuid import UUID

from pydantic import BaseModel

from contracts.values import Quantity, UtcTime


class Record(BaseModel):
    """What every record's answer has."""

    id: UUID
    number: str
    version: int
    created_at: UtcTime
    updated_at: UtcTime


class OperationRecord(Record):
    """One step of a work order."""

    work_order: str
    operation: int
    item: str
    work_center: str
    machine: str | None
    state: str
    quantity: Quantity
    good: Quantity
    scrap: Quantity
    rework: Quantity
    setup_minutes: Quantity
    minutes_per_unit: Quantity
    planned_start: UtcTime | None
    planned_end: UtcTime | None
    started_at: UtcTime | None
    orders: list[str]

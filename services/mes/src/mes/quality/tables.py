"""Inspections and defects, as recorded; neither is ever changed."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, Numeric, Sequence, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mes.metadata import metadata, record_columns

INSPECTION_NUMBER = Sequence("inspection_number", metadata=metadata)
DEFECT_NUMBER = Sequence("defect_number", metadata=metadata)


def _finding_columns() -> tuple[Column[object] | CheckConstraint, ...]:
    return (
        Column("number", Text, nullable=False, unique=True),
        Column("lot", Text, nullable=False, index=True),
        Column("item", Text, nullable=False),
        Column("characteristic", Text, nullable=False),
        Column("value", Numeric),
        Column("lower_limit", Numeric),
        Column("upper_limit", Numeric),
        Column("sample_size", Integer),
        Column("nonconforming", Integer),
        Column("severity", Text, nullable=False),
        Column("description", Text, nullable=False),
        Column("recorded_by", Text, nullable=False),
        CheckConstraint("severity IN ('minor', 'major', 'critical')", name="severity"),
        CheckConstraint("lower_limit <= upper_limit", name="limits"),
        CheckConstraint("nonconforming BETWEEN 0 AND sample_size", name="nonconforming"),
    )


defect = Table(
    "defect",
    metadata,
    *record_columns(),
    *_finding_columns(),
    Column("work_order_id", Uuid),
    Column("work_order", Text),
    Column("batch_id", Uuid),
    Column("batch", Text),
    Column("held_lots", ARRAY(Text), nullable=False),
    Column("suspected_inputs", JSONB, nullable=False),
)

inspection = Table(
    "inspection",
    metadata,
    *record_columns(),
    *_finding_columns(),
    Column("result", Text, nullable=False),
    Column("defect_id", Uuid, ForeignKey("defect.id")),
    CheckConstraint("result IN ('accepted', 'rejected')", name="result"),
    CheckConstraint("(result = 'rejected') = (defect_id IS NOT NULL)", name="defect"),
)

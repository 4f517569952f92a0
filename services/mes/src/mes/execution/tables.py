"""What operators reported, row by row."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, Uuid

from mes.metadata import QUANTITY, TIME, metadata

report = Table(
    "report",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("operation_id", Uuid, ForeignKey("operation.id"), nullable=False, index=True),
    Column("machine", Text),
    Column("minutes_per_unit", QUANTITY, nullable=False),
    Column("good", QUANTITY, nullable=False),
    Column("scrap", QUANTITY, nullable=False),
    Column("rework", QUANTITY, nullable=False),
    Column("reason", Text),
    Column("at", TIME, nullable=False),
    CheckConstraint("good >= 0 AND scrap >= 0 AND rework >= 0", name="quantities"),
    Index(None, "machine", "at"),
)

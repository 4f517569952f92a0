"""Why the schedule must be computed again: one row per trigger, deleted by the run that answers it."""

from sqlalchemy import BigInteger, Boolean, Column, Identity, Table, Text, Uuid

from mes.metadata import metadata

schedule_request = Table(
    "schedule_request",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("urgent", Boolean, nullable=False),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("event_id", Text),
    # What it concerns directly: one work order, or everything at one work center.
    Column("work_order_id", Uuid),
    Column("work_center", Text),
)

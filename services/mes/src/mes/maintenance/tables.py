"""Maintenance orders: one per stop of a machine."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Sequence, Table, Text

from mes.metadata import QUANTITY, TIME, metadata, record_columns

MAINTENANCE_ORDER_NUMBER = Sequence("maintenance_order_number", metadata=metadata)

maintenance_order = Table(
    "maintenance_order",
    metadata,
    *record_columns(),
    Column("number", Text, nullable=False, unique=True),
    Column("machine", Text, ForeignKey("machine.machine"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("notified", Text, nullable=False),
    Column("opened_at", TIME, nullable=False),
    Column("completed_at", TIME),
    Column("downtime_minutes", QUANTITY),
    CheckConstraint("state IN ('open', 'completed')", name="state"),
    CheckConstraint("(state = 'completed') = (completed_at IS NOT NULL)", name="completed"),
    Index("uq_maintenance_order_open", "machine", unique=True, postgresql_where="state = 'open'"),
)

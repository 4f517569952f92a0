"""Work centers, machines, and the unbroken history of each machine's state."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from mes.metadata import TIME, metadata, record_columns

_STATES = "state IN ('running', 'idle', 'setup', 'down', 'maintenance', 'off')"

work_center = Table(
    "work_center",
    metadata,
    *record_columns(),
    Column("work_center", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
)

machine = Table(
    "machine",
    metadata,
    *record_columns(),
    Column("machine", Text, nullable=False, unique=True),
    Column("work_center", Text, ForeignKey("work_center.work_center"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", TIME, nullable=False),
    Column("reason", Text),
    # The MachineStateChanged behind the present state.
    Column("state_event_id", Text),
    CheckConstraint(_STATES, name="state"),
)

# Contiguous by constraint: each interval starts where another of the machine ends, and there is one first and one open.
machine_state = Table(
    "machine_state",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("machine_id", Uuid, ForeignKey("machine.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("started_at", TIME, nullable=False),
    Column("ended_at", TIME),
    Column("previous_ended_at", TIME),
    CheckConstraint(_STATES, name="state"),
    CheckConstraint("ended_at > started_at", name="forward"),
    CheckConstraint("previous_ended_at = started_at", name="contiguous"),
    UniqueConstraint("machine_id", "ended_at", postgresql_nulls_not_distinct=True, name="uq_machine_state_one_open"),
    UniqueConstraint(
        "machine_id", "previous_ended_at", postgresql_nulls_not_distinct=True, name="uq_machine_state_one_first"
    ),
    ForeignKeyConstraint(
        ["machine_id", "previous_ended_at"],
        ["machine_state.machine_id", "machine_state.ended_at"],
        name="fk_machine_state_previous",
    ),
)

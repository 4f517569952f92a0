"""Work orders and their operations: one aggregate, locked by its work order row."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mes.metadata import QUANTITY, TIME, metadata, record_columns

WORK_ORDER_NUMBER = Sequence("work_order_number", metadata=metadata)
BATCH_NUMBER = Sequence("batch_number", metadata=metadata)

work_order = Table(
    "work_order",
    metadata,
    *record_columns(),
    Column("number", Text, nullable=False, unique=True),
    Column("plan_id", Uuid, nullable=False, unique=True),
    Column("plan", Text, nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("item", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("good", QUANTITY, nullable=False, server_default="0"),
    Column("scrap", QUANTITY, nullable=False, server_default="0"),
    Column("rework", QUANTITY, nullable=False, server_default="0"),
    # Pieces (good and scrapped) whose components have been taken at standard.
    Column("backflushed", QUANTITY, nullable=False, server_default="0"),
    # Components the operators report by lot themselves; these are never backflushed.
    Column("reported_components", ARRAY(Text), nullable=False, server_default="{}"),
    Column("batches", Integer, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("due", TIME, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("pegs", JSONB, nullable=False),
    Column("components", JSONB, nullable=False),
    Column("bom_version", Integer, nullable=False),
    Column("routing_version", Integer, nullable=False),
    Column("material_status", Text, nullable=False),
    Column("material_date", TIME),
    Column("predecessor_plans", ARRAY(Uuid), nullable=False),
    # The planned end the last WorkOrderScheduled told.
    Column("published_end", TIME),
    CheckConstraint("state IN ('created', 'scheduled', 'running', 'completed', 'cancelled')", name="state"),
    CheckConstraint("material_status IN ('ready', 'waiting')", name="material_status"),
    CheckConstraint("quantity > 0 AND good >= 0 AND scrap >= 0 AND rework >= 0", name="quantities"),
    CheckConstraint("good + scrap <= quantity", name="mass_balance"),
    Index(None, "item"),
    Index("ix_work_order_open", "id", postgresql_where="state IN ('created', 'scheduled', 'running')"),
    Index("ix_work_order_pegs", "pegs", postgresql_using="gin", postgresql_ops={"pegs": "jsonb_path_ops"}),
)

operation = Table(
    "operation",
    metadata,
    *record_columns(),
    Column("number", Text, nullable=False, unique=True),
    Column("work_order_id", Uuid, ForeignKey("work_order.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("work_center", Text, nullable=False),
    Column("setup_minutes", QUANTITY, nullable=False),
    Column("minutes_per_unit", QUANTITY, nullable=False),
    Column("state", Text, nullable=False),
    # What it has to process: the work order's quantity, or the good pieces of the operation before.
    Column("quantity", QUANTITY, nullable=False),
    Column("good", QUANTITY, nullable=False, server_default="0"),
    Column("scrap", QUANTITY, nullable=False, server_default="0"),
    Column("rework", QUANTITY, nullable=False, server_default="0"),
    # Where it runs, or is planned to run; none at a work center without registered machines.
    Column("machine", Text),
    Column("operator", Text),
    # Where its last pieces were made: elsewhere it must be set up again.
    Column("set_up_on", Text),
    # The machine the last WorkOrderScheduled told.
    Column("published_machine", Text),
    Column("planned_start", TIME),
    Column("planned_end", TIME),
    Column("started_at", TIME),
    # Last start or report: what is left is counted from here.
    Column("progressed_at", TIME),
    Column("completed_at", TIME),
    UniqueConstraint("work_order_id", "sequence"),
    CheckConstraint("state IN ('waiting', 'ready', 'running', 'paused', 'done', 'cancelled')", name="state"),
    CheckConstraint("good >= 0 AND scrap >= 0 AND rework >= 0 AND good + scrap <= quantity", name="mass_balance"),
    Index("uq_operation_running_machine", "machine", unique=True, postgresql_where="state = 'running'"),
    Index("ix_operation_open", "work_center", postgresql_where="state NOT IN ('done', 'cancelled')"),
)

batch = Table(
    "batch",
    metadata,
    *record_columns(),
    Column("number", Text, nullable=False, unique=True),
    Column("work_order_id", Uuid, ForeignKey("work_order.id"), nullable=False, index=True),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("lot", Text, nullable=False, unique=True),
    CheckConstraint("quantity > 0", name="quantity"),
)

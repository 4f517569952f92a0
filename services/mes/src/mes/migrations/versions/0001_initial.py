"""Initial"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:  # noqa: PLR0915
    """Apply."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("batch_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("defect_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("inspection_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("lot_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("maintenance_order_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("work_order_number")))
    op.create_table(
        "idempotency_key",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("client_id", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column(
            "handled_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("consumer", "event_id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_event_id"), "inbox", ["event_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("aggregate_version", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("parked_reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("event_id", name=op.f("uq_outbox_event_id")),
    )
    op.create_index(
        "ix_outbox_parked",
        "outbox",
        ["topic", "key"],
        unique=False,
        postgresql_where=sa.text("parked_reason IS NOT NULL"),
    )
    op.create_table(
        "parked_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parked_event")),
    )
    op.create_index(
        op.f("ix_parked_event_consumer_topic_key_id"), "parked_event", ["consumer", "topic", "key", "id"], unique=False
    )
    op.create_index("uq_parked_event_source", "parked_event", ["consumer", "topic", "partition", "offset"], unique=True)
    op.create_table(
        "parked_key",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("consumer", "topic", "key", name=op.f("pk_parked_key")),
    )
    op.create_table(
        "defect",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("characteristic", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(), nullable=True),
        sa.Column("lower_limit", sa.Numeric(), nullable=True),
        sa.Column("upper_limit", sa.Numeric(), nullable=True),
        sa.Column("sample_size", sa.Integer(), nullable=True),
        sa.Column("nonconforming", sa.Integer(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("work_order_id", sa.Uuid(), nullable=True),
        sa.Column("work_order", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("batch", sa.Text(), nullable=True),
        sa.Column("held_lots", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("suspected_inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("severity IN ('minor', 'major', 'critical')", name=op.f("ck_defect_severity")),
        sa.CheckConstraint("lower_limit <= upper_limit", name=op.f("ck_defect_limits")),
        sa.CheckConstraint("nonconforming BETWEEN 0 AND sample_size", name=op.f("ck_defect_nonconforming")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_defect")),
        sa.UniqueConstraint("number", name=op.f("uq_defect_number")),
    )
    op.create_index(op.f("ix_defect_lot"), "defect", ["lot"], unique=False)
    op.create_table(
        "lot",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("received", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("adjusted", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("consumed", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("shipped", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column(
            "quantity",
            sa.Numeric(precision=18, scale=6),
            sa.Computed(
                "CASE WHEN status = 'scrapped' THEN 0 ELSE greatest(received + adjusted - consumed - shipped, 0) END",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column(
            "scrapped",
            sa.Numeric(precision=18, scale=6),
            sa.Computed(
                "CASE WHEN status = 'scrapped' THEN greatest(received + adjusted - consumed - shipped, 0) ELSE 0 END",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column("supplier", sa.Text(), nullable=True),
        sa.Column("supplier_lot", sa.Text(), nullable=True),
        sa.Column("purchase_order", sa.Text(), nullable=True),
        sa.Column("work_order_id", sa.Uuid(), nullable=True),
        sa.Column("work_order", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("batch", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(origin = 'produced') = (batch_id IS NOT NULL)", name=op.f("ck_lot_batch")),
        sa.CheckConstraint("origin IN ('purchased', 'produced', 'received')", name=op.f("ck_lot_origin")),
        sa.CheckConstraint("status IN ('released', 'held', 'scrapped')", name=op.f("ck_lot_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lot")),
        sa.UniqueConstraint("batch_id", name=op.f("uq_lot_batch_id")),
        sa.UniqueConstraint("lot", name=op.f("uq_lot_lot")),
    )
    op.create_index(op.f("ix_lot_item_created_at"), "lot", ["item", "created_at"], unique=False)
    op.create_index(op.f("ix_lot_work_order_id"), "lot", ["work_order_id"], unique=False)
    op.create_table(
        "lot_shipment",
        sa.Column("shipment_id", sa.Uuid(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("shipment", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("order", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("shipment_id", "lot", name=op.f("pk_lot_shipment")),
    )
    op.create_index(op.f("ix_lot_shipment_lot"), "lot_shipment", ["lot"], unique=False)
    op.create_table(
        "schedule_request",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("work_order_id", sa.Uuid(), nullable=True),
        sa.Column("work_center", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_request")),
    )
    op.create_table(
        "work_center",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("work_center", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_center")),
        sa.UniqueConstraint("work_center", name=op.f("uq_work_center_work_center")),
    )
    op.create_table(
        "work_order",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("good", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("scrap", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("rework", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("backflushed", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("reported_components", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("batches", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("pegs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("components", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("bom_version", sa.Integer(), nullable=False),
        sa.Column("routing_version", sa.Integer(), nullable=False),
        sa.Column("material_status", sa.Text(), nullable=False),
        sa.Column("material_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("predecessor_plans", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("published_end", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("material_status IN ('ready', 'waiting')", name=op.f("ck_work_order_material_status")),
        sa.CheckConstraint(
            "state IN ('created', 'scheduled', 'running', 'completed', 'cancelled')", name=op.f("ck_work_order_state")
        ),
        sa.CheckConstraint("good + scrap <= quantity", name=op.f("ck_work_order_mass_balance")),
        sa.CheckConstraint(
            "quantity > 0 AND good >= 0 AND scrap >= 0 AND rework >= 0", name=op.f("ck_work_order_quantities")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_order")),
        sa.UniqueConstraint("number", name=op.f("uq_work_order_number")),
        sa.UniqueConstraint("plan_id", name=op.f("uq_work_order_plan_id")),
    )
    op.create_index(op.f("ix_work_order_item"), "work_order", ["item"], unique=False)
    op.create_index(
        "ix_work_order_open",
        "work_order",
        ["id"],
        unique=False,
        postgresql_where="state IN ('created', 'scheduled', 'running')",
    )
    op.create_index(
        "ix_work_order_pegs",
        "work_order",
        ["pegs"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"pegs": "jsonb_path_ops"},
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("work_order_id", sa.Uuid(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_batch_quantity")),
        sa.ForeignKeyConstraint(["work_order_id"], ["work_order.id"], name=op.f("fk_batch_work_order_id_work_order")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint("lot", name=op.f("uq_batch_lot")),
        sa.UniqueConstraint("number", name=op.f("uq_batch_number")),
    )
    op.create_index(op.f("ix_batch_work_order_id"), "batch", ["work_order_id"], unique=False)
    op.create_table(
        "consumption",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("work_order_id", sa.Uuid(), nullable=False),
        sa.Column("work_order", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Uuid(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("backflushed", sa.Boolean(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_consumption_quantity")),
        sa.ForeignKeyConstraint(["lot"], ["lot.lot"], name=op.f("fk_consumption_lot_lot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consumption")),
    )
    op.create_index(op.f("ix_consumption_lot"), "consumption", ["lot"], unique=False)
    op.create_index(
        op.f("ix_consumption_work_order_id_batch_id"), "consumption", ["work_order_id", "batch_id"], unique=False
    )
    op.create_table(
        "inspection",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("characteristic", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(), nullable=True),
        sa.Column("lower_limit", sa.Numeric(), nullable=True),
        sa.Column("upper_limit", sa.Numeric(), nullable=True),
        sa.Column("sample_size", sa.Integer(), nullable=True),
        sa.Column("nonconforming", sa.Integer(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("defect_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(result = 'rejected') = (defect_id IS NOT NULL)", name=op.f("ck_inspection_defect")),
        sa.CheckConstraint("result IN ('accepted', 'rejected')", name=op.f("ck_inspection_result")),
        sa.CheckConstraint("severity IN ('minor', 'major', 'critical')", name=op.f("ck_inspection_severity")),
        sa.CheckConstraint("lower_limit <= upper_limit", name=op.f("ck_inspection_limits")),
        sa.CheckConstraint("nonconforming BETWEEN 0 AND sample_size", name=op.f("ck_inspection_nonconforming")),
        sa.ForeignKeyConstraint(["defect_id"], ["defect.id"], name=op.f("fk_inspection_defect_id_defect")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspection")),
        sa.UniqueConstraint("number", name=op.f("uq_inspection_number")),
    )
    op.create_index(op.f("ix_inspection_lot"), "inspection", ["lot"], unique=False)
    op.create_table(
        "lot_receipt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("supplier", sa.Text(), nullable=True),
        sa.Column("supplier_lot", sa.Text(), nullable=True),
        sa.Column("purchase_order", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["lot"], ["lot.lot"], name=op.f("fk_lot_receipt_lot_lot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lot_receipt")),
    )
    op.create_index(op.f("ix_lot_receipt_lot"), "lot_receipt", ["lot"], unique=False)
    op.create_index(op.f("ix_lot_receipt_supplier_lot_item"), "lot_receipt", ["supplier_lot", "item"], unique=False)
    op.create_table(
        "machine",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("work_center", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state_event_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'idle', 'setup', 'down', 'maintenance', 'off')", name=op.f("ck_machine_state")
        ),
        sa.ForeignKeyConstraint(
            ["work_center"], ["work_center.work_center"], name=op.f("fk_machine_work_center_work_center")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machine")),
        sa.UniqueConstraint("machine", name=op.f("uq_machine_machine")),
    )
    op.create_index(op.f("ix_machine_work_center"), "machine", ["work_center"], unique=False)
    op.create_table(
        "operation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("work_order_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("work_center", sa.Text(), nullable=False),
        sa.Column("setup_minutes", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("minutes_per_unit", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("good", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("scrap", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("rework", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("operator", sa.Text(), nullable=True),
        sa.Column("set_up_on", sa.Text(), nullable=True),
        sa.Column("published_machine", sa.Text(), nullable=True),
        sa.Column("planned_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("planned_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'ready', 'running', 'paused', 'done', 'cancelled')", name=op.f("ck_operation_state")
        ),
        sa.CheckConstraint(
            "good >= 0 AND scrap >= 0 AND rework >= 0 AND good + scrap <= quantity",
            name=op.f("ck_operation_mass_balance"),
        ),
        sa.ForeignKeyConstraint(
            ["work_order_id"], ["work_order.id"], name=op.f("fk_operation_work_order_id_work_order")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
        sa.UniqueConstraint("number", name=op.f("uq_operation_number")),
        sa.UniqueConstraint("work_order_id", "sequence", name=op.f("uq_operation_work_order_id_sequence")),
    )
    op.create_index(
        "ix_operation_open",
        "operation",
        ["work_center"],
        unique=False,
        postgresql_where="state NOT IN ('done', 'cancelled')",
    )
    op.create_index(
        "uq_operation_running_machine", "operation", ["machine"], unique=True, postgresql_where="state = 'running'"
    )
    op.create_table(
        "batch_input",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("consumption_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["consumption_id"], ["consumption.id"], name=op.f("fk_batch_input_consumption_id_consumption")
        ),
        sa.PrimaryKeyConstraint("batch_id", "consumption_id", name=op.f("pk_batch_input")),
    )
    op.create_index(op.f("ix_batch_input_consumption_id"), "batch_input", ["consumption_id"], unique=False)
    op.create_table(
        "machine_state",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("machine_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("previous_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'idle', 'setup', 'down', 'maintenance', 'off')", name=op.f("ck_machine_state_state")
        ),
        sa.CheckConstraint("ended_at > started_at", name=op.f("ck_machine_state_forward")),
        sa.CheckConstraint("previous_ended_at = started_at", name=op.f("ck_machine_state_contiguous")),
        sa.ForeignKeyConstraint(
            ["machine_id", "previous_ended_at"],
            ["machine_state.machine_id", "machine_state.ended_at"],
            name="fk_machine_state_previous",
        ),
        sa.ForeignKeyConstraint(["machine_id"], ["machine.id"], name=op.f("fk_machine_state_machine_id_machine")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machine_state")),
        sa.UniqueConstraint(
            "machine_id", "ended_at", name="uq_machine_state_one_open", postgresql_nulls_not_distinct=True
        ),
        sa.UniqueConstraint(
            "machine_id", "previous_ended_at", name="uq_machine_state_one_first", postgresql_nulls_not_distinct=True
        ),
    )
    op.create_table(
        "maintenance_order",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("notified", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("downtime_minutes", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.CheckConstraint(
            "(state = 'completed') = (completed_at IS NOT NULL)", name=op.f("ck_maintenance_order_completed")
        ),
        sa.CheckConstraint("state IN ('open', 'completed')", name=op.f("ck_maintenance_order_state")),
        sa.ForeignKeyConstraint(["machine"], ["machine.machine"], name=op.f("fk_maintenance_order_machine_machine")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maintenance_order")),
        sa.UniqueConstraint("number", name=op.f("uq_maintenance_order_number")),
    )
    op.create_index(op.f("ix_maintenance_order_machine"), "maintenance_order", ["machine"], unique=False)
    op.create_index(
        "uq_maintenance_order_open", "maintenance_order", ["machine"], unique=True, postgresql_where="state = 'open'"
    )
    op.create_table(
        "report",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("operation_id", sa.Uuid(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("minutes_per_unit", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("good", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("scrap", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("rework", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("good >= 0 AND scrap >= 0 AND rework >= 0", name=op.f("ck_report_quantities")),
        sa.ForeignKeyConstraint(["operation_id"], ["operation.id"], name=op.f("fk_report_operation_id_operation")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )
    op.create_index(op.f("ix_report_machine_at"), "report", ["machine", "at"], unique=False)
    op.create_index(op.f("ix_report_operation_id"), "report", ["operation_id"], unique=False)


def downgrade() -> None:  # noqa: PLR0915
    """Undo."""
    op.drop_index(op.f("ix_report_operation_id"), table_name="report")
    op.drop_index(op.f("ix_report_machine_at"), table_name="report")
    op.drop_table("report")
    op.drop_index("uq_maintenance_order_open", table_name="maintenance_order", postgresql_where="state = 'open'")
    op.drop_index(op.f("ix_maintenance_order_machine"), table_name="maintenance_order")
    op.drop_table("maintenance_order")
    op.drop_table("machine_state")
    op.drop_index(op.f("ix_batch_input_consumption_id"), table_name="batch_input")
    op.drop_table("batch_input")
    op.drop_index("uq_operation_running_machine", table_name="operation", postgresql_where="state = 'running'")
    op.drop_index("ix_operation_open", table_name="operation", postgresql_where="state NOT IN ('done', 'cancelled')")
    op.drop_table("operation")
    op.drop_index(op.f("ix_machine_work_center"), table_name="machine")
    op.drop_table("machine")
    op.drop_index(op.f("ix_lot_receipt_supplier_lot_item"), table_name="lot_receipt")
    op.drop_index(op.f("ix_lot_receipt_lot"), table_name="lot_receipt")
    op.drop_table("lot_receipt")
    op.drop_index(op.f("ix_inspection_lot"), table_name="inspection")
    op.drop_table("inspection")
    op.drop_index(op.f("ix_consumption_work_order_id_batch_id"), table_name="consumption")
    op.drop_index(op.f("ix_consumption_lot"), table_name="consumption")
    op.drop_table("consumption")
    op.drop_index(op.f("ix_batch_work_order_id"), table_name="batch")
    op.drop_table("batch")
    op.drop_index(
        "ix_work_order_pegs", table_name="work_order", postgresql_using="gin", postgresql_ops={"pegs": "jsonb_path_ops"}
    )
    op.drop_index(
        "ix_work_order_open", table_name="work_order", postgresql_where="state IN ('created', 'scheduled', 'running')"
    )
    op.drop_index(op.f("ix_work_order_item"), table_name="work_order")
    op.drop_table("work_order")
    op.drop_table("work_center")
    op.drop_table("schedule_request")
    op.drop_index(op.f("ix_lot_shipment_lot"), table_name="lot_shipment")
    op.drop_table("lot_shipment")
    op.drop_index(op.f("ix_lot_work_order_id"), table_name="lot")
    op.drop_index(op.f("ix_lot_item_created_at"), table_name="lot")
    op.drop_table("lot")
    op.drop_index(op.f("ix_defect_lot"), table_name="defect")
    op.drop_table("defect")
    op.drop_table("parked_key")
    op.drop_index("uq_parked_event_source", table_name="parked_event")
    op.drop_index(op.f("ix_parked_event_consumer_topic_key_id"), table_name="parked_event")
    op.drop_table("parked_event")
    op.drop_index("ix_outbox_parked", table_name="outbox", postgresql_where=sa.text("parked_reason IS NOT NULL"))
    op.drop_table("outbox")
    op.drop_index(op.f("ix_inbox_event_id"), table_name="inbox")
    op.drop_table("inbox")
    op.drop_table("idempotency_key")
    op.execute(sa.schema.DropSequence(sa.Sequence("batch_number")))
    op.execute(sa.schema.DropSequence(sa.Sequence("defect_number")))
    op.execute(sa.schema.DropSequence(sa.Sequence("inspection_number")))
    op.execute(sa.schema.DropSequence(sa.Sequence("lot_number")))
    op.execute(sa.schema.DropSequence(sa.Sequence("maintenance_order_number")))
    op.execute(sa.schema.DropSequence(sa.Sequence("work_order_number")))

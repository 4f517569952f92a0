"""initial"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Deferred to commit: a hold lowers what is there first, and the same transaction then takes back reservations.
_BALANCE_COVERED = """
CREATE FUNCTION balance_covered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM balance WHERE item = NEW.item AND reserved > on_hand - held) THEN
    RAISE EXCEPTION 'item % has more reserved than is on hand and not held', NEW.item
      USING ERRCODE = 'check_violation', CONSTRAINT = 'balance_covered';
  END IF;
  RETURN NULL;
END $$
"""
_JOURNAL_BALANCED = """
CREATE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT sum(debit) <> sum(credit) FROM journal_line WHERE entry = NEW.entry) THEN
    RAISE EXCEPTION 'journal entry % does not balance', NEW.entry
      USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_balanced';
  END IF;
  RETURN NULL;
END $$
"""
_TRIGGERS = (
    """
CREATE CONSTRAINT TRIGGER balance_covered AFTER INSERT OR UPDATE ON balance DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.reserved > NEW.on_hand - NEW.held) EXECUTE FUNCTION balance_covered()
""",
    """
CREATE CONSTRAINT TRIGGER journal_balanced AFTER INSERT OR UPDATE ON journal_line DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION journal_balanced()
""",
)


def upgrade() -> None:  # noqa: PLR0915
    op.execute(sa.schema.CreateSequence(sa.Sequence("invoice_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("journal_entry_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("lot_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("plan_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("purchase_order_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("shipment_number")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("supplier_check_number")))
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
        "balance",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("on_hand", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("reserved", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("held", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("held BETWEEN 0 AND on_hand", name=op.f("ck_balance_held")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_balance_reserved")),
        sa.PrimaryKeyConstraint("item", name=op.f("pk_balance")),
    )
    op.create_table(
        "fulfilment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("order_version", sa.Integer(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("published", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("promised_date", sa.Date(), nullable=True),
        sa.Column("eta", sa.DateTime(timezone=True), nullable=True),
        sa.Column("basis", sa.Text(), nullable=True),
        sa.Column("reason", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'allocated', 'shipped', 'delivered', 'closed', 'cancelled')",
            name=op.f("ck_fulfilment_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fulfilment")),
        sa.UniqueConstraint("number", name=op.f("uq_fulfilment_number")),
    )
    op.create_table(
        "invoice",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("order", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("shipment_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=30, scale=4), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
        sa.UniqueConstraint("number", name=op.f("uq_invoice_number")),
        sa.UniqueConstraint("shipment_id", name=op.f("uq_invoice_shipment_id")),
    )
    op.create_index(op.f("ix_invoice_customer_id"), "invoice", ["customer", "id"], unique=False)
    op.create_index(op.f("ix_invoice_order_id"), "invoice", ["order_id"], unique=False)
    op.create_table(
        "item",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("standard_cost", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("cost_rolled_up", sa.Boolean(), nullable=False),
        sa.Column("lead_time_days", sa.Integer(), nullable=False),
        sa.Column("supplier", sa.Text(), nullable=True),
        sa.Column("minimum_order_quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("low_level_code", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("source IN ('make', 'buy')", name=op.f("ck_item_source")),
        sa.CheckConstraint(
            "price >= 0 AND standard_cost >= 0 AND lead_time_days >= 0 AND minimum_order_quantity >= 0",
            name=op.f("ck_item_amounts"),
        ),
        sa.PrimaryKeyConstraint("item", name=op.f("pk_item")),
        sa.UniqueConstraint("id", name=op.f("uq_item_id")),
    )
    op.create_table(
        "journal_entry",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("source_event", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entry")),
        sa.UniqueConstraint("number", name=op.f("uq_journal_entry_number")),
        sa.UniqueConstraint("source_event", "rule", name=op.f("uq_journal_entry_source_event_rule")),
    )
    op.create_index(op.f("ix_journal_entry_reference"), "journal_entry", ["reference"], unique=False)
    op.create_table(
        "purchase_order",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("supplier", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('sent', 'part_received', 'received')", name=op.f("ck_purchase_order_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchase_order")),
        sa.UniqueConstraint("number", name=op.f("uq_purchase_order_number")),
    )
    op.create_index(op.f("ix_purchase_order_state_id"), "purchase_order", ["state", "id"], unique=False)
    op.create_index(op.f("ix_purchase_order_supplier_id"), "purchase_order", ["supplier", "id"], unique=False)
    op.create_table(
        "stock_ledger",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("source_event", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("balance", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_stock_ledger_balance")),
        sa.PrimaryKeyConstraint("item", "version", name=op.f("pk_stock_ledger")),
        sa.UniqueConstraint("id", name=op.f("uq_stock_ledger_id")),
    )
    op.create_table(
        "stock_lot",
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("picked", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("supplier", sa.Text(), nullable=True),
        sa.Column("supplier_lot", sa.Text(), nullable=True),
        sa.Column("purchase_order", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status <> 'scrapped' OR quantity = 0", name=op.f("ck_stock_lot_scrapped_is_empty")),
        sa.CheckConstraint("status IN ('released', 'held', 'scrapped')", name=op.f("ck_stock_lot_status")),
        sa.CheckConstraint("picked >= 0", name=op.f("ck_stock_lot_picked")),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_stock_lot_quantity")),
        sa.PrimaryKeyConstraint("lot", name=op.f("pk_stock_lot")),
        sa.UniqueConstraint("id", name=op.f("uq_stock_lot_id")),
    )
    op.create_index(
        "ix_stock_lot_open",
        "stock_lot",
        ["item", "received_at", "id"],
        unique=False,
        postgresql_where=sa.text("quantity > 0 OR status = 'held'"),
    )
    op.create_index("ix_stock_lot_picked", "stock_lot", ["item"], unique=False, postgresql_where=sa.text("picked > 0"))
    op.create_table(
        "supplier",
        sa.Column("supplier", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("supplier", name=op.f("pk_supplier")),
        sa.UniqueConstraint("id", name=op.f("uq_supplier_id")),
    )
    op.create_table(
        "supplier_check",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("supplier", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("lots", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("defect_id", sa.Uuid(), nullable=False),
        sa.Column("cause", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supplier_check")),
        sa.UniqueConstraint("defect_id", "supplier", name=op.f("uq_supplier_check_defect_id_supplier")),
        sa.UniqueConstraint("number", name=op.f("uq_supplier_check_number")),
    )
    op.create_index(op.f("ix_supplier_check_supplier_id"), "supplier_check", ["supplier", "id"], unique=False)
    op.create_table(
        "supply",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("received", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("pegged", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("expected", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('plan', 'purchase')", name=op.f("ck_supply_kind")),
        sa.CheckConstraint("0 <= pegged AND pegged <= quantity - received", name=op.f("ck_supply_pegged")),
        sa.CheckConstraint("0 <= received AND received <= quantity", name=op.f("ck_supply_received")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supply")),
    )
    op.create_index(
        "ix_supply_free", "supply", ["item"], unique=False, postgresql_where=sa.text("quantity > received + pegged")
    )
    op.create_table(
        "bom_line",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("scrap_percent", sa.Numeric(precision=7, scale=4), nullable=False),
        sa.CheckConstraint("item <> component", name=op.f("ck_bom_line_not_self")),
        sa.CheckConstraint("quantity > 0 AND scrap_percent BETWEEN 0 AND 100", name=op.f("ck_bom_line_amounts")),
        sa.ForeignKeyConstraint(["component"], ["item.item"], name=op.f("fk_bom_line_component_item")),
        sa.ForeignKeyConstraint(["item"], ["item.item"], name=op.f("fk_bom_line_item_item")),
        sa.PrimaryKeyConstraint("item", "version", "component", name=op.f("pk_bom_line")),
    )
    op.create_index(op.f("ix_bom_line_component"), "bom_line", ["component"], unique=False)
    op.create_table(
        "fulfilment_line",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("cancelled", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("shipped", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("delivered", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.CheckConstraint("quantity >= 0 AND cancelled >= 0", name=op.f("ck_fulfilment_line_quantities")),
        sa.CheckConstraint(
            "shipped IN (0, quantity) AND delivered IN (0, shipped)", name=op.f("ck_fulfilment_line_shipped_once")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["fulfilment.id"], name=op.f("fk_fulfilment_line_order_id_fulfilment")),
        sa.PrimaryKeyConstraint("order_id", "line", name=op.f("pk_fulfilment_line")),
    )
    op.create_table(
        "invoice_line",
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("amount", sa.Numeric(precision=30, scale=4), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_invoice_line_invoice_id_invoice")),
        sa.PrimaryKeyConstraint("invoice_id", "line", name=op.f("pk_invoice_line")),
    )
    op.create_table(
        "journal_line",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("entry", sa.Uuid(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("debit", sa.Numeric(precision=30, scale=4), nullable=False),
        sa.Column("credit", sa.Numeric(precision=30, scale=4), nullable=False),
        sa.CheckConstraint(
            "debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)", name=op.f("ck_journal_line_one_side")
        ),
        sa.ForeignKeyConstraint(["entry"], ["journal_entry.id"], name=op.f("fk_journal_line_entry_journal_entry")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_line")),
    )
    op.create_index(op.f("ix_journal_line_entry"), "journal_line", ["entry"], unique=False)
    op.create_table(
        "production_plan",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("item_version", sa.Integer(), nullable=False),
        sa.Column("components", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("routing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("pegs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("material_status", sa.Text(), nullable=False),
        sa.Column("material_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("predecessor_plans", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("asked_version", sa.Integer(), nullable=False),
        sa.Column("planned_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("schedule_reason", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("material_status IN ('ready', 'waiting')", name=op.f("ck_production_plan_material_status")),
        sa.CheckConstraint(
            "state IN ('released', 'in_progress', 'completed', 'closed', 'cancelled')",
            name=op.f("ck_production_plan_state"),
        ),
        sa.ForeignKeyConstraint(["id"], ["supply.id"], name=op.f("fk_production_plan_id_supply")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_production_plan")),
        sa.UniqueConstraint("number", name=op.f("uq_production_plan_number")),
    )
    op.create_index(op.f("ix_production_plan_item_id"), "production_plan", ["item", "id"], unique=False)
    op.create_index(op.f("ix_production_plan_state_id"), "production_plan", ["state", "id"], unique=False)
    op.create_table(
        "purchase_order_line",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purchase_order_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("received", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False),
        sa.Column("price", sa.Numeric(precision=18, scale=4), nullable=False),
        sa.Column("due", sa.Date(), nullable=False),
        sa.CheckConstraint("0 <= received AND received <= quantity", name=op.f("ck_purchase_order_line_received")),
        sa.ForeignKeyConstraint(
            ["purchase_order_id"],
            ["purchase_order.id"],
            name=op.f("fk_purchase_order_line_purchase_order_id_purchase_order"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchase_order_line")),
        sa.UniqueConstraint("purchase_order_id", "line", name=op.f("uq_purchase_order_line_purchase_order_id_line")),
    )
    op.create_index(
        op.f("ix_purchase_order_line_item_purchase_order_id"),
        "purchase_order_line",
        ["item", "purchase_order_id"],
        unique=False,
    )
    op.create_table(
        "routing_step",
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Integer(), nullable=False),
        sa.Column("work_center", sa.Text(), nullable=False),
        sa.Column("setup_minutes", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("minutes_per_unit", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.CheckConstraint("setup_minutes >= 0 AND minutes_per_unit >= 0", name=op.f("ck_routing_step_amounts")),
        sa.ForeignKeyConstraint(["item"], ["item.item"], name=op.f("fk_routing_step_item_item")),
        sa.PrimaryKeyConstraint("item", "version", "operation", name=op.f("pk_routing_step")),
    )
    op.create_table(
        "shipment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("order", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('planned', 'shipped', 'delivered', 'cancelled')", name=op.f("ck_shipment_state")),
        sa.ForeignKeyConstraint(["order_id"], ["fulfilment.id"], name=op.f("fk_shipment_order_id_fulfilment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shipment")),
        sa.UniqueConstraint("number", name=op.f("uq_shipment_number")),
    )
    op.create_index(op.f("ix_shipment_order_id"), "shipment", ["order_id"], unique=False)
    op.create_index(op.f("ix_shipment_state_id"), "shipment", ["state", "id"], unique=False)
    op.create_index(
        "uq_shipment_live", "shipment", ["order_id"], unique=True, postgresql_where=sa.text("state <> 'cancelled'")
    )
    op.create_table(
        "demand",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("issued", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("reserved", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("pegged", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("need", sa.DateTime(timezone=True), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("order", sa.Text(), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("plan_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            '(plan_id IS NULL) = (order_id IS NOT NULL AND "order" IS NOT NULL AND line IS NOT NULL)',
            name=op.f("ck_demand_owner"),
        ),
        sa.CheckConstraint("issued >= 0 AND reserved >= 0 AND pegged >= 0", name=op.f("ck_demand_parts")),
        sa.CheckConstraint("quantity = issued + reserved + pegged", name=op.f("ck_demand_covered")),
        sa.ForeignKeyConstraint(["plan_id"], ["production_plan.id"], name=op.f("fk_demand_plan_id_production_plan")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demand")),
    )
    op.create_index(
        op.f("ix_demand_order_id"),
        "demand",
        ["order_id"],
        unique=False,
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_demand_plan_id"), "demand", ["plan_id"], unique=False, postgresql_where=sa.text("plan_id IS NOT NULL")
    )
    op.create_index("ix_demand_reserved", "demand", ["item"], unique=False, postgresql_where=sa.text("reserved > 0"))
    op.create_index("ix_demand_waiting", "demand", ["item"], unique=False, postgresql_where=sa.text("pegged > 0"))
    op.create_table(
        "shipment_line",
        sa.Column("shipment_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.ForeignKeyConstraint(["shipment_id"], ["shipment.id"], name=op.f("fk_shipment_line_shipment_id_shipment")),
        sa.PrimaryKeyConstraint("shipment_id", "line", name=op.f("pk_shipment_line")),
    )
    op.create_table(
        "shipment_lot",
        sa.Column("shipment_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("lot", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_shipment_lot_quantity")),
        sa.ForeignKeyConstraint(["shipment_id"], ["shipment.id"], name=op.f("fk_shipment_lot_shipment_id_shipment")),
        sa.PrimaryKeyConstraint("shipment_id", "line", "lot", name=op.f("pk_shipment_lot")),
    )
    op.create_index(op.f("ix_shipment_lot_lot"), "shipment_lot", ["lot"], unique=False)
    op.create_table(
        "peg",
        sa.Column("supply_id", sa.Uuid(), nullable=False),
        sa.Column("demand_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("received", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.CheckConstraint("quantity >= 0 AND received >= 0", name=op.f("ck_peg_parts")),
        sa.ForeignKeyConstraint(["demand_id"], ["demand.id"], name=op.f("fk_peg_demand_id_demand")),
        sa.ForeignKeyConstraint(["supply_id"], ["supply.id"], name=op.f("fk_peg_supply_id_supply")),
        sa.PrimaryKeyConstraint("supply_id", "demand_id", name=op.f("pk_peg")),
    )
    op.create_index(op.f("ix_peg_demand_id"), "peg", ["demand_id"], unique=False)
    for statement in (_BALANCE_COVERED, _JOURNAL_BALANCED, *_TRIGGERS):
        op.execute(statement)

"""Lots, their receipts and shipments, and the consumption that links them."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Index,
    Sequence,
    Table,
    Text,
    Uuid,
)

from mes.metadata import QUANTITY, TIME, metadata, record_columns

LOT_NUMBER = Sequence("lot_number", metadata=metadata)

_BALANCE = "received + adjusted - consumed - shipped"


def _tally(name: str) -> Column[object]:
    return Column(name, QUANTITY, nullable=False, server_default="0")


lot = Table(
    "lot",
    metadata,
    # The version counts the lot's own events, so a lot nobody held yet is at version 0.
    *record_columns(),
    Column("lot", Text, nullable=False, unique=True),
    Column("item", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("origin", Text, nullable=False),
    # The tallies commute: consumption is MES's own, the rest folds ERP's ledger, which may lag behind it.
    _tally("received"),
    _tally("adjusted"),
    _tally("consumed"),
    _tally("shipped"),
    Column(
        "quantity",
        QUANTITY,
        Computed(f"CASE WHEN status = 'scrapped' THEN 0 ELSE greatest({_BALANCE}, 0) END", persisted=True),
        nullable=False,
    ),
    Column(
        "scrapped",
        QUANTITY,
        Computed(f"CASE WHEN status = 'scrapped' THEN greatest({_BALANCE}, 0) ELSE 0 END", persisted=True),
        nullable=False,
    ),
    Column("supplier", Text),
    Column("supplier_lot", Text),
    Column("purchase_order", Text),
    Column("work_order_id", Uuid),
    Column("work_order", Text),
    Column("batch_id", Uuid, unique=True),
    Column("batch", Text),
    # Why the lot has its status; empty until someone changed it.
    Column("reason", Text),
    CheckConstraint("status IN ('released', 'held', 'scrapped')", name="status"),
    CheckConstraint("origin IN ('purchased', 'produced', 'received')", name="origin"),
    CheckConstraint("(origin = 'produced') = (batch_id IS NOT NULL)", name="batch"),
    Index(None, "item", "created_at"),
    Index(None, "work_order_id"),
)

lot_receipt = Table(
    "lot_receipt",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("lot", Text, ForeignKey("lot.lot"), nullable=False),
    Column("item", Text, nullable=False),
    Column("supplier", Text),
    Column("supplier_lot", Text),
    Column("purchase_order", Text),
    Column("quantity", QUANTITY, nullable=False),
    Column("received_at", TIME, nullable=False),
    Index(None, "lot"),
    Index(None, "supplier_lot", "item"),
)

lot_shipment = Table(
    "lot_shipment",
    metadata,
    Column("shipment_id", Uuid, primary_key=True),
    # No foreign key: the shipment may be told before the lot's own receipt, which travels on another topic.
    Column("lot", Text, primary_key=True),
    Column("shipment", Text, nullable=False),
    Column("order_id", Uuid, nullable=False),
    Column("order", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("shipped_at", TIME, nullable=False),
    Index(None, "lot"),
)

consumption = Table(
    "consumption",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("work_order_id", Uuid, nullable=False),
    Column("work_order", Text, nullable=False),
    Column("operation_id", Uuid, nullable=False),
    Column("item", Text, nullable=False),
    Column("lot", Text, ForeignKey("lot.lot"), nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("backflushed", Boolean, nullable=False),
    # Reported ahead of any batch, so every later batch of the work order may contain it.
    Column("shared", Boolean, nullable=False),
    # The first batch that contains it.
    Column("batch_id", Uuid),
    Column("consumed_at", TIME, nullable=False),
    CheckConstraint("quantity > 0", name="quantity"),
    Index(None, "lot"),
    Index(None, "work_order_id", "batch_id"),
)

batch_input = Table(
    "batch_input",
    metadata,
    Column("batch_id", Uuid, primary_key=True),
    Column("consumption_id", Uuid, ForeignKey("consumption.id"), primary_key=True),
    Index(None, "consumption_id"),
)

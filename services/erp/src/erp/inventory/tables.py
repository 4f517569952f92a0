"""What is in stock, in which lots, and every move that made it so."""

from sqlalchemy import CheckConstraint, Column, DateTime, Index, Integer, Sequence, Table, Text, Uuid, text

from erp.metadata import QUANTITY, metadata

lot_number = Sequence("lot_number", metadata=metadata)

# One row per item, locked before anything else of the item's stock is touched. That reserved never exceeds what is
# on hand and not held is checked when the transaction commits (trigger balance_covered in the migration), because a
# hold comes first and taking back reservations follows.
balance = Table(
    "balance",
    metadata,
    Column("item", Text, primary_key=True),
    Column("on_hand", QUANTITY, nullable=False, server_default="0"),
    Column("reserved", QUANTITY, nullable=False, server_default="0"),
    Column("held", QUANTITY, nullable=False, server_default="0"),
    # Grows by one with every ledger row of the item.
    Column("version", Integer, nullable=False, server_default="0"),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("held BETWEEN 0 AND on_hand", name="held"),
    CheckConstraint("reserved >= 0", name="reserved"),
)

# A lot may be known as held or scrapped before its stock arrives; its status then waits here with quantity zero.
stock_lot = Table(
    "stock_lot",
    metadata,
    Column("lot", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    # Set aside for planned shipments; may exceed the quantity until the shipment is picked anew.
    Column("picked", QUANTITY, nullable=False, server_default="0"),
    Column("status", Text, nullable=False),
    Column("supplier", Text),
    Column("supplier_lot", Text),
    Column("purchase_order", Text),
    # What was booked in ahead of the receipt because it had been used already: that much less comes with it.
    Column("owed", QUANTITY, nullable=False, server_default="0"),
    # Empty until the receipt is booked.
    Column("received_at", DateTime(timezone=True)),
    CheckConstraint("quantity >= 0", name="quantity"),
    CheckConstraint("owed >= 0", name="owed"),
    CheckConstraint("picked >= 0", name="picked"),
    CheckConstraint("status IN ('released', 'held', 'scrapped')", name="status"),
    CheckConstraint("status <> 'scrapped' OR quantity = 0", name="scrapped_is_empty"),
    Index("ix_stock_lot_open", "item", "received_at", "id", postgresql_where=text("quantity > 0 OR status = 'held'")),
    Index("ix_stock_lot_picked", "item", postgresql_where=text("picked > 0")),
)

stock_ledger = Table(
    "stock_ledger",
    metadata,
    Column("item", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("lot", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("reason", Text, nullable=False),
    Column("note", Text),
    Column("source_event", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("balance", QUANTITY, nullable=False),
    CheckConstraint("balance >= 0", name="balance"),
)

"""Purchase orders with their lines, and supplier quality checks."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from erp.metadata import MONEY, QUANTITY, metadata

purchase_order_number = Sequence("purchase_order_number", metadata=metadata)
supplier_check_number = Sequence("supplier_check_number", metadata=metadata)

purchase_order = Table(
    "purchase_order",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("supplier", Text),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('sent', 'part_received', 'received')", name="state"),
    Index(None, "supplier", "id"),
    Index(None, "state", "id"),
)

purchase_order_line = Table(
    "purchase_order_line",
    metadata,
    # The same id as planning's supply.
    Column("id", Uuid, primary_key=True),
    Column("purchase_order_id", Uuid, ForeignKey(purchase_order.c.id), nullable=False),
    Column("line", Integer, nullable=False),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("received", QUANTITY, nullable=False, server_default="0"),
    Column("price", MONEY, nullable=False),
    Column("due", Date, nullable=False),
    UniqueConstraint("purchase_order_id", "line"),
    CheckConstraint("0 <= received AND received <= quantity", name="received"),
    Index(None, "item", "purchase_order_id"),
)

supplier_check = Table(
    "supplier_check",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("supplier", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("lots", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("defect_id", Uuid, nullable=False),
    Column("cause", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("defect_id", "supplier"),
    Index(None, "supplier", "id"),
)

"""The process of each customer order, and its shipments."""

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
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from erp.metadata import MONEY, QUANTITY, metadata

shipment_number = Sequence("shipment_number", metadata=metadata)

fulfilment = Table(
    "fulfilment",
    metadata,
    # The customer order's id and number.
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    # Grows by one with every fulfilment and promise event.
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("order_version", Integer, nullable=False),
    Column("customer", Text, nullable=False),
    Column("currency", Text, nullable=False),
    # What was last published: state, order version and lines.
    Column("published", JSONB(none_as_null=True)),
    Column("promised_date", Date),
    Column("eta", DateTime(timezone=True)),
    Column("basis", Text),
    Column("reason", JSONB(none_as_null=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('open', 'allocated', 'shipped', 'delivered', 'closed', 'cancelled')", name="state"),
)

fulfilment_line = Table(
    "fulfilment_line",
    metadata,
    Column("order_id", Uuid, ForeignKey(fulfilment.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("unit_price", MONEY, nullable=False),
    Column("cancelled", QUANTITY, nullable=False),
    Column("shipped", QUANTITY, nullable=False),
    Column("delivered", QUANTITY, nullable=False),
    CheckConstraint("shipped IN (0, quantity) AND delivered IN (0, shipped)", name="shipped_once"),
    CheckConstraint("quantity >= 0 AND cancelled >= 0", name="quantities"),
)

shipment = Table(
    "shipment",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("order_id", Uuid, ForeignKey(fulfilment.c.id), nullable=False),
    Column("order", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("shipped_at", DateTime(timezone=True)),
    Column("delivered_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('planned', 'shipped', 'delivered', 'cancelled')", name="state"),
    # An order has one shipment that is not cancelled.
    Index("uq_shipment_live", "order_id", unique=True, postgresql_where=text("state <> 'cancelled'")),
    Index(None, "order_id"),
    Index(None, "state", "id"),
)

shipment_line = Table(
    "shipment_line",
    metadata,
    Column("shipment_id", Uuid, ForeignKey(shipment.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
)

shipment_lot = Table(
    "shipment_lot",
    metadata,
    Column("shipment_id", Uuid, ForeignKey(shipment.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("lot", Text, primary_key=True),
    Column("quantity", QUANTITY, nullable=False),
    CheckConstraint("quantity > 0", name="quantity"),
    Index(None, "lot"),
)

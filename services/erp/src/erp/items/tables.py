"""Items, and per item version its bill of materials and routing."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
)

from erp.metadata import MONEY, QUANTITY, metadata

item = Table(
    "item",
    metadata,
    Column("item", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("price", MONEY, nullable=False),
    Column("standard_cost", MONEY, nullable=False),
    # The standard follows the components of each new version until someone sets it.
    Column("cost_rolled_up", Boolean, nullable=False),
    Column("lead_time_days", Integer, nullable=False),
    Column("supplier", Text),
    Column("minimum_order_quantity", QUANTITY, nullable=False),
    Column("category", Text),
    Column("low_level_code", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("source IN ('make', 'buy')", name="source"),
    CheckConstraint(
        "price >= 0 AND standard_cost >= 0 AND lead_time_days >= 0 AND minimum_order_quantity >= 0", name="amounts"
    ),
)

bom_line = Table(
    "bom_line",
    metadata,
    Column("item", Text, ForeignKey(item.c.item), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("component", Text, ForeignKey(item.c.item), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("scrap_percent", Numeric(7, 4), nullable=False),
    CheckConstraint("item <> component", name="not_self"),
    CheckConstraint("quantity > 0 AND scrap_percent BETWEEN 0 AND 100", name="amounts"),
    Index(None, "component"),
)

routing_step = Table(
    "routing_step",
    metadata,
    Column("item", Text, ForeignKey(item.c.item), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("operation", Integer, primary_key=True),
    Column("work_center", Text, nullable=False),
    Column("setup_minutes", QUANTITY, nullable=False),
    Column("minutes_per_unit", QUANTITY, nullable=False),
    CheckConstraint("setup_minutes >= 0 AND minutes_per_unit >= 0", name="amounts"),
)

supplier = Table(
    "supplier",
    metadata,
    Column("supplier", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

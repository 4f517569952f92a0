"""Demands, the supply that covers them, the pegs between the two, and production plans.

Lock order of every transaction that plans: the planning lock, balances in code order, plans by id, fulfilment rows by
order id, shipments by id.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
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

from erp.metadata import QUANTITY, metadata

plan_number = Sequence("plan_number", metadata=metadata)

supply = Table(
    "supply",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("received", QUANTITY, nullable=False),
    # Σ quantity of its pegs.
    Column("pegged", QUANTITY, nullable=False),
    # When it is expected to be in stock.
    Column("expected", DateTime(timezone=True), nullable=False),
    CheckConstraint("kind IN ('plan', 'purchase')", name="kind"),
    CheckConstraint("0 <= received AND received <= quantity", name="received"),
    CheckConstraint("0 <= pegged AND pegged <= quantity - received", name="pegged"),
    Index("ix_supply_free", "item", postgresql_where=text("quantity > received + pegged")),
)

production_plan = Table(
    "production_plan",
    metadata,
    Column("id", Uuid, ForeignKey(supply.c.id), primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("item", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("state", Text, nullable=False),
    # The definition the plan was released with: bill of materials and routing carry the item's version.
    Column("item_version", Integer, nullable=False),
    Column("components", JSONB, nullable=False),
    Column("routing", JSONB, nullable=False),
    # What the shop floor knows: as last published.
    Column("quantity", QUANTITY, nullable=False),
    Column("due", DateTime(timezone=True), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("pegs", JSONB, nullable=False),
    Column("material_status", Text, nullable=False),
    Column("material_date", DateTime(timezone=True)),
    Column("predecessor_plans", JSONB, nullable=False),
    Column("reason", JSONB(none_as_null=True)),
    # Version of the plan event that last asked for another quantity; older answers are stale.
    Column("asked_version", Integer, nullable=False),
    # What the shop floor says: its schedule and why.
    Column("planned_end", DateTime(timezone=True)),
    Column("schedule_reason", JSONB(none_as_null=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("state IN ('released', 'in_progress', 'completed', 'closed', 'cancelled')", name="state"),
    CheckConstraint("material_status IN ('ready', 'waiting')", name="material_status"),
    Index(None, "item", "id"),
    Index(None, "state", "id"),
)

demand = Table(
    "demand",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("issued", QUANTITY, nullable=False),
    Column("reserved", QUANTITY, nullable=False),
    # Σ quantity of its pegs.
    Column("pegged", QUANTITY, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("need", DateTime(timezone=True), nullable=False),
    Column("order_id", Uuid),
    Column("order", Text),
    Column("line", Integer),
    Column("plan_id", Uuid, ForeignKey(production_plan.c.id)),
    CheckConstraint("issued >= 0 AND reserved >= 0 AND pegged >= 0", name="parts"),
    CheckConstraint("quantity = issued + reserved + pegged", name="covered"),
    CheckConstraint(
        '(plan_id IS NULL) = (order_id IS NOT NULL AND "order" IS NOT NULL AND line IS NOT NULL)', name="owner"
    ),
    Index(None, "order_id", postgresql_where=text("order_id IS NOT NULL")),
    Index(None, "plan_id", postgresql_where=text("plan_id IS NOT NULL")),
    Index("ix_demand_reserved", "item", postgresql_where=text("reserved > 0")),
    Index("ix_demand_waiting", "item", postgresql_where=text("pegged > 0")),
)

peg = Table(
    "peg",
    metadata,
    Column("supply_id", Uuid, ForeignKey(supply.c.id), primary_key=True),
    Column("demand_id", Uuid, ForeignKey(demand.c.id), primary_key=True),
    # Waited for, and come.
    Column("quantity", QUANTITY, nullable=False),
    Column("received", QUANTITY, nullable=False),
    CheckConstraint("quantity >= 0 AND received >= 0", name="parts"),
    Index(None, "demand_id"),
)

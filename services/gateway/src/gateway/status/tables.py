"""Facts folded from events. Every row is written by events of one aggregate only, so consumer lanes never contend.

An event older than what a row holds (``version`` is the aggregate's) changes nothing; everything else only grows. So
the facts, and the view computed from them, do not depend on how the topics interleave.
"""

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
    false,
)
from sqlalchemy.dialects.postgresql import JSONB

from gateway.metadata import metadata

status_order = Table(
    "status_order",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("number", Text, nullable=False),
    # 0 while only the cancellation is known.
    Column("version", Integer, nullable=False),
    Column("cancelled_version", Integer),
    Column("customer", Text),
    Column("requested_date", Date),
    Column("lines", JSONB),
    Index(None, "number"),
)

status_promise = Table(
    "status_promise",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("promised_date", Date, nullable=False),
    Column("eta", DateTime(timezone=True), nullable=False),
    Column("reason", JSONB, nullable=False),
)

status_fulfilment = Table(
    "status_fulfilment",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    # Rank of the furthest stage ever reached: an order that loses its reservation does not go back.
    Column("reached", Integer, nullable=False),
    Column("lines", JSONB, nullable=False),
)

status_work_order = Table(
    "status_work_order",
    metadata,
    Column("work_order_id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("number", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("quantity", Numeric, nullable=False),
    Column("scrap", Numeric, nullable=False),
    Column("percent", Numeric, nullable=False),
    Column("started", Boolean, nullable=False, server_default=false()),
    Column("cancelled", Boolean, nullable=False, server_default=false()),
)

# A peg that shrinks as goods are received still tells which work served the line: the largest quantity is kept.
status_work_order_peg = Table(
    "status_work_order_peg",
    metadata,
    Column("work_order_id", Uuid, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("quantity", Numeric, nullable=False),
    Index(None, "order_id"),
)

status_lot = Table(
    "status_lot",
    metadata,
    Column("lot", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
)

story_event = Table(
    "story_event",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("causation_id", Text),
    # The event its reason points at, e.g. the machine that went down.
    Column("reason_event_id", Text),
    # Belongs to the plant, not to one customer's order: shown wherever an event of the order's story points at it.
    Column("shared", Boolean, nullable=False),
    Column("text", Text, nullable=False),
)

# What an event is about: an order's id or number, or work-order/…, plan/…, purchase-order/…, lot/…, event/….
story_link = Table(
    "story_link",
    metadata,
    Column("about", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
)

# `part` serves `whole`: its events belong to the story of what it serves.
story_part = Table(
    "story_part",
    metadata,
    Column("whole", Text, primary_key=True),
    Column("part", Text, primary_key=True),
)

TABLES = (
    status_order,
    status_promise,
    status_fulfilment,
    status_work_order,
    status_work_order_peg,
    status_lot,
    story_event,
    story_link,
    story_part,
)
"""All of the projection; nothing else writes them."""

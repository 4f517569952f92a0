"""Tables of notifications."""

import sqlalchemy as sa

from crm.metadata import metadata

NOTIFICATION_NUMBER = sa.Sequence("notification_number", metadata=metadata)

notification = sa.Table(
    "notification",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Text, nullable=False, unique=True),
    sa.Column("order_id", sa.Uuid, nullable=False),
    sa.Column("order", sa.Text, nullable=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("milestone", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("cause_event_id", sa.Uuid, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("cause_event_id", "order_id", "milestone"),
    sa.Index("ix_notification_order_id", "order_id", "id"),
    sa.Index("ix_notification_customer", "customer", "id"),
    # Milestones an order passes once, whatever number of events lead there.
    sa.Index(
        "uq_notification_once",
        "order_id",
        "milestone",
        unique=True,
        postgresql_where=sa.text("milestone IN ('confirmed', 'promised', 'started', 'completed', 'cancelled')"),
    ),
)

"""Tables of customers."""

import sqlalchemy as sa

from crm.metadata import metadata

CUSTOMER_NUMBER = sa.Sequence("customer_number", metadata=metadata)

customer = sa.Table(
    "customer",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("priority BETWEEN 0 AND 99", name="priority_range"),
)

"""Tables of customer orders and of the catalogue they are checked against."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from crm.metadata import metadata

ORDER_NUMBER = sa.Sequence("order_number", metadata=metadata)

customer_order = sa.Table(
    "customer_order",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Text, nullable=False, unique=True),
    # The customer's amendments; what ERP and MES report moves `state` and leaves this alone.
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("customer_id", sa.Uuid, sa.ForeignKey("customer.id"), nullable=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("customer_reference", sa.Text),
    sa.Column("requested_date", sa.Date, nullable=False),
    sa.Column("promised_date", sa.Date),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    sa.Index(None, "customer", "id"),
    sa.Index(None, "state", "id"),
    sa.Index(None, "customer_reference", "id"),
    sa.CheckConstraint("priority BETWEEN 0 AND 99", name="priority_range"),
)

order_line = sa.Table(
    "order_line",
    metadata,
    sa.Column("order_id", sa.Uuid, sa.ForeignKey("customer_order.id"), primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("quantity", sa.Numeric(18, 6), nullable=False),
    sa.Column("unit_price", sa.Numeric(18, 4), nullable=False),
    sa.Column("options", JSONB, nullable=False),
    # Kept, so that its number is never given to another item.
    sa.Column("withdrawn", sa.Boolean, nullable=False),
    sa.CheckConstraint("quantity > 0", name="quantity_positive"),
    sa.CheckConstraint("unit_price >= 0", name="unit_price_not_negative"),
)

catalogue_item = sa.Table(
    "catalogue_item",
    metadata,
    sa.Column("item", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("price", sa.Numeric(18, 4), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)

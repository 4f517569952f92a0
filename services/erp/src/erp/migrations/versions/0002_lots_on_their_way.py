"""Lots whose receipt is still on its way"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Bring the database to this revision."""
    op.add_column("stock_lot", sa.Column("owed", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_stock_lot_owed"), "stock_lot", "owed >= 0")
    op.alter_column("stock_lot", "received_at", existing_type=sa.DateTime(timezone=True), nullable=True)


def downgrade() -> None:
    """Take the database back to the revision before."""
    op.execute("UPDATE stock_lot SET received_at = now() WHERE received_at IS NULL")
    op.alter_column("stock_lot", "received_at", existing_type=sa.DateTime(timezone=True), nullable=False)
    op.drop_constraint(op.f("ck_stock_lot_owed"), "stock_lot", type_="check")
    op.drop_column("stock_lot", "owed")

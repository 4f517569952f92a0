"""Events an operator gave up are told apart from those applied"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Bring the database to this revision."""
    op.add_column("inbox", sa.Column("skipped", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    """Take the database back to the revision before."""
    op.drop_column("inbox", "skipped")

"""Everything, straight from the metadata: this service is never released."""

from alembic import op
from tally.service import metadata

from chassis import tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    for declared in (tables.metadata, metadata):
        declared.create_all(op.get_bind())

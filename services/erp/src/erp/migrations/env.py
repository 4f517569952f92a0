"""Alembic environment of the erp database."""

from chassis.migrations import run
from erp.service import SERVICE

run(SERVICE.metadata)

"""Alembic's entry."""

from chassis.migrations import run
from crm.service import SERVICE

run(SERVICE.metadata)

"""Alembic entry point."""

from chassis.migrations import run
from mes.service import SERVICE

run(SERVICE.metadata)

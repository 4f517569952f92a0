"""Alembic environment of the gateway database."""

from chassis.migrations import run
from gateway.service import SERVICE

run(SERVICE.metadata)

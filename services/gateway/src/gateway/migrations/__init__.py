"""Alembic revisions of the gateway database."""

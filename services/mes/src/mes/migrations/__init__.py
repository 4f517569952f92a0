"""Alembic migrations of the MES database."""

"""The migrations make the database the tables describe."""

from alembic import command

from chassis import migrations


def test_migrations_match_the_tables(database_url: str) -> None:
    """Alembic finds nothing to change in a freshly migrated database."""
    command.check(migrations.config("erp", database_url))

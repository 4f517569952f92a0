"""The migrations make exactly the tables the code declares."""

from alembic import command

from chassis import migrations


def test_migrations_match_the_tables(database_url: str) -> None:
    command.check(migrations.config("gateway", database_url))

"""The migrations build exactly the declared tables."""

from alembic import command

from chassis import migrations


def test_the_migrated_database_is_what_the_tables_declare(database_url: str) -> None:
    command.check(migrations.config("crm", database_url))


def test_the_first_migration_can_be_taken_back_and_applied_again(database_url: str) -> None:
    config = migrations.config("crm", database_url)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)

"""The migrations make exactly the tables the code works with."""

from alembic import command
from sqlalchemy import Sequence, text
from sqlalchemy.ext.asyncio import create_async_engine

from chassis import migrations
from mes.service import SERVICE


async def test_migrated_database_equals_the_tables_in_code(database_url: str) -> None:
    command.check(migrations.config("mes", database_url))
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        found = set((await connection.execute(text("SELECT sequencename FROM pg_sequences"))).scalars())
    await engine.dispose()
    expected = {s.name for s in SERVICE.metadata._sequences.values() if isinstance(s, Sequence)}
    assert expected <= found

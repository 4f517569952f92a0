"""Alembic, run from inside the service's own package so that its image can migrate itself."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chassis import tables

# A migration that cannot get its lock fails and can be run again; it never queues behind live traffic for long.
_LOCK_TIMEOUT_MS = 10_000


def config(service: str, database_url: str) -> Config:
    """Alembic configuration of `<service>.migrations`."""
    package = import_module(service)
    made = Config()
    made.set_main_option("script_location", str(Path(str(package.__file__)).parent / "migrations"))
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes["database_url"] = database_url
    return made


async def upgrade(service: str, database_url: str) -> None:
    """Bring the service's database to the newest revision."""
    await asyncio.to_thread(command.upgrade, config(service, database_url), "head")


def run(metadata: MetaData) -> None:
    """Body of a service's ``migrations/env.py``."""

    def migrate(connection: Connection) -> None:
        connection.execute(text(f"SET lock_timeout = {_LOCK_TIMEOUT_MS}"))
        connection.commit()
        context.configure(connection=connection, target_metadata=[tables.metadata, metadata])
        with context.begin_transaction():
            context.run_migrations()

    async def connect() -> None:
        engine = create_async_engine(context.config.attributes["database_url"], poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
        await engine.dispose()

    # In a thread of its own, so that it also works when called from inside a running loop.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, connect()).result()

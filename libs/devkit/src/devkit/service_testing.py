"""For the services' own tests: a migrated database per test, copied from a template made once per process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from alembic import command

from chassis import migrations
from devkit.testing import PostgresTestServer

_templates: dict[tuple[str, str], str] = {}
_copies = count(1)


@contextmanager
def fresh_database(server: PostgresTestServer, service: str) -> Iterator[str]:
    """SQLAlchemy URL of a new database at the service's newest revision; dropped afterwards."""
    template = _templates.get((server.admin_url, service))
    if template is None:
        template = f"template_{service}_{os.getpid()}"
        server.drop_database(template)
        command.upgrade(migrations.config(service, server.create_database(template)), "head")
        _templates[server.admin_url, service] = template
    name = f"test_{service}_{os.getpid()}_{next(_copies)}"
    yield server.create_database(name, template)
    server.drop_database(name)

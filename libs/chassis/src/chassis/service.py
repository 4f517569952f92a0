"""What a service is made of, and the HTTP app of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI
from sqlalchemy import MetaData, text

from chassis.db import Database
from chassis.http import document, health, problems
from chassis.http.auth import TokenVerifier
from chassis.http.middleware import RequestShell
from chassis.messaging.handlers import Consumer
from chassis.operations.invariants import Law
from chassis.operations.projection import Projection
from chassis.settings import ServiceSettings


@dataclass
class Context:
    """What the parts of a running service share."""

    settings: Any
    database: Database
    verifier: TokenVerifier
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


# A loop of the worker, e.g. a deadline poller; ends soon after `context.stopping` is set.
BackgroundTask = Callable[[Context], Awaitable[None]]


@dataclass(frozen=True)
class Service:
    """The declaration of one service."""

    name: str
    title: str
    metadata: MetaData
    routers: Sequence[APIRouter]
    consumers: Sequence[Consumer] = ()
    worker_tasks: Sequence[BackgroundTask] = ()
    api_tasks: Sequence[BackgroundTask] = ()
    settings: type[ServiceSettings] = ServiceSettings
    form_paths: Sequence[str] = ()
    # Whether the world may reach it: then it answers no internal path.
    public: bool = False
    # Conservation laws of its database, by name, looked at on the running system.
    invariants: Mapping[str, Law] = field(default_factory=dict)
    # Read models that can be rebuilt from their topics, by name.
    projections: Mapping[str, Projection] = field(default_factory=dict)
    # Called with the app before it serves, to put the service's own clients on `app.state`.
    prepare: Callable[[FastAPI, Context], None] | None = None

    def context(self, settings: ServiceSettings) -> Context:
        """The shared parts for one process."""
        return Context(
            settings=settings,
            database=Database(settings.database_url, self.name, settings.database_pool),
            verifier=TokenVerifier(settings.jwks, settings.issuer, settings.audience),
        )


def create_app(service: Service, context: Context, with_api: bool = True) -> FastAPI:
    """The service's HTTP app: its routers (unless a pure worker), health and metrics."""
    app = FastAPI(
        title=service.title,
        version="1.0.0",
        responses={document.REFUSED: {"model": problems.ProblemBody, "description": "Refused; nothing was changed"}},
    )
    document.install(app)
    problems.install(app)
    app.state.context = context
    app.state.database = context.database
    app.state.verifier = context.verifier
    app.state.stopping = context.stopping
    app.state.failed_tasks = list
    app.state.checks = {"database": lambda: _check_database(context.database)}
    app.state.optional_checks = {}
    inner = [] if service.public else [health.internal]
    routers = [health.router, *inner, *(service.routers if with_api else ())]
    app.state.routes = [route for router in routers for route in router.routes]
    for router in routers:
        app.include_router(router)
    if with_api and service.prepare:
        service.prepare(app, context)
    app.add_middleware(
        RequestShell,
        service=service.name,
        max_body_bytes=context.settings.max_body_bytes,
        form_paths=service.form_paths,
    )
    return app


async def _check_database(database: Database) -> tuple[bool, str]:
    async with database.read() as reader:
        revision = await reader.scalar(text("SELECT version_num FROM alembic_version"))
    return True, f"revision {revision}"

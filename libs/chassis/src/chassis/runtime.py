"""A service as a process: its roles, what runs in each, and the order in which it stops."""

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from typing import Any

import structlog
import uvicorn
from aiokafka.errors import KafkaError
from fastapi import FastAPI
from pydantic import ValidationError

from chassis import logs, migrations
from chassis.db import is_unavailable
from chassis.events import DomainEvent
from chassis.messaging.consumer import ConsumerRuntime
from chassis.messaging.provisioner import Topic, ensure_topics
from chassis.messaging.pruning import InboxPruner
from chassis.messaging.relay import Relay
from chassis.operations import command as operations
from chassis.operations.invariants import InvariantWatch
from chassis.service import BackgroundTask, Context, Service, create_app
from chassis.settings import ServiceSettings
from chassis.supervision import Supervisor

# The stop phases together stay under the ten seconds a container gets.
_DRAIN_SECONDS = 5.0
_RELAY_STOP_SECONDS = 2.0
_HTTP_DRAIN_SECONDS = 2
_HARD_STOP_SECONDS = 9.5
# Longer than any client keeps an idle connection, so that it is never us who close one being reused.
_KEEP_ALIVE_SECONDS = 75

USAGE_ERROR, FAILED = 2, 1
_ROLES = {
    "api": "serve HTTP",
    "worker": "relay, consume and run the background loops",
    "all": "api and worker in one process",
    "migrate": "bring the database to the newest revision",
    "topics": "create the topics",
}
log = structlog.get_logger()


def main(service: Service, topics: Collection[Topic], events: Mapping[str, type[DomainEvent]]) -> None:
    """Command line of a service: ``python -m <service> api|worker|all|migrate|topics``, or an operator command.

    Exits 2 on bad usage or settings.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {service.name}", description=service.title)
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    for name, text in _ROLES.items():
        roles.add_parser(name, help=text, description=text)
    operations.declare(roles, service)
    asked = parser.parse_args()
    role = asked.role
    check_declarations(service, topics, events)
    try:
        settings = service.settings.load()
    except ValidationError as error:
        _say(f"{service.name}: {_settings_problems(error)}")
        sys.exit(USAGE_ERROR)
    if role not in _ROLES:
        sys.exit(operations.run(service, settings, asked))
    logs.configure(service.name, settings.log_level)
    jobs: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "migrate": lambda: migrations.upgrade(service.name, settings.database_url),
        "topics": lambda: _provision(service, settings, topics),
    }
    if job := jobs.get(role):
        sys.exit(_run_once(f"{service.name} {role}", job))
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=2048, reuse_port=False)
    except OSError as error:
        _say(f"{service.name}: cannot listen on {settings.host}:{settings.port}: {error.strerror}")
        sys.exit(FAILED)
    config = uvicorn.Config("", loop="auto")
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run(service, settings, role, topics, listener))


async def run(
    service: Service, settings: ServiceSettings, role: str, topics: Collection[Topic], listener: socket.socket
) -> None:
    """Run one process of the service until SIGTERM or SIGINT, then stop it in order."""
    context = service.context(settings)
    _stop_on_signals(context.stopping)
    app = create_app(service, context, with_api=role != "worker")
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_HTTP_DRAIN_SECONDS,
        )
    )
    try:
        async with asyncio.TaskGroup() as group:
            loops = _Loops(group, service, context)
            app.state.failed_tasks = loops.supervisor.failed
            serving = group.create_task(server.serve([listener]))
            if role != "worker":
                loops.start_tasks(service.api_tasks)
            if role != "api":
                loops.start_tasks(service.worker_tasks)
                loops.start_messaging(app, topics)
            log.info("started", role=role, host=settings.host, port=listener.getsockname()[1])
            await context.stopping.wait()
            log.info("stopping", role=role)
            await loops.stop()
            server.should_exit = True
            await serving
    finally:
        await context.database.dispose()
    log.info("stopped", role=role)


class _Server(uvicorn.Server):
    """Uvicorn inside our own process: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Loops:
    """The background loops of one process, and stopping them: consumers and tasks first, the relay after them."""

    def __init__(self, group: asyncio.TaskGroup, service: Service, context: Context) -> None:
        self.supervisor = Supervisor(context.stopping)
        self._group = group
        self._service = service
        self._context = context
        self._topics_exist = asyncio.Event()
        self._relay_stop = asyncio.Event()
        self._first: list[asyncio.Task[None]] = []
        self._last: list[asyncio.Task[None]] = []

    def start_tasks(self, tasks: Collection[BackgroundTask]) -> None:
        """Start the service's own loops."""
        for task in tasks:
            name = getattr(task, "__qualname__", type(task).__qualname__)
            self._first.append(self._start(name, functools.partial(task, self._context)))

    def start_messaging(self, app: FastAPI, topics: Collection[Topic]) -> None:
        """Start relay and consumers, which wait until the topics exist."""
        database, settings, stopping = self._context.database, self._context.settings, self._context.stopping
        kafka, security = settings.kafka, settings.kafka_security
        relay = Relay(database, kafka, self._relay_stop, security)
        app.state.optional_checks["relay"] = relay.check
        self._last.append(self._start("relay", functools.partial(self._after_topics, relay.run)))
        # Consumers of one process share half the connections, so that requests always find one.
        slots = asyncio.Semaphore(max(1, database.pool_size // 2))
        for declared in self._service.consumers:
            consumer = ConsumerRuntime(database, declared, kafka, stopping, slots, security=security)
            app.state.checks[f"consumer {consumer.group}"] = consumer.check
            app.state.optional_checks[f"group {consumer.group}"] = consumer.joined
            work = functools.partial(self._after_topics, consumer.run)
            self._first.append(self._start(f"consumer {consumer.group}", work))
        self._first.append(self._start("topics", functools.partial(self._provision, topics)))
        pruner = InboxPruner(database, self._service.consumers, topics)
        self._first.append(self._start("inbox pruning", functools.partial(pruner.run, stopping)))
        if self._service.invariants:
            watch = InvariantWatch(database, self._service.invariants, stopping)
            app.state.optional_checks["invariants"] = watch.check
            self._first.append(self._start("invariants", watch.run))

    async def stop(self) -> None:
        """Wait for the loops to end, each within its deadline."""
        await _end(self._first, _DRAIN_SECONDS)
        self._relay_stop.set()
        await _end(self._last, _RELAY_STOP_SECONDS)

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return self._group.create_task(self.supervisor.run(name, work), name=name)

    async def _provision(self, topics: Collection[Topic]) -> None:
        await _provision(self._service, self._context.settings, topics)
        self._topics_exist.set()

    async def _after_topics(self, work: Callable[[], Awaitable[None]]) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._topics_exist, self._context.stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._topics_exist.is_set():
            await work()


async def _end(tasks: Collection[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks that were told to stop; cancel those that take longer."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        log.error("task_cancelled", task=task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=1.0)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            # A thread or task that ignores every deadline must not keep the process alive.
            last_resort = threading.Timer(_HARD_STOP_SECONDS, os._exit, (FAILED,))
            last_resort.daemon = True
            last_resort.start()

    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop)


async def _provision(service: Service, settings: ServiceSettings, topics: Collection[Topic]) -> None:
    created = await ensure_topics(settings.kafka, topics, service.consumers, settings.kafka_security)
    if created:
        log.info("topics_created", topics=created)


def _run_once(name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a one-shot role; returns the exit code. An outside part being away is one line, anything else a traceback."""
    try:
        asyncio.run(job())
    except Exception as error:
        if not is_unavailable(error) and not isinstance(error, KafkaError):
            raise
        _say(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
        return FAILED
    return 0


def check_declarations(service: Service, topics: Collection[Topic], events: Mapping[str, type[DomainEvent]]) -> None:
    """Raise ValueError when a consumer handles an event or topic that is not published."""
    names = {topic.name for topic in topics}
    for consumer in service.consumers:
        for event in consumer.handlers:
            if events.get(event.TYPE) is not event or event.TOPIC not in names:
                raise ValueError(f"{consumer.group} handles {event.TYPE} of {event.TOPIC}, which nobody publishes")


def _settings_problems(error: ValidationError) -> str:
    def one(found: Mapping[str, Any]) -> str:
        if not found["loc"]:
            return str(found["msg"])
        name = "ORDERLOOP_" + "_".join(str(part) for part in found["loc"]).upper()
        return f"{name} is missing" if found["type"] == "missing" else f"{name}: {found['msg']}"

    return "settings: " + "; ".join(one(dict(found)) for found in error.errors())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")

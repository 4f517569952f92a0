"""One local platform: PostgreSQL, Kafka and the four services, started, watched and stopped as plain processes."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devkit.platform import postgres
from devkit.platform.errors import PlatformError
from devkit.platform.jars import ensure_jars, jars_missing
from devkit.platform.kafka import Door, start_kafka, stop_kafka
from devkit.platform.layout import WHOLE, Layout
from devkit.platform.ports import free_port, port_is_free
from devkit.platform.processes import ProcessRef, run, spawn, stop, wrapped
from devkit.platform.started import ensure_demo_customer, is_ready
from devkit.platform.state import SERVICES, Client, Secrets, State, StateFolder

POSTGRES, KAFKA = "postgres", "kafka"
_SERVERS = (POSTGRES, KAFKA)
_CONTROLLER = "kafka_controller"
_READY_SECONDS = 120.0
_SERVICE_STOP_SECONDS = 10.0

# Told each step by name when it begins (`None`) and when it is done (seconds it took).
Progress = Callable[[str, float | None], None]


class Platform:
    """The platform whose state is in one folder; several can run side by side, each in its own folder.

    `throwaway` is for tests: everything dies with this process, and, unless `durable` says otherwise, a crash of the
    system may cost the data. `layout` says which processes the services are.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        throwaway: bool = False,
        durable: bool | None = None,
        layout: Layout = WHOLE,
        progress: Progress = lambda _step, _took: None,
    ) -> None:
        self.folder = StateFolder(state_dir)
        self.layout = layout
        # What a service's process gets on top of its environment when it is started next, by its name.
        self.environment: dict[str, dict[str, str]] = {}
        self._throwaway = throwaway
        self._durable = not throwaway if durable is None else durable
        self._progress = progress
        self._mutex = threading.Lock()
        self._aborted = False
        self._started: dict[str, ProcessRef] = {}

    @property
    def gateway_url(self) -> str:
        """The base URL of the public API; raises PlatformError before the first start."""
        return self._url(self.layout.serving("gateway"), self._ever_started())

    @property
    def kafka(self) -> str:
        """Kafka's `host:port`; raises PlatformError before the first start."""
        return _kafka_address(self._ever_started())

    def database_url(self, service: str) -> str:
        """A plain `postgresql://` URL of a service's database; raises PlatformError before the first start."""
        return postgres.plain_url(_service_database(service, self._ever_started(), self._secrets()))

    def port(self, name: str) -> int:
        """The port of one part; raises PlatformError before the first start."""
        return self._ever_started().ports[name]

    def client(self, role: str) -> Client:
        """The credentials made for a role; raises PlatformError before the first start."""
        return self._secrets().clients[role]

    def service_environment(self, service: str) -> dict[str, str]:
        """What a process of the service finds in its environment, for its one-shot roles and operator commands.

        Raises PlatformError before the first start.
        """
        return self._environment(self.layout.serving(service), self._ever_started(), self._secrets())

    def parts(self, state: State) -> list[str]:
        """The processes that make this platform, in the order they depend on one another."""
        own_servers = [
            *([POSTGRES] if state.outside_postgres is None else []),
            *([KAFKA] if state.outside_kafka is None else []),
        ]
        return [*own_servers, *self.layout.parts]

    def running(self) -> list[str]:
        """The parts that run now."""
        state = self.folder.state()
        return [name for name in self.parts(state) if _alive(state, name)]

    def status(self) -> dict[str, Any]:
        """What `orderloop status --json` prints."""
        state, kept = self.folder.state(), self.folder.secrets()
        processes = [
            {"name": name, "pid": state.processes[name].pid, "state": "running"}
            if _alive(state, name)
            else {"name": name, "pid": None, "state": "stopped"}
            for name in self.parts(state)
        ]
        started = bool(kept and state.ports)
        return {
            "state": "running" if all(process["state"] == "running" for process in processes) else "stopped",
            "gateway": self.gateway_url if started else None,
            "kafka": self.kafka if started else None,
            "databases": {service: self.database_url(service) for service in SERVICES} if started else {},
            "clients": {role: client.model_dump() for role, client in kept.clients.items()} if kept else {},
            "processes": processes,
        }

    def start(self, gateway_port: int | None = None) -> list[str]:
        """Start every part that does not run, wait until all are healthy, and return the names of those started.

        When this fails or is interrupted, what it started is stopped again. Raises PlatformError.
        """
        with self.folder.lock():
            kept, state = self.folder.prepare(), self.folder.state()
            if not any(_alive(state, name) for name in state.processes):
                state.outside_postgres = os.environ.get("ORDERLOOP_DATABASE_URL")
                state.outside_kafka = os.environ.get("ORDERLOOP_KAFKA")
            missing = [name for name in self.parts(state) if not _alive(state, name)]
            self._choose_ports(state, missing, gateway_port)
            self.folder.save(state)
            if not missing:
                return []
            try:
                self._bring_up(state, kept, missing)
            except BaseException:
                self._stop(state, missing)
                raise
            return missing

    def restart(self, name: str, *, wait: bool = True) -> bool:
        """Start again one part that has ended; False when it runs or a command has stopped it. Raises PlatformError.

        Without `wait` a service is started and not waited for.
        """
        with self.folder.lock():
            kept, state = self.folder.prepare(), self.folder.state()
            if name not in state.processes or _alive(state, name):
                return False
            self._start_part(name, state, kept, wait)
            return True

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send one part a signal; raises PlatformError when it does not run."""
        ref = self.folder.state().processes.get(name)
        if ref is None or not ref.send(sig):
            raise PlatformError(f"{name} does not run")

    def freeze(self, name: str) -> None:
        """Stop one part where it stands, with all its processes, until it is thawed; raises PlatformError."""
        ref = self.folder.state().processes.get(name)
        if ref is None or not ref.freeze():
            raise PlatformError(f"{name} does not run")

    def thaw(self, name: str) -> None:
        """Let a frozen part go on; nothing when it has ended meanwhile."""
        if ref := self.folder.state().processes.get(name):
            ref.thaw()

    def stop(self) -> list[str]:
        """Stop every part: services, then Kafka, then PostgreSQL; returns those that were running."""
        if not self.folder.exists():
            return []
        with self.folder.lock():
            state = self.folder.state()
            return self._stop(state, list(state.processes))

    def stop_own(self) -> list[str]:
        """Stop, in the same order, only what this object started; returns what was running."""
        with self.folder.lock():
            state = self.folder.state()
            return self._stop(state, [name for name, ref in self._started.items() if state.processes.get(name) == ref])

    def _stop(self, state: State, names: list[str]) -> list[str]:
        wanted = {name: ref for name, ref in state.processes.items() if name in names}
        services = {ref: name for name, ref in wanted.items() if name not in _SERVERS}
        stopped = [services[ref] for ref in stop(list(services), patience_seconds=_SERVICE_STOP_SECONDS)]
        if KAFKA in wanted and stop_kafka(wanted[KAFKA]):
            stopped.append(KAFKA)
        if POSTGRES in wanted and postgres.stop_postgres(wanted[POSTGRES]):
            stopped.append(POSTGRES)
        for name in wanted:
            del state.processes[name]
        self.folder.save(state)
        return stopped

    def _bring_up(self, state: State, kept: Secrets, missing: list[str]) -> None:
        """Start the missing parts, each as soon as what it needs is there."""
        self._aborted = False
        with ThreadPoolExecutor(len(missing) + 1, "orderloop-up") as pool:
            servers = {name: pool.submit(self._start_part, name, state, kept) for name in missing if name in _SERVERS}
            wanted = [name for name in missing if name not in _SERVERS]
            databases = pool.submit(self._prepare_databases, servers.get(POSTGRES), wanted, state, kept)
            needed = [databases, *servers.values()]
            services = [pool.submit(self._start_after, needed, name, state, kept) for name in wanted]
            futures: list[Future[None]] = [*needed, *services]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                # Ending what was started so far ends the waits of the other threads, so that the pool can close.
                self._aborted = True
                with self._mutex:
                    begun = [state.processes[name] for name in missing if name in state.processes]
                stop(begun, first=signal.SIGINT, patience_seconds=_SERVICE_STOP_SECONDS)
                raise
        with self._step("demo customer"):
            ensure_demo_customer(self._url(self.layout.serving("gateway"), state), kept.clients["admin"])

    def _start_part(self, name: str, state: State, kept: Secrets, wait: bool = True) -> None:
        def record(ref: ProcessRef) -> None:
            self._record(name, ref, state)

        log_file = self.folder.logs / f"{name}.log"
        if name == POSTGRES:
            with self._step("PostgreSQL"):
                postgres.start_postgres(
                    self.folder.postgres,
                    state.ports[POSTGRES],
                    kept.postgres,
                    log_file,
                    durable=self._durable,
                    tied_to_us=self._throwaway,
                    on_spawn=record,
                )
        elif name == KAFKA:
            if jars_missing():
                with self._step("Apache Kafka's archives (45 MB, first time only)"):
                    ensure_jars()
            with self._step("Kafka"):
                start_kafka(
                    self.folder.kafka,
                    state.ports[KAFKA],
                    state.ports[_CONTROLLER],
                    log_file,
                    doors=self._kafka_doors(state),
                    tied_to_us=self._throwaway,
                    on_spawn=record,
                )
        else:
            with self._step(name):
                part = self.layout.parts[name]
                command = wrapped([*_python(part.service), part.role], tied_to_us=self._throwaway)
                child = spawn(name, command, log_file, self._environment(name, state, kept), self.folder.path)
                record(child.ref)
                if wait:
                    child.wait_ready(lambda: is_ready(self._url(name, state)), _READY_SECONDS)

    def _prepare_databases(self, server: Future[None] | None, names: list[str], state: State, kept: Secrets) -> None:
        """Roles, databases and the newest revision of the databases of the services these parts belong to."""
        if server:
            server.result()
        postgres.ensure_databases(_admin_url(state, kept), kept.databases)
        with self._step("migrations"):
            urls = {service: _service_database(service, state, kept) for service in self.layout.services(names)}
            result = run(_python("devkit.platform.migrate"), json.dumps(urls))
            log_file = self.folder.logs / "migrations.log"
            log_file.write_text(result.stdout + result.stderr)
            if result.returncode != 0:
                raise PlatformError(f"migrations failed: {result.stderr.strip().splitlines()[-1]} (log: {log_file})")

    def _start_after(self, needed: list[Future[None]], name: str, state: State, kept: Secrets) -> None:
        for future in needed:
            future.result()
        self._start_part(name, state, kept)

    def _environment(self, name: str, state: State, kept: Secrets) -> dict[str, str]:
        """The environment contract of a service's process."""
        service = self.layout.parts[name].service
        database_url, kafka = _service_database(service, state, kept), _kafka_address(state)
        if doors := self.layout.doors.get(service):
            database_url, kafka = postgres.at_port(database_url, doors.postgres), f"127.0.0.1:{doors.kafka}"
        ours = {
            "ORDERLOOP_DATABASE_URL": database_url,
            "ORDERLOOP_KAFKA": kafka,
            "ORDERLOOP_HOST": "127.0.0.1",
            "ORDERLOOP_PORT": str(state.ports[name]),
            "ORDERLOOP_JWKS": str(self.folder.jwks),
            "ORDERLOOP_ISSUER": "orderloop",
        }
        if service == "gateway":
            ours |= {
                "ORDERLOOP_SIGNING_KEY_FILE": str(self.folder.signing_key),
                "ORDERLOOP_CLIENTS_FILE": str(self.folder.clients),
                **{
                    f"ORDERLOOP_{other.upper()}_URL": self._url(self.layout.serving(other), state)
                    for other in ("crm", "erp", "mes")
                },
            }
        return {**os.environ, **ours, "PYTHONUNBUFFERED": "1", **self.environment.get(name, {})}

    def _kafka_doors(self, state: State) -> list[Door]:
        """Kafka's listeners beside its own: one for each service that reaches it through another port."""
        return [
            Door(service.upper(), state.ports[_door(service)], doors.kafka)
            for service, doors in self.layout.doors.items()
        ]

    def _choose_ports(self, state: State, missing: list[str], gateway_port: int | None) -> None:
        """Keep recorded ports; the gateway's is the asked one or the recorded one, the others may move when taken."""
        gateway = self.layout.serving("gateway")
        recorded = state.ports.get(gateway)
        if gateway not in missing:
            if gateway_port not in (None, recorded):
                raise PlatformError(f"the gateway already runs on port {recorded}: run `orderloop down` first")
        elif (wanted := gateway_port or recorded) is not None:
            if not port_is_free(wanted):
                raise PlatformError(f"port {wanted} is taken by another program: free it, or choose one with --port")
            state.ports[gateway] = wanted
        beside_kafka = [_CONTROLLER, *(_door(service) for service in self.layout.doors)]
        needed = [*missing, *(beside_kafka if KAFKA in missing else [])]
        for name in needed:
            while name not in state.ports or not port_is_free(state.ports[name]) or _shared(state.ports, name):
                state.ports[name] = free_port()

    def _record(self, name: str, ref: ProcessRef, state: State) -> None:
        with self._mutex:
            state.processes[name] = ref
            self._started[name] = ref
            self.folder.save(state)
        if self._aborted:
            stop([ref], first=signal.SIGKILL)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        self._progress(name, None)
        yield
        self._progress(name, time.monotonic() - begun)

    def _url(self, name: str, state: State) -> str:
        return f"http://127.0.0.1:{state.ports[name]}"

    def _ever_started(self) -> State:
        state = self.folder.state()
        if not state.ports:
            raise PlatformError("nothing was started here yet: run `orderloop up`")
        return state

    def _secrets(self) -> Secrets:
        kept = self.folder.secrets()
        if kept is None:
            raise PlatformError("nothing was started here yet: run `orderloop up`")
        return kept


def _alive(state: State, name: str) -> bool:
    return name in state.processes and state.processes[name].alive()


def _shared(ports: dict[str, int], name: str) -> bool:
    return any(port == ports[name] for other, port in ports.items() if other != name)


def _door(service: str) -> str:
    """The name of the port at which Kafka listens for one service."""
    return f"kafka_{service}"


def _admin_url(state: State, kept: Secrets) -> str:
    return state.outside_postgres or postgres.admin_url(state.ports[POSTGRES], kept.postgres)


def _service_database(service: str, state: State, kept: Secrets) -> str:
    """The SQLAlchemy URL of a service's database."""
    url = postgres.url_for(_admin_url(state, kept), service, service, kept.databases[service])
    return postgres.sqlalchemy_url(url)


def _kafka_address(state: State) -> str:
    return state.outside_kafka or f"127.0.0.1:{state.ports[KAFKA]}"


def _python(module: str) -> list[str]:
    """Run a module without the current folder on the path, where a folder might have its name."""
    return [sys.executable, "-P", "-m", module]

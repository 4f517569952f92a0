"""The platform under fire: its processes, the links between them, and what keeps it going."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from chaos.disk import Disk
from chaos.proxy import Link
from chaos.schedule import LINKS, SERVERS
from devkit.platform import Platform, PlatformError
from devkit.platform.errors import BusyError
from devkit.platform.layout import Doors, Layout, split
from devkit.platform.ports import free_port
from devkit.platform.state import SERVICES
from devkit.testing import wait_until

WORKERS = 2
_KEEPER_SECONDS = 0.5
_ENDED_SECONDS = 20.0
# Generous: on a busy machine a broker takes a minute to start.
READY_SECONDS = 240.0
_PROBE_SECONDS, _PROBE_PAUSE_SECONDS = 2.0, 0.3
# Twelve processes share the connections of one server.
_POOL = "6"


def make_layout(workers: int = WORKERS) -> Layout:
    """Every service as one api and some workers, which reach the servers through ports a link can hold."""
    taken: set[int] = set()
    while len(taken) < len(LINKS):
        taken.add(free_port())
    ports = iter(sorted(taken))
    return split(workers, {service: Doors(postgres=next(ports), kafka=next(ports)) for service in SERVICES})


@dataclass
class Rig:
    """What faults are done to."""

    platform: Platform
    disks: dict[str, Disk] = field(default_factory=dict)
    # How often a process ended although nobody killed it.
    ended_alone: Counter[str] = field(default_factory=Counter)
    _down: set[str] = field(default_factory=set)
    _claims: dict[str, asyncio.Lock] = field(default_factory=dict)
    # When each process was last asked and ready, and whether it said it leads its relay.
    _ready_at: dict[str, float] = field(default_factory=dict)
    _leads: dict[str, bool] = field(default_factory=dict)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def make(cls, state: Path, layout: Layout) -> "Rig":
        """A rig whose platform does not run yet."""
        platform = Platform(state, throwaway=True, durable=True, layout=layout)
        platform.environment = {part: {"ORDERLOOP_DATABASE_POOL": _POOL} for part in layout.parts}
        return cls(platform)

    def __post_init__(self) -> None:
        self.links: dict[str, Link] = {}
        for service, doors in self.platform.layout.doors.items():
            for server, door, behind in (
                ("postgres", doors.postgres, "postgres"),
                ("kafka", doors.kafka, f"kafka_{service}"),
            ):
                name = f"{service}/{server}"
                self.links[name] = Link(name, door, partial(self.platform.port, behind))

    @asynccontextmanager
    async def claim(self, target: str) -> AsyncIterator[None]:
        """One fault at a time for each target."""
        async with self._claims.setdefault(target, asyncio.Lock()):
            yield

    @asynccontextmanager
    async def down(self, name: str) -> AsyncIterator[None]:
        """While the block runs the part may be down; after it, it is started again."""
        self._down.add(name)
        try:
            yield
        finally:
            await self.restart(name)
            self._down.discard(name)

    async def ended(self, name: str) -> None:
        """Wait until a part has ended."""
        await wait_until(lambda: name not in self.platform.running(), _ENDED_SECONDS, f"{name} to end")

    async def signal(self, name: str, sig: signal.Signals) -> None:
        """Send a part a signal, as soon as it runs."""
        await self.running(name)
        self.platform.kill(name, sig)

    async def running(self, name: str) -> None:
        """Wait until a part runs."""
        await wait_until(lambda: name in self.platform.running(), READY_SECONDS, f"{name} to run")

    async def restart(self, name: str) -> None:
        """Start a part that has ended, or will in a moment; a service is not waited for."""
        await self.ended(name)
        await self._start(name)

    async def _start(self, name: str) -> None:
        async with self._starting:
            while True:
                try:
                    await asyncio.to_thread(self.platform.restart, name, wait=False)
                    return
                except BusyError:
                    await asyncio.sleep(_KEEPER_SECONDS)

    async def stop(self) -> None:
        """Stop everything, after a start that may still be under way when a run breaks."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                await asyncio.to_thread(self.platform.stop)
                return
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_KEEPER_SECONDS)

    async def keep_running(self) -> None:
        """Start again what ends by itself, as every platform does."""
        while True:
            await asyncio.sleep(_KEEPER_SECONDS)
            down = set(self._down)
            running = set(await asyncio.to_thread(self.platform.running))
            for name in (*self.platform.layout.parts, *SERVERS):
                if name not in running and name not in down | self._down:
                    self.ended_alone[name] += 1
                    # A server that cannot start yet (its disk is full) is tried again the next time.
                    with suppress(PlatformError):
                        await self._start(name)

    async def ready(self, names: Sequence[str]) -> float:
        """Wait until these services' processes are ready without reserve; returns how many seconds it took."""
        began = time.monotonic()

        def all_ready() -> bool:
            return all(self._ready_at.get(name, 0.0) > began for name in names)

        await wait_until(all_ready, READY_SECONDS, f"{', '.join(names)} to be ready")
        return max(self._ready_at[name] for name in names) - began

    async def watch_readiness(self) -> None:
        """Ask every service's process, again and again, whether it is ready."""
        limits = httpx.Limits(max_connections=len(self.platform.layout.parts))
        async with httpx.AsyncClient(timeout=_PROBE_SECONDS, limits=limits, trust_env=False) as http:
            while True:
                await asyncio.gather(*(self._probe(http, name) for name in self.platform.layout.parts))
                await asyncio.sleep(_PROBE_PAUSE_SECONDS)

    async def _probe(self, http: httpx.AsyncClient, name: str) -> None:
        asked = time.monotonic()
        with suppress(httpx.TransportError):
            answer = await http.get(f"http://127.0.0.1:{self.platform.port(name)}/readyz")
            checks = answer.json()["checks"]
            self._leads[name] = checks.get("relay", {}).get("detail") == "leader"
            if answer.is_success and all(check["ok"] for check in checks.values()):
                self._ready_at[name] = asked

    def leader(self, service: str) -> str:
        """The worker that leads a service's relay, as last seen; any of its workers when none did."""
        workers = self.platform.layout.workers(service)
        return next((worker for worker in workers if self._leads.get(worker)), workers[0])

    async def heal(self) -> None:
        """Undo whatever a fault may have left."""
        for link in self.links.values():
            await link.heal()
        for disk in self.disks.values():
            disk.free()
        for name in self.platform.running():
            self.platform.thaw(name)

"""Conservation laws of one service, looked at on the running system."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from prometheus_client import Gauge

from chassis.db import Database, Reader, is_unavailable
from chassis.waiting import pause

# A law of one database: sentences about what breaks it, none when it holds at every moment between transactions.
Law = Callable[[Reader], Awaitable[list[str]]]

VIOLATIONS = Gauge("orderloop_invariant_violations", "Sentences that break a conservation law.", ["service", "law"])
_PAUSE_SECONDS = 60.0
# Looking costs reads of whole tables: it may take this share of the time.
_SHARE = 0.02
log = structlog.get_logger()


async def violations(database: Database, laws: Mapping[str, Law]) -> dict[str, list[str]]:
    """What breaks each law, all seen at one moment."""
    async with database.read() as reader:
        await reader.connection.execution_options(isolation_level="REPEATABLE READ")
        return {name: await law(reader) for name, law in laws.items()}


class InvariantWatch:
    """Looks about once a minute (more rarely when that is costly) and tells metrics and /readyz."""

    def __init__(self, database: Database, laws: Mapping[str, Law], stopping: asyncio.Event) -> None:
        self._database = database
        self._laws = laws
        self._stopping = stopping
        self._state = (True, "not looked at yet")

    async def check(self) -> tuple[bool, str]:
        """Readiness detail: the first broken law, if any."""
        return self._state

    async def run(self) -> None:
        """Look until told to stop."""
        loop = asyncio.get_running_loop()
        wait = _PAUSE_SECONDS
        while not await pause(self._stopping, wait):
            began = loop.time()
            try:
                await self.look()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                log.warning("invariants_unknown", error=repr(error)[:300])
            wait = max(_PAUSE_SECONDS, (loop.time() - began) / _SHARE)

    async def look(self) -> None:
        """Look once."""
        found = await violations(self._database, self._laws)
        for law, sentences in found.items():
            VIOLATIONS.labels(self._database.service, law).set(len(sentences))
            if sentences:
                log.error("invariant_violated", law=law, violations=len(sentences), first=sentences[:3])
        broken = [f"{law}: {sentences[0]}" for law, sentences in found.items() if sentences]
        self._state = (not broken, broken[0] if broken else f"{len(found)} laws hold")

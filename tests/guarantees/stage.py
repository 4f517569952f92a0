"""A bench that remembers its commands, and tells its history to the checker."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka.partitioner import DefaultPartitioner
from history import Command, Fold, History, Record, Run, check_all
from history.databases import read_messaging
from history.model import Effect, Group
from history.topics import read_dead_letters, read_offsets, read_records
from messaging_bench import Bench
from sqlalchemy import text
from tally.service import count_up

from chassis.clock import new_id, now
from chassis.db import Tx
from devkit.platform.postgres import plain_url
from devkit.testing import wait_until

_HEARD = "heard"
_BLOCKED = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def _once_each(records: Sequence[Record]) -> dict[str, Decimal]:
    return {record.event_id: Decimal(1) for record in records}


@dataclass
class Stage(Bench):
    """The tally service as its commands, its topic, its consumer and its tables show it."""

    began: datetime = field(default_factory=now)
    commands: list[Command] = field(default_factory=list)
    # What else the state says, and the folds that say what it should.
    effects: list[Effect] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)

    @property
    def checked_group(self) -> Group:
        """The consumer group, as the checker knows it."""
        return Group(self.group, (self.topic,), (self.model.TYPE,))

    async def command(self, kind: str, work: Callable[[Tx], Awaitable[Any]]) -> Any:
        """Do a command as a client would see it done, and remember it."""
        started = now()
        events: list[str] = []

        async def recorded(tx: Tx) -> Any:
            result = await work(tx)
            events[:] = [str(event_id) for event_id in tx.event_ids]
            return result

        result = await self.database.write(recorded)
        self.commands.append(Command(str(new_id()), kind, started, now(), "ok", tuple(events)))
        return result

    async def count(self, counter: str, times: int = 1) -> None:
        """Count a counter up, each time in a command of its own."""
        for _ in range(times):
            await self.command("count", lambda tx: count_up(tx, counter, model=self.model))

    async def tell(self, counter: str, version: int, note: str = "") -> None:
        """Publish an event of a counter with a note."""

        async def work(tx: Tx) -> None:
            tx.append(self.model(counter_id=UUID(counter), aggregate_version=version, note=note))

        await self.command("tell", work)

    async def counter_of_each_partition(self) -> list[str]:
        """A new counter for each of the topic's two partitions."""
        made = await self.create(32)
        by_partition = {DefaultPartitioner()(counter.encode(), [0, 1], [0, 1]): counter for counter in made}
        return [by_partition[0], by_partition[1]]

    async def wait_blocked(self) -> None:
        """Wait until a transaction waits for another's lock."""

        async def blocked() -> int:
            async with self.database.read() as reader:
                return int(await reader.scalar(text(_BLOCKED)))

        await wait_until(blocked, 20, "a transaction to wait for a lock")

    async def wait_relayed(self) -> None:
        """Wait until the outbox is empty."""
        await wait_until(self.outbox_empty, 20, "the outbox to be relayed")

    async def violated(self, *, undisturbed: bool = False) -> set[str]:
        """Names of the checks that find a violation in what happened so far."""
        history = await self.history(undisturbed=undisturbed)
        folds = [Fold(_HEARD, self.group, frozenset({self.model.TYPE}), _once_each), *self.folds]
        return {violation.check for violation in check_all(history, folds)}

    async def history(self, *, undisturbed: bool = False) -> History:
        """Everything there is to know."""
        group = self.checked_group
        history = History(Run(self.began, now(), undisturbed), list(self.commands), groups=[group])
        connection = await asyncpg.connect(plain_url(self.database.url))
        try:
            found = await read_messaging(connection, self.database.service)
            heard = await connection.fetch("SELECT event_id FROM heard")
        finally:
            await connection.close()
        history.inbox, history.outbox, history.parked = found.inbox, found.outbox, found.parked
        history.effects = [*(Effect(_HEARD, str(row["event_id"]), Decimal(1)) for row in heard), *self.effects]
        history.records = await read_records(self.kafka, [self.topic])
        history.dead_letters = await read_dead_letters(self.kafka, [group])
        history.offsets = await read_offsets(self.kafka, [group])
        return history

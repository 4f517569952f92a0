"""Reading the chassis' tables of a service's database for a history."""

from dataclasses import dataclass, field

import asyncpg

from history.model import InboxRow, OutboxRow, ParkedEvent, StoredAnswer

_ANSWERS = "SELECT key, headers ->> 'x-event-ids' AS events FROM idempotency_key"
# What an operator gave up is in the inbox too, so that it is never applied.
_APPLIED = "SELECT consumer, event_id FROM inbox WHERE NOT skipped"
_OUTBOX = "SELECT event_id, topic, key, aggregate_version, parked_reason IS NOT NULL AS parked FROM outbox ORDER BY id"
_PARKED = 'SELECT consumer, topic, partition, "offset", key, event_id FROM parked_event ORDER BY id'


@dataclass
class Messaging:
    """What the chassis keeps in one service's database."""

    answers: list[StoredAnswer] = field(default_factory=list)
    inbox: list[InboxRow] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    parked: list[ParkedEvent] = field(default_factory=list)


async def read_messaging(connection: asyncpg.Connection, service: str) -> Messaging:
    """Stored answers, inbox, outbox and parked events."""
    return Messaging(
        [StoredAnswer(service, row["key"], _event_ids(row["events"])) for row in await connection.fetch(_ANSWERS)],
        [InboxRow(r["consumer"], str(r["event_id"])) for r in await connection.fetch(_APPLIED)],
        [
            OutboxRow(service, str(r["event_id"]), r["topic"], r["key"], r["aggregate_version"], r["parked"])
            for r in await connection.fetch(_OUTBOX)
        ],
        [ParkedEvent(*row) for row in await connection.fetch(_PARKED)],
    )


def _event_ids(header: str | None) -> tuple[str, ...]:
    """From `<id>;<type>,…`."""
    return tuple(entry.split(";")[0] for entry in header.split(",")) if header else ()

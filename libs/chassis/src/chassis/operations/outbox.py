"""The outbox as an operator sees it: how much waits, what can never be sent, who relays."""

from typing import Any

from sqlalchemy import delete, func, null, select, text, update

from chassis.clock import now
from chassis.db import Database, Tx
from chassis.messaging.relay import LEADER_LOCK
from chassis.operations.errors import NothingSuch
from chassis.tables import outbox

# How PostgreSQL splits the 64 bits of a session advisory lock.
_LEADER = text(
    """
    SELECT a.pid, a.application_name AS application, host(a.client_addr) AS address, a.backend_start AS since
    FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = CAST(:key AS bigint) >> 32
      AND l.objid::bigint = CAST(:key AS bigint) & 4294967295
    """
)


async def status(database: Database) -> dict[str, Any]:
    """Pending and parked rows, the oldest one's age in seconds, rows by topic, and the relay that leads (or none)."""
    waiting = select(outbox.c.topic, func.count().label("pending"), func.min(outbox.c.created_at).label("oldest"))
    stuck = outbox.c.parked_reason.is_not(None)
    size = func.length(outbox.c.payload).label("bytes")
    parked = select(
        outbox.c.id,
        outbox.c.event_id,
        outbox.c.topic,
        outbox.c.key,
        outbox.c.type,
        size,
        outbox.c.parked_reason.label("reason"),
        outbox.c.created_at.label("since"),
    )
    async with database.read() as reader:
        topics = await reader.all(waiting.group_by(outbox.c.topic).order_by(outbox.c.topic))
        rows = await reader.all(parked.where(stuck).order_by(outbox.c.id))
        leader = await reader.first(_LEADER, {"key": LEADER_LOCK})
    at = now()
    oldest = min((row["oldest"] for row in topics), default=None)
    return {
        "pending": sum(row["pending"] for row in topics),
        "oldest_age_seconds": round(max(0.0, (at - oldest).total_seconds()), 3) if oldest else 0.0,
        "topics": {row["topic"]: row["pending"] for row in topics},
        "parked": [dict(row) for row in rows],
        "leader": dict(leader) if leader else None,
    }


async def retry(database: Database, row_id: int, apply: bool) -> dict[str, Any]:
    """Let the relay try a parked row, and with it its key, again; raises NothingSuch."""
    return await _act(database, row_id, apply, "retried")


async def skip(database: Database, row_id: int, apply: bool) -> dict[str, Any]:
    """Remove a parked row: nobody will ever hear of this event. Raises NothingSuch."""
    return await _act(database, row_id, apply, "skipped")


async def _act(database: Database, row_id: int, apply: bool, done: str) -> dict[str, Any]:
    stuck = (outbox.c.id == row_id) & outbox.c.parked_reason.is_not(None)
    columns = (outbox.c.id, outbox.c.event_id, outbox.c.topic, outbox.c.key, outbox.c.type)

    async def work(tx: Tx) -> dict[str, Any]:
        row = await tx.first(select(*columns, outbox.c.parked_reason.label("reason")).where(stuck).with_for_update())
        if row is None:
            raise NothingSuch(f"no parked outbox row {row_id}")
        if apply and done == "retried":
            await tx.execute(update(outbox).where(stuck).values(parked_reason=null()))
        elif apply:
            await tx.execute(delete(outbox).where(stuck))
        return {**row, "done": done}

    return await database.write(work)

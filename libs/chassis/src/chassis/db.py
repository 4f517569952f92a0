"""Database access: one engine per process, read connections, and the unit of work that owns every write."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy import Column, ColumnElement, Executable, RowMapping, Table, insert, select
from sqlalchemy import Sequence as NumberSequence
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis import events, tables
from chassis.clock import new_id, now
from chassis.events import DomainEvent, EventMeta

# PostgreSQL error classes a repeat of the whole transaction can cure: serialization failure, deadlock, stale plan.
_RETRYABLE = ("40001", "40P01", "0A000")
_LOCK_TIMEOUT = "55P03"
# Connection failure, operator intervention: the server did not say what became of a transaction.
_ENDED = ("08", "57")
# Connection failure, not let in, no such database, out of resources, operator intervention.
_AWAY = ("08", "28", "3D", "53", "57")
# Number out of range; text with NUL or a character the encoding lacks; too long for its index.
_UNSTORABLE = ("22003", "22021", "22P05", "54000")
_ATTEMPTS = 4

T = TypeVar("T")


class CommitLost(ConnectionError):
    """The database went away while it was asked to commit: the transaction may have happened or not."""


def is_conflict(error: BaseException) -> bool:
    """Whether repeating the whole transaction can cure this error (deadlock, serialization failure)."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in _RETRYABLE


def is_unavailable(error: BaseException) -> bool:
    """Whether the database is away, starting, out of connections or too slow: try again later.

    Takes the errors of SQLAlchemy and, for who talks to the driver, of asyncpg.
    """
    if isinstance(error, (InterfaceError, PoolTimeout, ConnectionError, OSError, asyncio.TimeoutError)):
        return True
    driver_error = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(driver_error, asyncpg.InterfaceError):
        return True
    if isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    state = getattr(driver_error, "sqlstate", None) or ""
    return state[:2] in _AWAY or state == _LOCK_TIMEOUT


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a lock was waited for in vain: others are at work, nothing is away."""
    return _sqlstate(error) == _LOCK_TIMEOUT


def _leaves_doubt(error: BaseException) -> bool:
    """Whether a failed commit may have happened: the connection was lost, instead of the server refusing."""
    return is_unavailable(error) and _sqlstate(error)[:2] in ("", *_ENDED)


def _sqlstate(error: BaseException) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def is_unstorable(error: BaseException) -> bool:
    """Whether a value was given that its column cannot hold, which no rule caught before."""
    if not isinstance(error, DBAPIError):
        return False
    # asyncpg refuses some values itself, before the server sees them.
    by_driver = isinstance(getattr(error.orig, "__cause__", None), asyncpg.DataError)
    return by_driver or _sqlstate(error) in _UNSTORABLE


@dataclass(frozen=True)
class Cause:
    """What a transaction answers to: goes into every event it appends."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class Reader:
    """A connection for reading rows as mappings."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def execute(self, statement: Executable, parameters: Any = None) -> Any:
        """Run a statement; returns SQLAlchemy's result."""
        return await self.connection.execute(statement, parameters)

    async def all(self, statement: Executable, parameters: Any = None) -> Sequence[RowMapping]:
        """All rows."""
        return (await self.connection.execute(statement, parameters)).mappings().all()

    async def first(self, statement: Executable, parameters: Any = None) -> RowMapping | None:
        """The first row, or None."""
        return (await self.connection.execute(statement, parameters)).mappings().first()

    async def scalar(self, statement: Executable, parameters: Any = None) -> Any:
        """The first column of the first row, or None."""
        return await self.connection.scalar(statement, parameters)


class Tx(Reader):
    """One unit of work: state changes now, outbox rows last, then commit.

    Lock the aggregate's row before anything else writes, so that outbox ids of one aggregate follow its versions.
    """

    def __init__(self, connection: AsyncConnection, source: str, cause: Cause, at: datetime) -> None:
        super().__init__(connection)
        self.now = at
        self.cause = cause
        # Id and type of every event appended, in order.
        self.appended: list[tuple[UUID, str]] = []
        self._source = source
        self._pending: list[dict[str, Any]] = []
        self._at_end: dict[Callable[[Tx, set[Any]], Awaitable[None]], set[Any]] = {}
        self._after_commit: list[Callable[[], None]] = []

    def append(self, event: DomainEvent, correlation_id: str | None = None, causation_id: str | None = None) -> UUID:
        """Publish an event with this transaction; returns its id.

        ``correlation_id`` names the root cause when this event starts the story, ``causation_id`` the event behind it
        when that is not the one being handled; otherwise they are inherited.
        """
        meta = EventMeta(
            event_id=new_id(),
            type=event.TYPE,
            source=f"orderloop/{self._source}",
            time=self.now,
            subject=event.key,
            correlation_id=correlation_id or self.cause.correlation_id or event.key,
            causation_id=causation_id or self.cause.causation_id,
            traceparent=self.cause.traceparent,
        )
        self._pending.append(
            {
                "event_id": meta.event_id,
                "topic": event.TOPIC,
                "key": event.key,
                "aggregate_version": event.aggregate_version,
                "type": event.TYPE,
                "headers": meta.headers(),
                "payload": event.model_dump_json().encode(),
            }
        )
        self.appended.append((meta.event_id, event.TYPE))
        return meta.event_id

    async def number(self, sequence: NumberSequence, prefix: str) -> str:
        """The next human number, e.g. ``SO-000123``. Numbers may have gaps, never repeats."""
        return f"{prefix}-{await self.scalar(select(sequence.next_value())):06d}"

    @property
    def event_ids(self) -> list[UUID]:
        """Ids of the events appended so far."""
        return [event_id for event_id, _ in self.appended]

    def at_end(self, work: Callable[["Tx", set[Any]], Awaitable[None]], values: Iterable[Any]) -> None:
        """Do `work` once, after all other work of this transaction, with all the values it was asked for with."""
        self._at_end.setdefault(work, set()).update(values)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Call this once the transaction is durable; never called on rollback."""
        self._after_commit.append(action)

    async def finish(self) -> None:
        """Do what was put off, then insert the outbox rows; the unit of work calls this last."""
        for work, values in self._at_end.items():
            await work(self, values)
        if self._pending:
            await self.execute(insert(tables.outbox), self._pending)

    def committed(self) -> bool:
        """Run the after-commit actions; returns whether events were written."""
        for action in self._after_commit:
            action()
        return bool(self._pending)


@dataclass
class Database:
    """One service's database."""

    url: str
    service: str
    pool_size: int = 10
    # Where tables are looked for, when not in the usual schema.
    schema: str | None = None
    wake_relay: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=self.pool_size,
            max_overflow=self.pool_size // 2,
            pool_timeout=2,
            pool_pre_ping=False,
            connect_args={
                "timeout": 3,
                "command_timeout": 30,
                "server_settings": {
                    "application_name": f"orderloop-{self.service}",
                    "jit": "off",
                    "lock_timeout": "5000",
                    "idle_in_transaction_session_timeout": "60000",
                    **({"search_path": self.schema} if self.schema else {}),
                },
            },
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        """A read-only transaction."""
        async with self.engine.connect() as connection:
            await connection.execution_options(postgresql_readonly=True)
            yield Reader(connection)

    @asynccontextmanager
    async def transaction(self, cause: Cause | None = None) -> AsyncIterator[Tx]:
        """One unit of work: commits when the block ends, rolls back when it raises.

        Raises CommitLost when nobody can say whether it was committed.
        """
        async with self.engine.connect() as connection:
            tx = Tx(connection, self.service, cause or current_cause(), now())
            committing = False
            try:
                async with connection.begin():
                    yield tx
                    await tx.finish()
                    committing = True
            except Exception as error:
                if committing and _leaves_doubt(error):
                    raise CommitLost(f"{type(error).__name__} while committing") from error
                raise
        if tx.committed():
            self.wake_relay.set()

    async def write(self, work: Callable[[Tx], Awaitable[T]], cause: Cause | None = None) -> T:
        """Run `work` in one unit of work; repeats it on deadlock or serialization failure, up to four times."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self.transaction(cause) as tx:
                    result = await work(tx)
            except DBAPIError as error:
                if attempt == _ATTEMPTS or not is_conflict(error):
                    raise
            else:
                return result
        raise AssertionError("unreachable")

    async def dispose(self) -> None:
        """Close the pool."""
        await self.engine.dispose()


def current_cause() -> Cause:
    """Cause of the request being served, from the context."""
    return Cause(traceparent=events.traceparent.get())


def matches(table: Table, reference: str, number: str = "number") -> ColumnElement[bool]:
    """Condition that a row's id or human number is `reference`."""
    try:
        return _column(table, "id") == UUID(reference)
    except ValueError:
        return _column(table, number) == reference


def _column(table: Table, name: str) -> Column[Any]:
    return table.c[name]

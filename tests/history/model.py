"""What happened in a run, as clients, Kafka and the databases tell it: the input of the checks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Command:
    """One write of a client, known by its Idempotency-Key: what it asked for and what it was told.

    `outcome` is ok for any 2xx, fail for a refusal (4xx, or 503 that says nothing was done), unknown for all else.
    `event_ids` may stay empty when the service keeps the answer under the key (see `StoredAnswer`).
    """

    key: str
    kind: str
    started: datetime
    ended: datetime
    outcome: Literal["ok", "fail", "unknown"]
    event_ids: tuple[str, ...] = ()
    # The record it is about, for messages.
    record: str = ""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A committed command as its service remembers it, with the events written in the same transaction."""

    service: str
    key: str
    event_ids: tuple[str, ...]


class Place(NamedTuple):
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record of a domain topic, as one of possibly several reads of the topic saw it."""

    topic: str
    partition: int
    offset: int
    key: str | None
    # Empty when the record carries none.
    event_id: str
    type: str
    causation_id: str | None
    correlation_id: str | None
    time: datetime | None
    aggregate_version: int | None
    timestamp: int
    # Of key, headers and value.
    digest: str
    # The JSON, kept for types a fold needs.
    payload: str | None = None
    read: int = 1

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.topic, self.partition, self.offset)

    @property
    def name(self) -> str:
        """For messages: type, version, id and place."""
        return f"{self.type or 'a record'} v{self.aggregate_version} {self.event_id or 'without id'} at {self.place}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record a consumer group gave up."""

    group: str
    topic: str
    partition: int
    offset: int
    event_id: str

    @property
    def place(self) -> Place:
        """Where the record given up lies."""
        return Place(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class Injected:
    """A record the test itself wrote to a topic: poison, a duplicate, an old event again."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group and the event types it handles."""

    group: str
    topics: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """The next offset a group will read of a partition."""

    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A group's database says it applied an event."""

    group: str
    event_id: str


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An event that has not left its service's database; `parked` when only an operator can help."""

    service: str
    event_id: str
    topic: str
    key: str
    aggregate_version: int
    parked: bool


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that waits in a group's database because its key is parked."""

    group: str
    topic: str
    partition: int
    offset: int
    key: str
    event_id: str

    @property
    def place(self) -> Place:
        """Where its record lies."""
        return Place(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a consumer's state says it applied; the rows of one fold and key add up."""

    fold: str
    key: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class StockRow:
    """A row of the stock ledger; `version` counts the rows of its item."""

    item: str
    version: int
    lot: str
    quantity: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class Balance:
    """What an item's stock is said to be."""

    item: str
    on_hand: Decimal
    reserved: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class Lot:
    """What is said to be left of a lot."""

    item: str
    lot: str
    quantity: Decimal
    held: bool


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A line as sales knows it (`ordered`, and `cancelled` of it) and as the warehouse does (`shipped`, `open`)."""

    order: str
    line: int
    ordered: Decimal
    cancelled: Decimal
    shipped: Decimal
    open: Decimal


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One side of a journal entry."""

    entry: str
    account: str
    debit: Decimal
    credit: Decimal


@dataclass(frozen=True, slots=True)
class Process:
    """Something with a beginning and an end: an order's fulfilment, a plan, a work order, a shipment.

    `waits_for` names other processes (``plan/<id>``) or people (``role/operator``).
    """

    name: str
    state: str
    terminal: bool
    waits_for: tuple[str, ...] = ()
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The frame of the run: when the load began, when everything was collected, and what is allowed in it.

    `undisturbed` is true when nothing was killed, cut or sent again, so that no event may be on its topic twice.
    `spontaneous` are the event types a service emits on its own account, with neither command nor cause.
    """

    began: datetime
    collected: datetime
    undisturbed: bool = False
    spontaneous: tuple[str, ...] = ()


_PARTS: dict[str, type[Any]] = {
    "commands": Command,
    "answers": StoredAnswer,
    "records": Record,
    "dead_letters": DeadLetter,
    "injected": Injected,
    "groups": Group,
    "offsets": CommittedOffset,
    "inbox": InboxRow,
    "outbox": OutboxRow,
    "parked": ParkedEvent,
    "effects": Effect,
    "ledger": StockRow,
    "balances": Balance,
    "lots": Lot,
    "order_lines": OrderLine,
    "journal": JournalLine,
    "processes": Process,
}
_ADAPTERS = {name: TypeAdapter(part) for name, part in _PARTS.items()}
_RUN = TypeAdapter(Run)
_ROW = TypeAdapter(tuple[str, dict[str, Any]])


@dataclass
class History:
    """Everything the checks look at. Build it whole, then check it: what is derived is computed once."""

    run: Run
    commands: list[Command] = field(default_factory=list)
    answers: list[StoredAnswer] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    offsets: list[CommittedOffset] = field(default_factory=list)
    inbox: list[InboxRow] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    parked: list[ParkedEvent] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    ledger: list[StockRow] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    order_lines: list[OrderLine] = field(default_factory=list)
    journal: list[JournalLine] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON lines."""
        with path.open("wb") as file:
            file.write(_ROW.dump_json(("run", _RUN.dump_python(self.run, mode="json"))) + b"\n")
            for name, adapter in _ADAPTERS.items():
                for part in getattr(self, name):
                    file.write(b'["' + name.encode() + b'",' + adapter.dump_json(part) + b"]\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises ValueError when it is something else."""
        with path.open("rb") as file:
            name, frame = _ROW.validate_json(file.readline())
            if name != "run":
                raise ValueError(f"{path} is not a history")
            history = cls(_RUN.validate_python(frame))
            for line in file:
                name, part = _ROW.validate_json(line)
                if name not in _ADAPTERS:
                    raise ValueError(f"{path} holds {name!r}, which no history has")
                getattr(history, name).append(_ADAPTERS[name].validate_python(part))
        return history

    @cached_property
    def latest(self) -> list[Record]:
        """The records of the last read, in the order of each partition."""
        last = max((record.read for record in self.records), default=1)
        return sorted((r for r in self.records if r.read == last), key=lambda r: r.place)

    @cached_property
    def own(self) -> list[Record]:
        """The latest records the services wrote themselves."""
        injected = {Place(i.topic, i.partition, i.offset) for i in self.injected}
        return [record for record in self.latest if record.place not in injected]

    @cached_property
    def events(self) -> dict[str, Record]:
        """By id, the first of the services' own records of each event."""
        found: dict[str, Record] = {}
        for record in self.own:
            found.setdefault(record.event_id, record)
        return found

    @cached_property
    def outbox_ids(self) -> dict[str, OutboxRow]:
        """What is left in the outboxes, by event id."""
        return {row.event_id: row for row in self.outbox}

    @cached_property
    def applied(self) -> dict[str, set[str]]:
        """Ids of applied events by group."""
        found: dict[str, set[str]] = {group.group: set() for group in self.groups}
        for row in self.inbox:
            found.setdefault(row.group, set()).add(row.event_id)
        return found

    def handled(self, group: Group) -> Iterator[Record]:
        """The latest records that concern a group: those it handles and those nobody can tell the type of."""
        topics, types = set(group.topics), set(group.types)
        return (r for r in self.latest if r.topic in topics and (not r.type or r.type in types))

    def waiting(self, group: Group) -> set[Place]:
        """Records that wait in the group's database behind a parked key."""
        return {event.place for event in self.parked if event.group == group.group}

    def given_up(self, group: Group) -> set[Place]:
        """Records the group dead-lettered."""
        return {letter.place for letter in self.dead_letters if letter.group == group.group}

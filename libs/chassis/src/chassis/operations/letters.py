"""Dead letters as an operator handles them: what became of each, publish it again, give it up."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from aiokafka import ConsumerRecord
from sqlalchemy import ARRAY, Text, Uuid, any_, literal, select

from chassis.db import Database, Reader
from chassis.messaging import inbox
from chassis.messaging.handlers import Consumer
from chassis.messaging.kafka import MESSAGE_BYTES, client_id, make_producer, stop_client
from chassis.messaging.provisioner import dead_letter_topic
from chassis.messaging.records import identity, key_text
from chassis.operations.errors import NothingSuch, OperationError
from chassis.operations.reading import Cluster, TopicReader, headers_of
from chassis.tables import inbox as inbox_table
from chassis.tables import parked_event, parked_key

_WHY = "x-"
_SEND_SECONDS = 20.0
_STOP_SECONDS = 1.0

# `waiting`: first or later in a parked key's queue. `unreadable`: without an event id, so no replay can help.
State = Literal["waiting", "applied", "skipped", "replayable", "unreadable"]


@dataclass(frozen=True)
class Letter:
    """The newest dead letter of one event in one group, how many there are of it, and what became of the event."""

    id: UUID
    group: str
    record: ConsumerRecord
    headers: dict[str, str]
    count: int
    state: State
    key_parked: bool

    @property
    def topic(self) -> str:
        """The topic the event came from."""
        return self.headers["x-source-topic"]

    @property
    def key(self) -> str | None:
        """The event's key as text."""
        return None if self.record.key is None else key_text(self.record.key)

    def document(self, full: bool = False) -> dict[str, Any]:
        """The letter as JSON; `full` with its headers and value."""
        said = self.headers
        short = {
            "id": str(self.id),
            "state": self.state,
            "group": self.group,
            "topic": self.topic,
            "partition": int(said["x-source-partition"]),
            "offset": int(said["x-source-offset"]),
            "key": self.key,
            "type": said.get("ce_type"),
            "time": said.get("ce_time"),
            "error": f"{said['x-error-class']}: {said['x-error-message']}",
            "attempts": int(said["x-attempts"]),
            "first_failure": said["x-first-failure"],
            "last_failure": said["x-last-failure"],
            "letters": self.count,
        }
        if not full:
            return short
        value = self.record.value
        return {
            **short,
            "headers": {name: text for name, text in said.items() if not name.startswith(_WHY)},
            "value": None if value is None else value.decode(errors="backslashreplace"),
        }


async def letters(cluster: Cluster, database: Database, consumers: Sequence[Consumer]) -> list[Letter]:
    """Every event these consumers dead-lettered and its state, oldest failure first."""
    topics = {dead_letter_topic(topic, c.group): c.group for c in consumers for topic in c.topics}
    found: dict[tuple[str, UUID], list[ConsumerRecord]] = {}
    async with TopicReader.open(cluster, topics) as reader:
        async for records in reader.to_end():
            for record in records:
                said = headers_of(record)
                place = (said["x-source-topic"], int(said["x-source-partition"]), int(said["x-source-offset"]))
                found.setdefault((said["x-group"], identity(said.get("ce_id", ""), *place)), []).append(record)
    async with database.read() as rows:
        states = await _States.read(rows, [c.group for c in consumers], [letter_id for _, letter_id in found])
    made = [_letter(group, letter_id, records, states) for (group, letter_id), records in found.items()]
    return sorted(made, key=lambda letter: letter.headers["x-first-failure"])


@dataclass(frozen=True)
class _States:
    """What the database knows of dead-lettered events."""

    handled: dict[tuple[str, UUID], bool]
    waiting: set[tuple[str, str, int, int] | tuple[str, str]]
    parked: set[tuple[str, str, str]]

    @classmethod
    async def read(cls, rows: Reader, groups: Sequence[str], ids: Sequence[UUID]) -> "_States":
        known = await rows.all(
            select(inbox_table).where(inbox_table.c.event_id == any_(literal(list(ids), ARRAY(Uuid))))
        )
        ours = literal(list(groups), ARRAY(Text))
        queued = await rows.all(
            select(
                parked_event.c.consumer,
                parked_event.c.topic,
                parked_event.c.partition,
                parked_event.c.offset,
                parked_event.c.event_id,
            ).where(parked_event.c.consumer == any_(ours))
        )
        keys = await rows.all(select(parked_key).where(parked_key.c.consumer == any_(ours)))
        return cls(
            {(row["consumer"], row["event_id"]): row["skipped"] for row in known},
            {(row["consumer"], row["topic"], row["partition"], row["offset"]) for row in queued}
            | {(row["consumer"], row["event_id"]) for row in queued if row["event_id"]},
            {(row["consumer"], row["topic"], row["key"]) for row in keys},
        )


def _letter(group: str, letter_id: UUID, records: list[ConsumerRecord], states: _States) -> Letter:
    record = max(records, key=lambda one: one.offset)
    said = headers_of(record)
    place = (group, said["x-source-topic"], int(said["x-source-partition"]), int(said["x-source-offset"]))
    skipped = states.handled.get((group, letter_id))
    state: State
    if place in states.waiting or (group, str(letter_id)) in states.waiting:
        state = "waiting"
    elif skipped is not None:
        state = "skipped" if skipped else "applied"
    else:
        state = "replayable" if said.get("ce_id") == str(letter_id) else "unreadable"
    key = "" if record.key is None else key_text(record.key)
    parked = record.key is not None and (group, said["x-source-topic"], key) in states.parked
    return Letter(letter_id, group, record, said, len(records), state, parked)


async def named(cluster: Cluster, database: Database, consumers: Sequence[Consumer], letter_id: UUID) -> list[Letter]:
    """The letters of one event, one per group that gave it up; raises NothingSuch."""
    found = [one for one in await letters(cluster, database, consumers) if one.id == letter_id]
    if not found:
        raise NothingSuch(f"no dead letter of event {letter_id}")
    return found


async def replay(
    cluster: Cluster, database: Database, consumers: Sequence[Consumer], letter_id: UUID, apply: bool
) -> list[dict[str, Any]]:
    """Publish an event again as it was, with its key, headers and id: who has applied it passes it over.

    Raises NothingSuch, OperationError when it waits in a parked key, was dealt with, or has no id.
    """
    found = [_actionable(one) for one in await named(cluster, database, consumers, letter_id)]
    for one in found:
        if one.state == "unreadable":
            raise OperationError(f"{one.group}: {letter_id} has no event id, so nobody can ever apply it: skip it")
    if apply:
        # One record serves every group.
        await _publish(cluster, found[0])
    return [one.document() for one in found]


async def skip(
    cluster: Cluster, database: Database, consumers: Sequence[Consumer], letter_id: UUID, apply: bool
) -> list[dict[str, Any]]:
    """Give an event up: it is never applied, also when it is published again. Raises as `replay` does."""
    found = [_actionable(one) for one in await named(cluster, database, consumers, letter_id)]
    if apply:
        async with database.transaction() as tx:
            for one in found:
                await inbox.remember(tx, one.group, [one.id], skipped=True)
    return [one.document() for one in found]


def _actionable(letter: Letter) -> Letter:
    if letter.state == "waiting" or letter.key_parked:
        raise OperationError(
            f"{letter.group}: key {letter.key} of {letter.topic} is parked and its events wait in order: "
            f"use `parked release {letter.key}` or `parked skip {letter.key}`"
        )
    if letter.state in ("applied", "skipped"):
        raise OperationError(f"{letter.group}: event {letter.id} was {letter.state} since: nothing is left to do")
    return letter


async def _publish(cluster: Cluster, letter: Letter) -> None:
    headers = [(name, value) for name, value in letter.record.headers if not name.startswith(_WHY)]
    producer = make_producer(
        cluster.bootstrap, client_id("operations", "replay"), message_bytes=MESSAGE_BYTES, security=cluster.security
    )
    try:
        await producer.start()
        sending = producer.send_and_wait(letter.topic, letter.record.value, letter.record.key, headers=headers)
        await asyncio.wait_for(sending, _SEND_SECONDS)
    finally:
        await stop_client(producer, _STOP_SECONDS)

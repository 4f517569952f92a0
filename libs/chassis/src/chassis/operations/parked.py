"""Parked keys as an operator handles them: see them, try and do a release, give up the event that fails."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from chassis.db import Database
from chassis.messaging import parking
from chassis.messaging.handlers import Consumer
from chassis.messaging.parking import ParkedKey
from chassis.operations.errors import NothingSuch, OperationError


async def parked_keys(database: Database, consumers: Sequence[Consumer], key: str | None = None) -> list[ParkedKey]:
    """The parked keys of these consumers, longest parked first; of one key when it is given."""
    found = [one for consumer in consumers for one in await parking.parked(database, consumer.group)]
    return sorted((one for one in found if key in (None, one.key)), key=lambda one: one.since)


async def release(database: Database, consumers: Sequence[Consumer], key: str, apply: bool) -> list[dict[str, Any]]:
    """Release a key wherever these consumers parked it, or only try (all of it is rolled back).

    Raises NothingSuch when none parked it, OperationError when an event still fails.
    """
    declared = {consumer.group: consumer for consumer in consumers}
    done = []
    for one in await _parked(database, consumers, key):
        work = parking.release if apply else parking.rehearse
        try:
            applied = await work(database, declared[one.group], one.topic, one.key)
        except parking.StillFails as error:
            hint = "the ones before it are applied, it and the later ones stay parked" if apply else "nothing changed"
            raise OperationError(f"{one.group}: {error} ({hint})") from error
        done.append({**document(one), "applied": applied})
    return done


async def skip(database: Database, consumers: Sequence[Consumer], key: str, apply: bool) -> list[dict[str, Any]]:
    """Give up a parked key's first event wherever these consumers parked it, or only name it.

    Raises NothingSuch when none parked the key or nothing waits.
    """
    found = [one for one in await _parked(database, consumers, key) if one.waiting]
    if not found:
        raise NothingSuch(f"no event of {key} waits: release the key")
    done = []
    for one in found:
        skipped = await parking.skip(database, one.group, one.topic, one.key) if apply else one.first_event
        done.append({**document(one), "skipped": skipped, "waiting": one.waiting - 1})
    return done


async def _parked(database: Database, consumers: Sequence[Consumer], key: str) -> list[ParkedKey]:
    found = await parked_keys(database, consumers, key)
    if not found:
        raise NothingSuch(f"key {key} is not parked")
    return found


def document(one: ParkedKey) -> Mapping[str, Any]:
    """A parked key as JSON."""
    return {**asdict(one), "since": one.since.isoformat().replace("+00:00", "Z")}

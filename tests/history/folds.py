"""Folds: what a consumer's state must say after the events it applied, each exactly once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from history.model import Group, History, Record

# Amount by key.
State = dict[str, Decimal]


@dataclass(frozen=True)
class Fold:
    """How events of some types become state.

    `group` applies them; None when the service that writes the events keeps the state itself.
    """

    name: str
    group: str | None
    types: frozenset[str]
    state: Callable[[Sequence[Record]], State]


def bounds(history: History, fold: Fold) -> tuple[State, State]:
    """The least and the most the state may say: a record the group gave up may have been released or skipped."""
    events = [record for record in history.events.values() if record.type in fold.types]
    group = next((g for g in history.groups if g.group == fold.group), None)
    if group is None:
        state = fold.state(events)
        return state, state
    waiting, given_up = history.waiting(group), history.given_up(group)
    applied = history.applied[group.group]
    most = [r for r in events if r.place not in waiting and (r.place not in given_up or r.event_id in applied)]
    least = [r for r in most if r.place not in given_up]
    return fold.state(least), fold.state(most)


def stepped_over(history: History, group: Group) -> list[tuple[Record, Record]]:
    """Events given up without parking their key, each with a later event of the key that was applied all the same."""
    given_up, waiting = history.given_up(group), history.waiting(group)
    applied = history.applied[group.group]
    missing: dict[tuple[str, str | None], Record] = {}
    found = []
    for record in history.handled(group):
        stream = record.topic, record.key
        if record.event_id in applied:
            if stream in missing:
                found.append((missing.pop(stream), record))
        elif record.place in given_up - waiting and record.key is not None and is_uuid(record.event_id):
            missing.setdefault(stream, record)
    return found


def is_uuid(text: str) -> bool:
    """Whether it can be an event's id."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True

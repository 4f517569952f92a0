"""How a capability says what it consumes: a group and an event → handler table."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chassis.db import Tx
from chassis.events import DomainEvent, EventMeta

Handler = Callable[[Tx, Any, EventMeta], Awaitable[None]]


class PermanentError(Exception):
    """Raise from a handler when no retry can help: the event is dead-lettered and its key parked."""


@dataclass(frozen=True)
class Consumer:
    """One consumer group of a service: ``<service>.<purpose>``.

    Handlers run in the transaction that records the event in the inbox; events they append are caused by it. Event
    types without a handler are skipped. A `serial` consumer applies one partition's chunk at a time: right when its
    handlers would wait for one another's locks anyway.
    """

    group: str
    handlers: Mapping[type[DomainEvent], Handler]
    serial: bool = False

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of the handled events."""
        return tuple(sorted({event.TOPIC for event in self.handlers}))


def merge(group: str, *tables: Mapping[type[DomainEvent], Handler], serial: bool = False) -> Consumer:
    """One consumer of several capabilities' handler tables; two handlers of one event run in the order given."""
    chains: dict[type[DomainEvent], list[Handler]] = {}
    for table in tables:
        for event, handler in table.items():
            chains.setdefault(event, []).append(handler)
    return Consumer(group, {event: _chain(handlers) for event, handlers in chains.items()}, serial)


def _chain(handlers: list[Handler]) -> Handler:
    async def run(tx: Tx, event: Any, meta: EventMeta) -> None:
        for handler in handlers:
            await handler(tx, event, meta)

    return run if len(handlers) > 1 else handlers[0]

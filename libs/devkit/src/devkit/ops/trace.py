"""`orderloop events trace`: the causal tree of one order across the services."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.markup import escape
from rich.tree import Tree

from chassis.operations.reading import Cluster, TopicReader
from devkit.ops.events import describe

# Clocks of producers and broker may differ this much.
_MARGIN = timedelta(minutes=5)
Event = dict[str, Any]


@dataclass
class Trace:
    """An order's events, oldest first, and the events of others that caused some of them."""

    order_id: str
    events: list[Event] = field(default_factory=list)
    causes: list[Event] = field(default_factory=list)

    def document(self) -> list[Event]:
        """Events as JSON: each with the parent it hangs under, its depth, and the seconds since the first."""
        children, rows = self._children(), []
        began = min((_time(event) for event in self.events), default=None)

        def add(event: Event, parent: str | None, depth: int) -> None:
            seconds = round((_time(event) - began).total_seconds(), 3) if began else 0.0
            own = event not in self.causes
            rows.append({**event, "parent": parent, "depth": depth, "seconds": seconds, "of_order": own})
            for child in children[event["id"]]:
                add(child, event["id"], depth + 1)

        for root in children[None]:
            add(root, None, 0)
        return rows

    def tree(self) -> Tree:
        """The same for people."""
        tree = Tree(f"order {self.order_id}")
        branches: dict[str | None, Tree] = {None: tree}
        for row in self.document():
            style = "bold cyan" if row["of_order"] else "dim"
            letters = "".join(f" [red]dead-lettered by {escape(group)}[/red]" for group in row["dead_letters"])
            line = (
                f"[dim]{row['seconds']:+9.3f} s[/dim] [{style}]{escape(str(row['type']))}[/{style}] "
                f"{escape(row['topic'])} [dim]{escape(str(row['key']))} {row['id']}[/dim]{letters}"
            )
            branches[row["id"]] = branches[row["parent"]].add(line)
        return tree

    def _children(self) -> defaultdict[str | None, list[Event]]:
        known = {event["id"]: event for event in (*self.causes, *self.events)}
        children: defaultdict[str | None, list[Event]] = defaultdict(list)
        # Ids sort like the moments they were made, also within one transaction.
        for event in sorted(known.values(), key=lambda event: (_time(event), event["id"])):
            cause = event["causationid"]
            children[cause if cause in known and cause != event["id"] else None].append(event)
        return children


async def trace(cluster: Cluster, topics: Sequence[str], letters: Mapping[str, str], order_id: str) -> Trace:
    """Read the order's story from the topics, since the order's id was made.

    An event is of the order when it is correlated with it or names it, by id or number, in its payload.
    `letters` gives the group of each dead-letter topic.
    """
    known: dict[str, Event] = {}
    failed: defaultdict[str, list[str]] = defaultdict(list)
    async with TopicReader.open(cluster, [*topics, *letters]) as reader:
        await reader.start_at(made_at(order_id))
        async for records in reader.to_end():
            for record in records:
                event = describe(record)
                if record.topic in letters:
                    failed[event["id"]].append(letters[record.topic])
                elif event["id"] and event["time"]:
                    # An event published twice is one event.
                    known.setdefault(event["id"], event)
    for event in known.values():
        event["dead_letters"] = sorted(set(failed[event["id"]]))
    placed = next((event for event in known.values() if event["key"] == order_id and "number" in event["data"]), None)
    names = {order_id, *([placed["data"]["number"]] if placed else [])}
    own = [event for event in known.values() if order_id == event["correlationid"] or _names(event["data"], names)]
    return Trace(order_id, sorted(own, key=_time), _causes(own, known))


def _names(data: Any, wanted: set[str]) -> bool:
    if isinstance(data, str):
        return data in wanted
    parts: Iterable[Any] = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return any(_names(part, wanted) for part in parts)


def _causes(own: Iterable[Event], known: Mapping[str, Event]) -> list[Event]:
    """Events of others from which the order's own follow, also through one another."""
    found: dict[str, Event] = {}
    mine = {event["id"] for event in own}
    for event in own:
        cause = known.get(event["causationid"] or "")
        while cause is not None and cause["id"] not in mine and cause["id"] not in found:
            found[cause["id"]] = cause
            cause = known.get(cause["causationid"] or "")
    return list(found.values())


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"])


def made_at(some_id: str) -> datetime:
    """A moment shortly before a UUIDv7 was made (RFC 9562: it begins with Unix milliseconds); 1970 for other ids."""
    made = UUID(some_id)
    if made.version != 7:
        return datetime.fromtimestamp(0, UTC)
    return datetime.fromtimestamp((made.int >> 80) / 1000, UTC) - _MARGIN

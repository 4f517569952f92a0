"""Machine states and overall equipment effectiveness (ISO 22400-2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

# States in which no work can be planned or run.
STOPPED = frozenset({"down", "maintenance", "off"})
_NOT_BUSY_TIME = frozenset({"off", "maintenance"})


@dataclass(frozen=True)
class Interval:
    """A machine was in a state from `start` to `end`."""

    state: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Output:
    """Pieces reported at a machine, and their planned run time per item (PRI) in minutes."""

    minutes_per_unit: Decimal
    good: Decimal
    scrap: Decimal
    rework: Decimal

    @property
    def produced(self) -> Decimal:
        """All pieces processed, whatever became of them."""
        return self.good + self.scrap + self.rework


@dataclass(frozen=True)
class Effectiveness:
    """OEE and what it is made of; times in minutes, ratios None where nothing was planned or made."""

    pbt_minutes: Decimal
    apt_minutes: Decimal
    planned_minutes: Decimal
    produced: Decimal
    good: Decimal
    availability: Decimal | None
    effectiveness: Decimal | None
    quality: Decimal | None
    oee: Decimal | None


def effectiveness(intervals: Iterable[Interval], outputs: Iterable[Output]) -> Effectiveness:
    """OEE = availability (APT/PBT) × effectiveness (PRI·PQ/APT) × quality ratio (GQ/PQ), ISO 22400-2.

    Actual production time (APT) is the time running; planned busy time (PBT) all but off and maintenance.
    """
    known, made = list(intervals), list(outputs)
    pbt = sum((_minutes(i) for i in known if i.state not in _NOT_BUSY_TIME), Decimal(0))
    apt = sum((_minutes(i) for i in known if i.state == "running"), Decimal(0))
    planned = sum((o.minutes_per_unit * o.produced for o in made), Decimal(0))
    produced = sum((o.produced for o in made), Decimal(0))
    good = sum((o.good for o in made), Decimal(0))
    availability, speed, quality = _ratio(apt, pbt), _ratio(planned, apt), _ratio(good, produced)
    oee = availability * speed * quality if None not in (availability, speed, quality) else None  # type: ignore[operator]
    return Effectiveness(pbt, apt, planned, produced, good, availability, speed, quality, oee)


def clip(intervals: Iterable[Interval], start: datetime, end: datetime) -> list[Interval]:
    """The parts of the intervals that lie between two times."""
    cut = (Interval(i.state, max(i.start, start), min(i.end, end)) for i in intervals)
    return [i for i in cut if i.start < i.end]


def _minutes(interval: Interval) -> Decimal:
    span = interval.end - interval.start
    return Decimal(span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds) / 60_000_000


def _ratio(part: Decimal, whole: Decimal) -> Decimal | None:
    return part / whole if whole else None

"""What goes wrong when: made from a seed, the same for the same seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from devkit.platform.layout import Layout
from devkit.platform.state import SERVICES

Kind = Literal[
    "kill",
    "kill leader",
    "freeze",
    "latency",
    "cut",
    "half-open",
    "reset",
    "rebalance",
    "clock skew",
    "full disk",
    "duplicates",
    "out of order",
    "poison",
]
Profile = Literal["short", "long"]
SERVERS = ("kafka", "postgres")
LINKS = tuple(f"{service}/{server}" for service in SERVICES for server in SERVERS)
# What no consumer can apply, or no relay can send.
POISONS = (
    "not JSON",
    "unknown type",
    "missing headers",
    "invalid schema",
    "unknown major",
    "refused by its handler",
    "null key",
    "oversize",
)
# A group gives a silent member up after ten seconds.
_ZOMBIE_SECONDS = 12.0
_SHORT_GAP, _LONG_GAP = (2.2, 3.2), (5.0, 10.0)
_FIRST_AFTER = 3.0


@dataclass(frozen=True)
class Fault:
    """One fault: it begins `at` seconds after the load and is healed `seconds` later."""

    number: int
    at: float
    kind: Kind
    # A process, a server, a link ``<service>/<server>``, or a kind of poison.
    target: str
    seconds: float = 0.0
    # Seconds of delay or of skew.
    amount: float = 0.0

    def __str__(self) -> str:
        span = f" for {self.seconds:.1f} s" if self.seconds else ""
        amount = f" by {self.amount:+.2f} s" if self.amount else ""
        return f"#{self.number} at {self.at:.1f} s: {self.kind} {self.target}{amount}{span}"


def schedule(seed: int, seconds: float, layout: Layout, profile: Profile, disks: Sequence[str] = ()) -> list[Fault]:
    """The faults of a run; the short profile has most kinds once, the long one everything again and again."""
    chance = random.Random(seed)
    at = _FIRST_AFTER
    faults: list[Fault] = []
    for kind, target in _wanted(chance, layout, profile, disks):
        if profile == "long" and at > seconds:
            break
        duration, amount = _extent(chance, kind, target, profile)
        faults.append(Fault(len(faults) + 1, round(at, 2), kind, target, duration, amount))
        at += chance.uniform(*(_SHORT_GAP if profile == "short" else _LONG_GAP))
    return faults


def _wanted(
    chance: random.Random, layout: Layout, profile: Profile, disks: Sequence[str]
) -> Iterator[tuple[Kind, str]]:
    if profile == "short":
        once = _once(chance, layout)
        chance.shuffle(once)
        yield from once
        return
    while True:
        everything = _everything(layout, disks)
        chance.shuffle(everything)
        yield from everything


def _once(chance: random.Random, layout: Layout) -> list[tuple[Kind, str]]:
    workers = [chance.choice(layout.workers(service)) for service in SERVICES]
    apis = [layout.serving(service) for service in SERVICES]
    leading, frozen, skewed, rebalanced = (chance.choice(SERVICES) for _ in range(4))
    links = chance.sample(LINKS, 4)
    return [
        *[("kill", part) for part in (*apis, *workers, *SERVERS)],
        ("kill leader", leading),
        ("freeze", chance.choice(layout.workers(frozen))),
        ("freeze", chance.choice(apis)),
        ("freeze", chance.choice(SERVERS)),
        ("latency", links[0]),
        ("cut", links[1]),
        ("half-open", links[2]),
        ("reset", links[3]),
        ("rebalance", chance.choice(layout.workers(rebalanced))),
        ("clock skew", chance.choice(layout.workers(skewed))),
        ("duplicates", "every topic"),
        ("out of order", "every topic"),
        *[("poison", poison) for poison in POISONS],
    ]


def _everything(layout: Layout, disks: Sequence[str]) -> list[tuple[Kind, str]]:
    parts = list(layout.parts)
    workers = [worker for service in SERVICES for worker in layout.workers(service)]
    return [
        *[("kill", part) for part in (*parts, *SERVERS)],
        *[("kill leader", service) for service in SERVICES],
        *[("freeze", part) for part in (*parts, *SERVERS)],
        *[(kind, link) for kind in ("latency", "cut", "half-open", "reset") for link in LINKS],
        *[("rebalance", worker) for worker in workers],
        *[("clock skew", part) for part in parts],
        *[("full disk", disk) for disk in disks],
        *[(kind, "every topic") for kind in ("duplicates", "out of order") for _ in range(4)],
        *[("poison", poison) for poison in POISONS],
    ]


def _extent(chance: random.Random, kind: Kind, target: str, profile: Profile) -> tuple[float, float]:
    """How long it lasts, and how much it is."""
    duration = round(chance.uniform(1.0, 3.0 if profile == "short" else 8.0), 1)
    sign = chance.choice((-1, 1))
    match kind:
        case "freeze" if "worker" in target and (profile == "short" or chance.random() < 0.5):
            return _ZOMBIE_SECONDS, 0.0
        case "full disk":
            # Room set aside before lasts a while.
            return duration + _ZOMBIE_SECONDS, 0.0
        case "latency":
            return duration + 3.0, round(chance.uniform(0.05, 0.3), 2)
        case "clock skew":
            # Who serves requests may be as far off as tokens allow.
            return duration + 4.0, sign * (20.0 if target.endswith("-api") else round(chance.uniform(60, 600)))
        case "duplicates" | "out of order" | "poison" | "reset":
            return 0.0, 0.0
        case _:
            return duration, 0.0

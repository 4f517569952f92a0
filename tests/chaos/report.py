"""What a run showed, for people and as JSON."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from history.checks import NAMES, Violation
from rich.console import Console
from rich.table import Table

_SHOWN = 20
# A violation of what the run itself must keep.
FAULT = "the run"


@dataclass(frozen=True)
class Recovery:
    """One fault and how long it was felt after it was healed."""

    kind: str
    target: str
    healed_after: float
    # Seconds until every process concerned was ready, and until an order placed after it was promised.
    ready: float | None
    promised: float | None


@dataclass
class Report:
    """The outcome of one run."""

    seed: int
    seconds: float
    settled_seconds: float
    orders: dict[str, int]
    commands: dict[str, dict[str, int]]
    events: int
    records: int
    longest_stall: float
    recoveries: list[Recovery]
    ended_alone: dict[str, int]
    floor_gave_up: int = 0
    skipped: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Orders that were taken."""
        return sum(self.orders.values())

    def as_json(self) -> dict[str, Any]:
        """One JSON-ready document."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "settled_seconds": round(self.settled_seconds, 1),
            "orders_accepted": self.accepted,
            "orders": self.orders,
            "commands": self.commands,
            "events": self.events,
            "records": self.records,
            "longest_stall_seconds": round(self.longest_stall, 1),
            "faults": {kind: len(found) for kind, found in self._by_kind().items()},
            "recoveries": [vars(recovery) for recovery in self.recoveries],
            "ended_alone": self.ended_alone,
            "floor_gave_up": self.floor_gave_up,
            "skipped": self.skipped,
            "violations": [vars(violation) for violation in self.violations],
        }

    def show(self, console: Console) -> None:
        """Print it as tables."""
        table = Table(title="Under fire", title_justify="left", show_header=False)
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.orders.items()))
        table.add_row("orders accepted", f"{self.accepted} ({states})")
        for kind, outcomes in self.commands.items():
            table.add_row(f"  {kind}", ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())))
        table.add_row("events", f"{self.events} in {self.records} records")
        table.add_row("faults", f"{len(self.recoveries)} in {self.seconds:.0f} s")
        table.add_row("longest stall", f"{self.longest_stall:.1f} s without any order moving")
        table.add_row("quiet after", f"{self.settled_seconds:.1f} s from the last fault")
        if self.ended_alone:
            table.add_row("ended by themselves", ", ".join(f"{name} {n}×" for name, n in self.ended_alone.items()))
        if self.floor_gave_up:
            table.add_row("floor gave up", f"{self.floor_gave_up}×, after minutes without an answer")
        for line in self.skipped:
            table.add_row("left out", line)
        console.print(table)
        faults = Table(title="Faults", title_justify="left")
        for name in ("kind", "times", "ready again: median, longest", "next order promised: median, longest"):
            faults.add_column(name, justify="left" if name == "kind" else "right")
        for kind, found in sorted(self._by_kind().items()):
            ready, promised = [r.ready for r in found], [r.promised for r in found]
            faults.add_row(kind, str(len(found)), _spread(ready), _spread(promised))
        console.print(faults)
        self._show_violations(console)

    def _show_violations(self, console: Console) -> None:
        counts = Counter(violation.check for violation in self.violations)
        table = Table(title="Violations", title_justify="left")
        table.add_column("check")
        table.add_column("found", justify="right")
        for name in (*NAMES, FAULT):
            table.add_row(name, str(counts[name]), style="bold red" if counts[name] else "green")
        console.print(table)
        for name in (*NAMES, FAULT):
            for violation in [v for v in self.violations if v.check == name][:_SHOWN]:
                console.print(f"{name}: {violation.sentence}", markup=False, soft_wrap=True)

    def _by_kind(self) -> dict[str, list[Recovery]]:
        found: dict[str, list[Recovery]] = defaultdict(list)
        for recovery in self.recoveries:
            found[recovery.kind].append(recovery)
        return found


def _spread(seconds: Iterable[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    return f"{statistics.median(known):.1f} s, {max(known):.1f} s" if known else "-"

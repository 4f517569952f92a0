"""`python -m history FILE`: check a saved history of the platform."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from history.checks import NAMES, Violation, check_all
from history.model import History
from history.platform import FOLDS

_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every check holds, 1 when one does not, 2 when the file is no history."""
    parser = argparse.ArgumentParser(prog="python -m history", description="Check the history of a run.")
    parser.add_argument("file", type=Path, help="what History.save wrote")
    parser.add_argument("--json", action="store_true", help="print the violations as JSON")
    given = parser.parse_args(arguments)
    try:
        history = History.load(given.file)
    except (OSError, ValueError) as error:
        parser.error(f"{given.file}: {error}")
    violations = check_all(history, FOLDS)
    if given.json:
        sys.stdout.write(json.dumps([asdict(violation) for violation in violations], indent=2) + "\n")
    else:
        report(history, violations, Console())
    return 1 if violations else 0


def report(history: History, violations: list[Violation], console: Console) -> None:
    """Print one line per check, and the first violations of each."""
    counts = Counter(violation.check for violation in violations)
    console.print(
        f"{len(history.commands)} commands, {len(history.latest)} records of {len(history.events)} events, "
        f"{len(history.inbox)} applied, {len(history.dead_letters)} dead letters, {len(history.parked)} parked"
    )
    table = Table("check", "violations")
    for name in NAMES:
        table.add_row(name, str(counts[name]), style="bold red" if counts[name] else "green")
    console.print(table)
    for name in NAMES:
        for violation in [v for v in violations if v.check == name][:_SHOWN]:
            console.print(f"{name}: {violation.sentence}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

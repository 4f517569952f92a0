"""`python -m chaos`: a seeded schedule of faults under continuous load, then the history checker."""

import argparse
import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from chaos import disk
from chaos.run import Plan, run

_WIDTH = 140


def main() -> int:
    """Exit code 0 when nothing was violated, 1 when something was."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order, at what time")
    parser.add_argument("--short", action="store_true", help="most kinds of faults once")
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    given = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    # Its client tells in full that Kafka is away; here that is meant.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # Ended from outside, the run still stops what it started and unmounts its disks.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()

    def say(line: str) -> None:
        if not given.json:
            console.print(f"{time.monotonic() - started:6.1f}  {line}", markup=False, soft_wrap=True)

    why_not = None if given.short else disk.why_not()
    skipped = [f"full disks: {why_not}"] if why_not else []
    disks = () if given.short or why_not else ("kafka", "postgres")
    plan = Plan(given.seed, given.minutes * 60, "short" if given.short else "long", disks=disks, skipped=skipped)
    state = Path(tempfile.mkdtemp(prefix="orderloop-chaos-"))
    try:
        report = asyncio.run(run(plan, state, say))
    except BaseException:
        sys.stderr.write(f"the run broke; its logs and data are in {state}\n")
        raise
    if given.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=1) + "\n")
    else:
        report.show(console)
    if report.violations:
        sys.stderr.write(f"logs, data and history.jsonl of the run are in {state}\n")
        return 1
    shutil.rmtree(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())

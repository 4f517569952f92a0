"""``make bench``: figures of one run; ``python -m load --json`` for machines, ``--events`` for a shorter backlog."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from load import backlog, messaging
from load.bench import Bench
from load.figures import Figure

_COPIES_PER_ORDER = 10


async def measure(events: int) -> AsyncIterator[Figure]:
    """All figures, as they become known."""
    for figure in await messaging.figures(events // 5):
        yield figure
    with tempfile.TemporaryDirectory() as folder:
        async with Bench.running(Path(folder) / "state") as bench:
            for measuring in (bench.proxied_calls(500), bench.latency(40), bench.placing(200)):
                for figure in await measuring:
                    yield figure
            plans = await bench.plans()
            placing, orders = await bench.batch(events // _COPIES_PER_ORDER)
            for figure in placing:
                yield figure
            await bench.caught_up("erp")
            for service, made in (
                ("gateway", backlog.for_gateway()),
                ("crm", backlog.for_crm(orders)),
                ("mes", backlog.for_mes()),
                ("erp", backlog.for_erp(plans[: backlog.PLANS], "BOLT")),
            ):
                for figure in await bench.catch_up(service, made, events):
                    yield figure


async def _run(events: int, as_json: bool) -> None:
    console = Console(stderr=as_json)
    table = Table("what", "figure", "unit", title="Orderloop, one run on this machine")
    figures = []
    async for figure in measure(events):
        console.print(f"{figure.what}: {figure.value:,.1f} {figure.unit}")
        table.add_row(figure.what, f"{figure.value:,.1f}", figure.unit)
        figures.append(figure.row())
    if as_json:
        print(json.dumps(figures))
    else:
        console.print(table)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m load", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="how many a consumer is left behind by")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    asyncio.run(_run(given.events, given.json))


if __name__ == "__main__":
    sys.exit(main())

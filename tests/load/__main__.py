"""``make bench``: figures of one run; ``python -m load --json`` for machines, ``--events`` for a shorter backlog."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from contracts.envelope import Event
from devkit.platform.state import SERVICES
from load import backlog, messaging
from load.bench import Bench
from load.figures import Figure

_PLANS = 50
_ORDERS = 200
_EVENTS_PER_ORDER = 10


async def measure(events: int) -> AsyncIterator[Figure]:
    """All figures, as they become known."""
    for figure in await messaging.figures(events // 5):
        yield figure
    async with _bench() as bench:
        for measuring in (bench.proxied_calls(500), bench.latency(40), bench.placing(_ORDERS), bench.batches(4000)):
            for figure in await measuring:
                yield figure
    # The topics of one backlog are heard by other services too, so each has a platform to itself.
    for service in SERVICES:
        async with _bench() as bench:
            for figure in await bench.catch_up(service, await _backlog_for(service, bench, events), events):
                yield figure


@asynccontextmanager
async def _bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        async with Bench.running(Path(folder) / "state") as bench:
            yield bench


async def _backlog_for(service: str, bench: Bench, events: int) -> Iterator[Event]:
    """A service's backlog, after what it is about was made."""
    match service:
        case "crm":
            orders = await bench.place_batches(events // _EVENTS_PER_ORDER)
            await bench.caught_up("erp")
            return backlog.for_crm(orders)
        case "erp":
            await bench.placing(_PLANS)
            return backlog.for_erp(await bench.plans(), "BOLT")
        case "mes":
            return backlog.for_mes()
    return backlog.for_gateway()


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

"""Takes Kafka or one database away for a while, and notes what every class of API call answers meanwhile.

``python -m load.outages --seconds 120 --write docs/outages.md`` makes the table of the documentation.
"""

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from chaos.proxy import Link, listening
from rich.console import Console
from rich.table import Table

from chassis.clock import now
from devkit.platform import Platform
from devkit.platform.layout import WHOLE, Doors, Layout
from devkit.platform.ports import free_port
from devkit.platform.state import SERVICES
from devkit.testing import wait_until

OUTAGES = ("kafka", *SERVICES)
_CALL_SECONDS = 40
_DRAIN_SECONDS = 120
_INTRODUCTION = """# What still works while something is away

Each part was taken away for {seconds:g} seconds by cutting the network between the services and it, while every
class of API call was made again and again. The table says what was answered, the most frequent first, and how long
it took (median, longest). It was written by `make outages` from a real run; `tests/load/test_outages.py` asserts its
main cells.

- **Kafka away**: every call works. What is written waits in the outboxes and is published when Kafka is back;
  meanwhile orders are accepted and not yet promised, and views stand still. A write that usually waits until another
  service has heard of it is answered after five seconds.
- **A database away**: its service answers `503` with `Retry-After` at once, and nothing was done; the other services
  go on. Without CRM's no order can be placed or read; without the gateway's no new token is given and no status
  shown, and tokens given before stay good.
- **Afterwards** nothing has to be done by hand: consumers go on where they were, outboxes drain.
"""


@dataclass(frozen=True)
class Probe:
    """A class of API calls and one request of it; `body` is made anew for each call of a write."""

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass
class Seen:
    """What the calls of one class answered, and how long they took."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def said(self) -> str:
        """The answers in a few words: ``200``, or ``503 upstream_away (200 ×2 first)``."""
        return ", ".join(status for status, _ in self.statuses.most_common())


Result = dict[str, Seen]


@dataclass
class Plant:
    """A platform each of whose services reaches its database and Kafka through a link of its own."""

    platform: Platform
    links: dict[str, Link]
    http: httpx.AsyncClient
    probes: Sequence[Probe]

    async def away(self, part: str) -> None:
        """Take Kafka from everybody, or one service's database from it."""
        for link in self._links(part):
            await link.cut()

    async def back(self, part: str) -> None:
        """Give it back."""
        for link in self._links(part):
            await link.heal()

    def _links(self, part: str) -> list[Link]:
        if part == "kafka":
            return [link for name, link in self.links.items() if name.endswith("/kafka")]
        return [self.links[f"{part}/postgres"]]

    async def call(self, probe: Probe, seen: Seen) -> None:
        """One call of a class, noted."""
        headers = {} if probe.method == "GET" else {"Idempotency-Key": secrets.token_hex(8)}
        began = time.monotonic()
        if probe.path == "/oauth/token":
            client = self.platform.client("sales")
            form = {"grant_type": "client_credentials", **client.model_dump()}
            answer = await self.http.post(probe.path, data=form, headers={"Authorization": ""})
        else:
            answer = await self.http.request(probe.method, probe.path, json=probe.body, headers=headers)
        seen.seconds.append(time.monotonic() - began)
        code = "" if answer.is_success else f" {answer.json().get('code', '')}"
        later = "" if answer.is_success or "retry-after" in answer.headers else " (no Retry-After)"
        seen.statuses[f"{answer.status_code}{code}{later}"] += 1

    async def probe(self, seconds: float, pause: float) -> Result:
        """Call every class again and again, each by itself, for so long."""
        result: Result = {probe.name: Seen() for probe in self.probes}
        end = time.monotonic() + seconds

        async def repeat(probe: Probe) -> None:
            while time.monotonic() < end:
                await self.call(probe, result[probe.name])
                await asyncio.sleep(pause)

        await asyncio.gather(*map(repeat, self.probes))
        return result

    async def healthy(self) -> bool:
        """Whether every class of calls succeeds and every consumer has heard of everything."""
        result: Result = {probe.name: Seen() for probe in self.probes}
        await asyncio.gather(*(self.call(probe, result[probe.name]) for probe in self.probes))
        return all(status[0] == "2" for seen in result.values() for status in seen.statuses)

    async def drained(self) -> bool:
        """Whether an order placed now is promised: it went through CRM, Kafka, ERP and the gateway's view."""
        placed = next(probe for probe in self.probes if probe.name == "place an order")
        made = await self.http.post(placed.path, json=placed.body, headers={"Idempotency-Key": secrets.token_hex(8)})
        if not made.is_success:
            return False
        number = made.json()["number"]

        async def promised() -> bool:
            answer = await self.http.get(f"/v1/orders/{number}/status")
            return answer.is_success and answer.json()["stage"] != "placed"

        await wait_until(promised, _DRAIN_SECONDS, f"{number} to be promised")
        return True


def doors() -> Layout:
    """The services as they are, behind ports a link can hold."""
    taken: set[int] = set()
    while len(taken) < 2 * len(SERVICES):
        taken.add(free_port())
    ports = iter(taken)
    return Layout(WHOLE.parts, {service: Doors(next(ports), next(ports)) for service in SERVICES})


@asynccontextmanager
async def running(state: Path) -> AsyncIterator[Plant]:
    """A throwaway plant with an order, an item and a machine."""
    platform = Platform(state, throwaway=True, layout=doors())
    links = {}
    for service, door in platform.layout.doors.items():
        links[f"{service}/postgres"] = Link(f"{service}/postgres", door.postgres, partial(platform.port, "postgres"))
        links[f"{service}/kafka"] = Link(f"{service}/kafka", door.kafka, partial(platform.port, f"kafka_{service}"))
    async with listening(*links.values()):
        try:
            await asyncio.to_thread(platform.start)
            async with httpx.AsyncClient(base_url=platform.gateway_url, timeout=_CALL_SECONDS) as http:
                plant = Plant(platform, links, http, await _prepare(platform, http))
                await plant.drained()
                yield plant
        finally:
            await asyncio.to_thread(platform.stop)


async def _prepare(platform: Platform, http: httpx.AsyncClient) -> list[Probe]:
    form = {"grant_type": "client_credentials", **platform.client("admin").model_dump()}
    token = (await http.post("/oauth/token", data=form)).json()["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"
    order = {
        "customer": "C-1",
        "requested_date": str(now().date() + timedelta(days=5)),
        "lines": [{"item": "BOLT", "quantity": 1}],
    }
    receipt = {"item": "BOLT", "quantity": 1, "reason": "probe"}
    for path, body in (
        ("items", {"item": "BOLT", "source": "buy", "standard_cost": 1, "lead_time_days": 1}),
        ("stock/receipts", {**receipt, "quantity": 100_000}),
        ("work-centers", {"work_center": "WC"}),
        ("machines", {"machine": "M-1", "work_center": "WC"}),
        ("customers", {"number": "C-1", "name": "A customer"}),
    ):
        made = await http.post(f"/v1/{path}", json=body)
        made.raise_for_status()
    placed = await http.post("/v1/orders", json=order)
    number = placed.raise_for_status().json()["number"]
    return [
        Probe("get a token", "POST", "/oauth/token"),
        Probe("who am I, key set", "GET", "/v1/me"),
        Probe("order status", "GET", f"/v1/orders/{number}/status"),
        Probe("read an order", "GET", f"/v1/orders/{number}"),
        Probe("place an order", "POST", "/v1/orders", order),
        Probe("read stock, shipments, invoices", "GET", "/v1/stock/BOLT"),
        Probe("receive stock", "POST", "/v1/stock/receipts", receipt),
        Probe("read work orders, lots", "GET", "/v1/work-orders"),
        Probe("report a machine state", "POST", "/v1/machines/M-1/state", {"state": "idle"}),
    ]


@dataclass
class Outage:
    """What one part's absence did."""

    part: str
    result: Result
    healthy_after: float
    drained_after: float


async def outage(plant: Plant, part: str, seconds: float, pause: float = 0.25) -> Outage:
    """Take a part away for so long, probe meanwhile, give it back, and wait until everything is as before."""
    await plant.away(part)
    try:
        result = await plant.probe(seconds, pause)
    finally:
        await plant.back(part)
    began = time.monotonic()
    await wait_until(plant.healthy, _DRAIN_SECONDS, f"all calls to succeed again after {part}")
    healthy = time.monotonic() - began
    await wait_until(plant.drained, _DRAIN_SECONDS, f"everything to drain after {part}")
    return Outage(part, result, healthy, time.monotonic() - began)


def markdown(outages: Sequence[Outage], seconds: float) -> str:
    """The page of the documentation."""
    head = [_title(each.part) for each in outages]
    lines = [
        _INTRODUCTION.format(seconds=seconds),
        "| call | " + " | ".join(head) + " |",
        "|---" * (len(head) + 1) + "|",
    ]
    for name in outages[0].result:
        cells = [_cell(each.result[name]) for each in outages]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    again = [f"{each.healthy_after:.1f} s, {each.drained_after:.1f} s" for each in outages]
    lines += [f"| afterwards: all calls succeed, a new order is promised, after | {' | '.join(again)} |", ""]
    return "\n".join(lines)


def _cell(seen: Seen) -> str:
    return f"{seen.said()}; {statistics.median(seen.seconds):.2f} s, {max(seen.seconds):.1f} s"


def _title(part: str) -> str:
    return "Kafka away" if part == "kafka" else f"{part}'s database away"


async def _each(seconds: float) -> list[Outage]:
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder) / "state") as plant:
            outages = []
            for part in OUTAGES:
                outages.append(await outage(plant, part, seconds))
                console.print(_table(outages[-1]))
    return outages


def _table(one: Outage) -> Table:
    table = Table("call", "answers", "median s", "longest s", title=_title(one.part))
    for name, seen in one.result.items():
        counts = ", ".join(f"{status} ×{count}" for status, count in seen.statuses.most_common())
        table.add_row(name, counts, f"{statistics.median(seen.seconds):.2f}", f"{max(seen.seconds):.1f}")
    table.caption = f"all calls succeed after {one.healthy_after:.1f} s, a new order is promised after "
    table.caption += f"{one.drained_after:.1f} s"
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m load.outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long each part is away")
    parser.add_argument("--write", type=Path, help="where the page of the documentation goes")
    given = parser.parse_args()
    outages = asyncio.run(_each(given.seconds))
    if given.write:
        given.write.write_text(markdown(outages, given.seconds))


if __name__ == "__main__":
    sys.exit(main())

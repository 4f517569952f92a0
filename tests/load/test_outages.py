"""The main cells of docs/outages.md, from short outages of the real thing."""

from pathlib import Path

from devkit.testing import wait_until
from load.outages import OUTAGES, running

_AWAY_SECONDS = 3
# Everything else succeeds.
UNAVAILABLE = {
    "kafka": set(),
    "crm": {"read an order", "place an order"},
    "erp": {"read stock, shipments, invoices", "receive stock"},
    "mes": {"read work orders, lots", "report a machine state"},
    "gateway": {"get a token", "order status"},
}


async def test_what_is_away_is_told_the_rest_works_and_all_drains(tmp_path: Path) -> None:
    """Kafka, then each database."""
    async with running(tmp_path / "state") as plant:
        for part in OUTAGES:
            await plant.away(part)
            result = await plant.probe(_AWAY_SECONDS, pause=0.1)
            await plant.back(part)
            for name, seen in result.items():
                expected = {"503 unavailable"} if name in UNAVAILABLE[part] else {"200", "201"}
                assert set(seen.statuses) <= expected, (part, name, seen.statuses)
            await wait_until(plant.healthy, 60, f"all calls to succeed again after {part}")
        assert await plant.drained()

"""What the relay and a consumer's runtime do per second of a processor, without any domain."""

import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devkit.platform.kafka import start_kafka, stop_kafka
from devkit.platform.ports import free_port
from devkit.platform.postgres import admin_url, start_postgres, stop_postgres
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer, wait_until
from load.figures import Figure

sys.path.insert(0, str(Path(__file__).parents[2] / "libs/chassis/tests/support"))

from messaging_bench import Bench
from sqlalchemy import func, select
from tally.events import on_topic
from tally.service import Topic

from chassis.db import Database
from chassis.messaging.provisioner import ensure_topics
from chassis.tables import inbox

_COUNTERS = 100


@contextmanager
def _servers() -> Iterator[tuple[str, str]]:
    """A database of the tally service and a broker; their addresses."""
    with tempfile.TemporaryDirectory() as name:
        folder, port, password = Path(name), free_port(), secrets.token_hex(16)
        postgres = start_postgres(folder / "data", port, password, folder / "log", durable=False, tied_to_us=True)
        kafka_port = free_port()
        kafka = start_kafka(folder / "kafka", kafka_port, free_port(), folder / "kafka.log", tied_to_us=True)
        try:
            with fresh_database(PostgresTestServer(admin_url(port, password)), "tally") as url:
                yield url, f"127.0.0.1:{kafka_port}"
        finally:
            stop_kafka(kafka)
            stop_postgres(postgres)


async def figures(events: int) -> list[Figure]:
    """Events relayed, then applied, per second and per second of this process's processor time."""
    found = []
    with _servers() as (url, kafka):
        model = on_topic("tally.bench.events.v1")
        bench = Bench(Database(url, "bench"), Database(url, "tally"), kafka, model, "tally.bench")
        await ensure_topics(kafka, [Topic(model.TOPIC)], [bench.consumer()])
        counters = await bench.create(_COUNTERS)
        for version in range(1, events // _COUNTERS + 1):
            await bench.publish(*((counter, version) for counter in counters))
        made = events // _COUNTERS * _COUNTERS

        async def all_heard() -> bool:
            async with bench.database.read() as reader:
                return bool(await reader.scalar(select(func.count()).select_from(inbox)) == made)

        for what, start, done in (
            ("relay", bench.start_relay, bench.outbox_empty),
            ("consumer", bench.start_consumer, all_heard),
        ):
            wall, cpu = time.monotonic(), time.process_time()
            loop = start()
            await wait_until(done, 600, f"the {what}")
            found.append(
                Figure(f"{what}: {made:,} events of the smallest kind", made / (time.monotonic() - wall), "events/s")
            )
            found.append(Figure(f"{what}: the same", made / (time.process_time() - cpu), "events per CPU s"))
            await loop.end()
        await bench.database.dispose()
        await bench.served.dispose()
    return found

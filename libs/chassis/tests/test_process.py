"""A service as a real process: it starts, serves, stops in order, and survives being killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from messaging_bench import Bench, per_key
from sqlalchemy import select, text
from tally.service import counter

from chassis.testing import TestIssuer
from devkit.testing import free_port, wait_until

SUPPORT = Path(__file__).parent / "support"
STOP_SECONDS = 10


class Service:
    """The tally service as processes of its own."""

    def __init__(self, bench: Bench, issuer: TestIssuer, logs: Path) -> None:
        self.bench = bench
        self.logs = logs
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(SUPPORT),
            "ORDERLOOP_DATABASE_URL": bench.database.url,
            "ORDERLOOP_KAFKA": bench.kafka,
            "ORDERLOOP_JWKS": str(issuer.jwks),
            "TALLY_TOPIC": bench.topic,
            "TALLY_GROUP": bench.group,
        }
        self.headers = {"Authorization": f"Bearer {issuer.token('counters:read', 'counters:write')}"}

    @contextmanager
    def process(self, role: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """A running role, killed at the end if it still runs."""
        with (self.logs / f"{role}-{port}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tally", role],
                env={**self.environment, "ORDERLOOP_PORT": str(port)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the service to its end."""
        environment = {name: value for name, value in {**self.environment, **changed}.items() if value != "-"}
        return subprocess.run(
            [sys.executable, "-m", "tally", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@pytest.fixture
def service(bench: Bench, issuer: TestIssuer, tmp_path: Path) -> Service:
    """The tally service on the test's database and topic."""
    return Service(bench, issuer, tmp_path)


async def answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{url}/readyz", timeout=5)).status_code == 200
    except httpx.TransportError:
        return False


class Load:
    """Counts counters up over HTTP and remembers what it was answered."""

    def __init__(self, url: str, service: Service) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=service.headers, timeout=10)
        self._enough = False
        self.statuses: list[int] = []
        self.versions: dict[str, int] = {}
        self.refused = 0

    async def run(self) -> None:
        """Keep four clients busy until `stop`, ending at the first connection that is refused."""
        async with self._http:
            await asyncio.gather(*(self._client() for _ in range(4)))

    def stop(self) -> None:
        """End after the requests under way."""
        self._enough = True

    async def _client(self) -> None:
        key = ""
        while not self._enough:
            path = f"/v1/counters/{key}/count" if key else "/v1/counters"
            try:
                answer = await self._http.post(path, json={})
            except httpx.TransportError:
                self.refused += 1
                return
            self.statuses.append(answer.status_code)
            if answer.is_success:
                key = answer.json()["id"]
                self.versions[key] = answer.json()["version"]


async def test_sigterm_under_load_ends_in_time_without_a_failed_request_and_nothing_is_lost(
    service: Service, bench: Bench
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with service.process("all", port) as process:
        await wait_until(lambda: answers(url), 60, "the service to be ready")
        load = Load(url, service)
        running = asyncio.create_task(load.run())
        await wait_until(lambda: len(load.statuses) > 100, 60, "some load")
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        await asyncio.to_thread(process.wait, 30)
        took = time.monotonic() - began
        await running
    assert process.returncode == 0
    assert took < STOP_SECONDS
    assert {status for status in load.statuses if status >= 300} == set()
    bench.start_relay()
    bench.start_consumer()
    expected = {key: list(range(1, version + 1)) for key, version in load.versions.items()}
    found = per_key(await bench.wait_heard(sum(load.versions.values())))
    # A request cut off by the stop may have been carried out without an answer; never the other way round.
    assert {key: versions[: len(expected[key])] for key, versions in found.items() if key in expected} == expected


async def test_a_write_cut_off_by_the_stop_is_told_that_it_may_have_been_done(service: Service, bench: Bench) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def waits_for_a_lock() -> bool:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with bench.database.read() as reader:
            return bool(await reader.scalar(text(waiting)))

    with service.process("api", port) as process:
        await wait_until(lambda: answers(url), 60, "the service to be ready")
        async with httpx.AsyncClient(base_url=url, headers=service.headers, timeout=30) as http:
            made = (await http.post("/v1/counters", json={})).json()
            async with bench.database.transaction() as tx:
                await tx.execute(select(counter).where(counter.c.id == made["id"]).with_for_update())
                counting = asyncio.create_task(http.post(f"/v1/counters/{made['id']}/count", json={}))
                await wait_until(waits_for_a_lock, 10, "the request to wait")
                process.send_signal(signal.SIGTERM)
                answer = await counting
    assert (answer.status_code, answer.json()["code"]) == (504, "outcome_unknown")


async def test_kill_9_under_load_loses_nothing_that_was_answered(service: Service, bench: Bench) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    versions: dict[str, int] = {}
    for _ in range(2):
        with service.process("all", port) as process:
            await wait_until(lambda: answers(url), 60, "the service to be ready")
            load = Load(url, service)
            running = asyncio.create_task(load.run())
            await wait_until(lambda load=load: len(load.statuses) > 100, 60, "some load")
            process.kill()
            await running
            versions |= load.versions
    with service.process("worker", port):
        found = per_key(await bench.wait_heard(sum(versions.values()), 60))
    for key, version in versions.items():
        assert found[key][:version] == list(range(1, version + 1))
    for heard in found.values():
        assert heard == list(range(1, len(heard) + 1))


async def test_api_and_worker_share_the_work_and_the_worker_has_no_api(service: Service, bench: Bench) -> None:
    api, worker = free_port(), free_port()
    with service.process("api", api), service.process("worker", worker):
        for port in (api, worker):
            await wait_until(lambda port=port: answers(f"http://127.0.0.1:{port}"), 60, "the process to be ready")
        async with httpx.AsyncClient(headers=service.headers) as http:
            made = (await http.post(f"http://127.0.0.1:{api}/v1/counters", json={})).json()
            assert await bench.wait_heard(1) == [(made["id"], 1)]
            assert (await http.get(f"http://127.0.0.1:{worker}/v1/counters")).status_code == 404
            ready = (await http.get(f"http://127.0.0.1:{worker}/readyz")).json()
            assert {"database", "relay", f"consumer {bench.group}", f"group {bench.group}"} == set(ready["checks"])
            metrics = (await http.get(f"http://127.0.0.1:{worker}/metrics")).text
    assert 'relay_leader{service="tally"} 1.0' in metrics
    assert f'events_handled_total{{group="{bench.group}",outcome="applied"}} 1.0' in metrics


async def test_without_kafka_commands_commit_and_the_service_is_ready(service: Service, bench: Bench) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    service.environment["ORDERLOOP_KAFKA"] = f"127.0.0.1:{free_port()}"
    with service.process("all", port) as process:
        await wait_until(lambda: answers(url), 60, "the service to be ready")
        async with httpx.AsyncClient(base_url=url, headers=service.headers) as http:
            made = await http.post("/v1/counters", json={})
            assert made.status_code == 201
            ready = await http.get("/readyz")
            assert (await http.get("/livez")).status_code == 200
        assert ready.status_code == 200
        assert ready.json()["checks"]["relay"]["ok"] is False
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, STOP_SECONDS) == 0
    bench.start_relay()
    bench.start_consumer()
    assert await bench.wait_heard(1) == [(made.json()["id"], 1)]


def test_bad_usage_and_settings_are_one_clear_line(service: Service) -> None:
    for arguments, changed, said in [
        (["api"], {"ORDERLOOP_DATABASE_URL": "-"}, "ORDERLOOP_DATABASE_URL is missing"),
        (["api"], {"ORDERLOOP_DATABASE_URL": "mysql://x"}, "ORDERLOOP_DATABASE_URL: "),
        (["worker"], {"ORDERLOOP_PORT": "many"}, "ORDERLOOP_PORT: "),
        (["sing"], {}, "invalid choice: 'sing'"),
    ]:
        result = service.run(*arguments, **changed)
        assert result.returncode == 2
        assert said in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr


def test_one_shot_roles_can_be_repeated_and_say_what_is_away(service: Service) -> None:
    for role in ("migrate", "topics"):
        assert service.run(role).returncode == 0
    nowhere = f"127.0.0.1:{free_port()}"
    for role, changed in [
        ("topics", {"ORDERLOOP_KAFKA": nowhere}),
        ("migrate", {"ORDERLOOP_DATABASE_URL": f"postgresql+asyncpg://x:x@{nowhere}/x"}),
    ]:
        result = service.run(role, **changed)
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1


async def test_a_port_in_use_is_said(service: Service) -> None:
    async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None: ...

    holder = await asyncio.start_server(nothing, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    result = await asyncio.to_thread(service.run, "api", ORDERLOOP_PORT=str(port))
    holder.close()
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


async def test_operator_commands_answer_in_json_or_one_line(service: Service, bench: Bench) -> None:
    [counter] = await bench.create(1)
    await bench.publish((counter, 1))
    status = await asyncio.to_thread(service.run, "outbox", "status", "--json")
    assert status.returncode == 0
    answered = json.loads(status.stdout)
    assert (answered["service"], answered["pending"], answered["leader"]) == ("tally", 1, None)
    for_people = await asyncio.to_thread(service.run, "outbox", "status")
    assert "pending 1" in for_people.stdout.splitlines()
    unknown = await asyncio.to_thread(service.run, "parked", "release", counter, "--json")
    assert unknown.returncode == 1
    assert json.loads(unknown.stdout)["code"] == "nothing_such"
    assert unknown.stderr == f"tally: key {counter} is not parked\n"
    away = {"ORDERLOOP_KAFKA": f"127.0.0.1:{free_port()}"}
    without_kafka = await asyncio.to_thread(service.run, "dlt", "list", **away)
    assert without_kafka.returncode == 1
    assert without_kafka.stderr.count("\n") == 1

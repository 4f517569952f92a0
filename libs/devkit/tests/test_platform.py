"""The local platform as its user meets it: up, status, down, and what it says when something is wrong.

Services are stand-ins that keep the environment contract only; PostgreSQL and Kafka are real.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from devkit.platform import Platform, PlatformError
from devkit.platform.kafka import start_kafka, stop_kafka
from devkit.platform.ports import free_port, port_is_free
from devkit.platform.postgres import admin_url, start_postgres, stop_postgres
from devkit.platform.processes import ProcessRef
from devkit.platform.state import ROLES, SERVICES, StateFolder
from devkit.testing import wait_until

STAND_INS = Path(__file__).with_name("stand_ins")
PARTS = ["postgres", "kafka", "crm", "erp", "mes", "gateway"]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(STAND_INS))
    for name in ("ORDERLOOP_DATABASE_URL", "ORDERLOOP_KAFKA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / ".orderloop"


@pytest.fixture
def platform(stand_ins: None, state_dir: Path) -> Iterator[Platform]:
    made = Platform(state_dir, throwaway=True)
    yield made
    made.stop()


@pytest.fixture
def orderloop(stand_ins: None, state_dir: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the command as a user does, and stops what it left running."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "devkit", *arguments]
        env = {**os.environ, "ORDERLOOP_STATE": str(state_dir)}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    yield call
    if state_dir.exists():
        Platform(state_dir).stop()


def _processes(report: dict[str, Any]) -> dict[str, int | None]:
    return {process["name"]: process["pid"] for process in report["processes"]}


async def test_up_status_down(orderloop: Callable[..., subprocess.CompletedProcess[str]], state_dir: Path) -> None:
    up = orderloop("up")
    assert up.returncode == 0, up.stderr
    report = json.loads(orderloop("status", "--json").stdout)
    assert report["state"] == "running"
    assert list(_processes(report)) == PARTS
    assert set(report["clients"]) == set(ROLES)
    assert report["gateway"] in up.stdout
    assert report["clients"]["admin"]["client_secret"] in up.stdout
    assert all(ProcessRef.of(pid).alive() for pid in _processes(report).values() if pid)

    connection = await asyncpg.connect(report["databases"]["crm"])
    assert await connection.fetchval("SELECT current_user || '@' || current_database()") == "crm@crm"
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(report["databases"]["crm"].replace("/crm", "/erp").replace("//erp", "//crm"))

    again = orderloop("up", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == report

    down = orderloop("down", "--json")
    assert set(json.loads(down.stdout)["stopped"]) == set(PARTS)
    stopped = json.loads(orderloop("status", "--json").stdout)
    assert (stopped["state"], stopped["gateway"]) == ("stopped", report["gateway"])
    assert not any(ProcessRef.of(pid).alive() for pid in _processes(report).values() if pid)
    assert orderloop("down").stdout.strip() == "nothing was running"
    for name in ("secrets.json", "state.json", "signing-key.pem", "clients.json"):
        assert (state_dir / name).stat().st_mode & 0o077 == 0


async def test_parts_that_died_are_started_again_and_the_others_left_alone(platform: Platform) -> None:
    assert platform.start() == PARTS
    before = _processes(platform.status())
    for name in ("postgres", "kafka", "mes"):
        platform.kill(name)
    await wait_until(lambda: platform.running() == ["crm", "erp", "gateway"], what="the killed parts to be gone")
    assert platform.start() == ["postgres", "kafka", "mes"]
    after = _processes(platform.status())
    assert {name for name in PARTS if before[name] != after[name]} == {"postgres", "kafka", "mes"}
    platform.kill("crm")
    await wait_until(lambda: "crm" not in platform.running(), what="crm to be gone")
    assert platform.restart("crm")
    assert not platform.restart("crm")
    assert platform.status()["state"] == "running"


def test_the_foreground_restarts_what_ends_and_stops_everything_on_ctrl_c(stand_ins: None, state_dir: Path) -> None:
    platform = Platform(state_dir)
    env = {**os.environ, "ORDERLOOP_STATE": str(state_dir)}
    command = [sys.executable, "-m", "devkit", "up", "--foreground"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as foreground:
        assert foreground.stdout
        assert foreground.stderr
        try:
            assert any("Ctrl-C stops" in line for line in foreground.stdout)
            before = _processes(platform.status())
            platform.kill("erp")
            assert foreground.stderr.readline() == "erp had ended and was started again\n"
            after = _processes(platform.status())
            assert [name for name in PARTS if before[name] != after[name]] == ["erp"]
            assert after["erp"]
            foreground.send_signal(signal.SIGINT)
            assert foreground.wait(60) == 0
            assert platform.running() == []
        finally:
            foreground.kill()
            platform.stop()


def test_a_busy_gateway_port_is_one_clear_line(orderloop: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = str(other.getsockname()[1])
        up = orderloop("up", "--port", port)
    assert up.returncode == 1
    assert up.stderr.splitlines() == [
        f"orderloop: port {port} is taken by another program: free it, or choose one with --port"
    ]
    assert json.loads(orderloop("status", "--json").stdout)["state"] == "stopped"


@pytest.mark.parametrize("file", ["state.json", "secrets.json"])
@pytest.mark.parametrize("content", ["", "{", '{"ports": {"gateway": "x"}}'])
def test_a_damaged_state_folder_names_the_file_and_the_way_out(
    stand_ins: None, state_dir: Path, file: str, content: str
) -> None:
    state_dir.mkdir()
    (state_dir / file).write_text(content)
    for act in (Platform(state_dir).start, Platform(state_dir).status):
        with pytest.raises(PlatformError, match=f"{file} is damaged .* rm -r {state_dir}$"):
            act()
    assert (state_dir / file).read_text() == content


def test_a_damaged_state_folder_is_one_line_for_the_user(
    orderloop: Callable[..., subprocess.CompletedProcess[str]], state_dir: Path
) -> None:
    state_dir.mkdir()
    (state_dir / "state.json").write_text("{")
    up = orderloop("up")
    assert (up.returncode, up.stdout) == (1, "")
    assert len(up.stderr.splitlines()) == 1
    (state_dir / "state.json").unlink()


def test_a_state_folder_that_cannot_be_one_is_one_line_for_the_user(
    orderloop: Callable[..., subprocess.CompletedProcess[str]], state_dir: Path
) -> None:
    state_dir.write_text("a file")
    for command in ("up", "status"):
        run = orderloop(command)
        assert (run.returncode, run.stdout) == (1, "")
        assert len(run.stderr.splitlines()) == 1
        assert "ORDERLOOP_STATE" in run.stderr
    state_dir.unlink()


def test_data_without_its_secrets_is_not_overwritten(stand_ins: None, state_dir: Path) -> None:
    (state_dir / "postgres").mkdir(parents=True)
    with pytest.raises(PlatformError, match=r"secrets\.json is missing although .*postgres has data"):
        Platform(state_dir).start()
    assert not (state_dir / "secrets.json").exists()


async def test_servers_that_are_already_there_are_used_and_left_running(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, kafka_port = free_port(), free_port()
    database = start_postgres(tmp_path / "pg", port, "a:b/c", tmp_path / "pg.log", durable=False, tied_to_us=True)
    broker = start_kafka(tmp_path / "kafka", kafka_port, free_port(), tmp_path / "kafka.log", tied_to_us=True)
    monkeypatch.setenv("ORDERLOOP_DATABASE_URL", admin_url(port, "a:b/c"))
    monkeypatch.setenv("ORDERLOOP_KAFKA", f"127.0.0.1:{kafka_port}")
    assert platform.start() == list(SERVICES)
    assert platform.kafka == f"127.0.0.1:{kafka_port}"
    connection = await asyncpg.connect(platform.database_url("mes"))
    assert await connection.fetchval("SELECT current_user || '@' || current_database()") == "mes@mes"
    await connection.close()
    assert set(platform.stop()) == set(SERVICES)
    assert stop_postgres(database)
    assert stop_kafka(broker)


async def test_a_service_that_does_not_start_stops_the_rest_and_says_why(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_BROKEN", "mes")
    with pytest.raises(PlatformError, match="mes stopped while starting: the stand-in was told to break"):
        platform.start()
    assert platform.running() == []
    assert all(port_is_free(port) for port in platform.folder.state().ports.values())


def test_a_recycled_pid_is_neither_taken_for_ours_nor_killed(state_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        folder = StateFolder(state_dir)
        with folder.lock():
            folder.prepare()
        state = folder.state()
        ours = ProcessRef.of(stranger.pid)
        state.processes["crm"] = ProcessRef(stranger.pid, f"{ours.started}0")
        folder.save(state)
        platform = Platform(state_dir)
        assert platform.running() == []
        assert platform.stop() == []
        assert stranger.poll() is None
        stranger.kill()


def test_two_ups_at_once_do_not_mix(
    orderloop: Callable[..., subprocess.CompletedProcess[str]], state_dir: Path
) -> None:
    with StateFolder(state_dir).lock():
        second = orderloop("up")
    assert second.returncode == 1
    assert "another orderloop command is starting or stopping" in second.stderr


def test_servers_of_the_test_plugin_die_with_a_killed_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_hang.py").write_text(
        "import pathlib, time\n"
        "def test_hang(postgres_server):\n"
        f"    pathlib.Path({str(tmp_path / 'port')!r}).write_text(postgres_server.admin_url.rpartition(':')[2])\n"
        "    time.sleep(60)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("ORDERLOOP_TEST_")}
    command = [sys.executable, "-m", "pytest", "-q", str(tmp_path), f"--basetemp={tmp_path / 'temp'}"]
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as session:
        _poll(lambda: (tmp_path / "port").exists() and (tmp_path / "port").read_text())
        port = int((tmp_path / "port").read_text().partition("/")[0])
        assert not port_is_free(port)
        session.kill()
    _poll(lambda: port_is_free(port))


def _poll(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)

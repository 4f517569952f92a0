"""Processes we started: how they are started, recognised later, and stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from devkit.platform.errors import PlatformError

_EXEC_AS = Path(__file__).with_name("exec_as.py")
POLL_SECONDS = 0.05

# A child tied to us dies with the thread that started it, so one thread that lives as long as we do starts them all.
_SPAWNER = ThreadPoolExecutor(1, "orderloop-spawner")
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ProcessRef:
    """A process by pid and start mark, so that another process given the same pid later is never taken for it."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessRef":
        """The running process `pid`; raises PlatformError when there is none."""
        mark = _start_mark(pid)
        if mark is None:
            raise PlatformError(f"process {pid} ended right after its start")
        return cls(pid, mark)

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _start_mark(self.pid) == self.started

    def send(self, sig: signal.Signals) -> bool:
        """Send a signal to this very process; False when it no longer runs."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, sig)
        except ProcessLookupError:
            return False
        return True


def _start_mark(pid: int) -> str | None:
    """What identifies the process now holding `pid`; None when there is none or only its zombie."""
    if (child := _CHILDREN.get(pid)) is not None and child.poll() is not None:
        del _CHILDREN[pid]
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform != "linux":
            return f"{process.create_time():.3f}"
        # Ticks since boot do not move when the wall clock is set, unlike psutil's creation time.
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{stat.rpartition(')')[2].split()[19]}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None


@dataclass(frozen=True)
class RunAs:
    """The unprivileged user a command runs as, and whether it needs root's reach to its files."""

    uid: int
    gid: int
    keep_file_access: bool

    def arguments(self) -> list[str]:
        """The `exec_as` options for this user."""
        reach = ["--keep-file-access"] if self.keep_file_access else []
        return ["--uid", str(self.uid), "--gid", str(self.gid), *reach]


def wrapped(command: Sequence[str], run_as: RunAs | None = None, tied_to_us: bool = False) -> list[str]:
    """`command` run as another user and, when `tied_to_us`, killed as soon as we die."""
    options = run_as.arguments() if run_as else []
    if tied_to_us:
        options += ["--parent", str(os.getpid())]
    if not options:
        return list(command)
    return [sys.executable, "-I", "-S", str(_EXEC_AS), *options, "--", *command]


def spawn(
    command: Sequence[str],
    log_file: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in its own session (no Ctrl-C of ours reaches it), its output appended to `log_file`."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        process = _SPAWNER.submit(
            subprocess.Popen,
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        ).result()
    _CHILDREN[process.pid] = process
    return process


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and capture what it says."""
    return subprocess.run(list(command), capture_output=True, text=True, check=False, cwd="/", env=env)  # noqa: S603


def wait_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], *, what: str, log_file: Path, deadline_seconds: float
) -> None:
    """Poll `ready` until it holds; raises PlatformError when the process ends or the deadline passes first."""
    deadline = time.monotonic() + deadline_seconds
    while not ready():
        if process.poll() is not None:
            raise PlatformError(f"{what} stopped while starting: {last_line(log_file)} (log: {log_file})")
        if time.monotonic() > deadline:
            raise PlatformError(f"{what} is not ready after {deadline_seconds:.0f} s (log: {log_file})")
        time.sleep(POLL_SECONDS)


def stop(ref: ProcessRef, *, first: signal.Signals = signal.SIGTERM, patience_seconds: float = 10) -> bool:
    """Ask the process to end and kill it when it does not; False when it was not running."""
    if not ref.send(first):
        return False
    if not _ended(ref, patience_seconds):
        ref.send(signal.SIGKILL)
        _ended(ref, patience_seconds)
    return True


def _ended(ref: ProcessRef, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while ref.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def last_line(log_file: Path) -> str:
    """The last line of a log that says something, for an error message."""
    with contextlib.suppress(FileNotFoundError):
        lines = [line.strip() for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1][:300]
    return "no output"


def free_port() -> int:
    """A TCP port on 127.0.0.1 nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    """Whether something accepts TCP connections on 127.0.0.1:`port`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False

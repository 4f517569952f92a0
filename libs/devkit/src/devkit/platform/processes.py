"""Processes we started: how they are started, recognised later, and stopped."""

import atexit
import contextlib
import os
import signal
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
_POLL_SECONDS = 0.05
_LOG_LIMIT_BYTES = 20_000_000

# A child tied to us dies with the thread that started it, so one thread that lives as long as we do starts them all.
_SPAWNER = ThreadPoolExecutor(1, "orderloop-spawner")
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _reap() -> None:
    """Collect the children that have ended, also those nobody asked about again after killing them."""
    for pid in list(_CHILDREN):
        _collect(pid)


def _collect(pid: int) -> None:
    """Forget our child once it has ended; several threads may ask at once."""
    if (child := _CHILDREN.get(pid)) is not None and child.poll() is not None:
        _CHILDREN.pop(pid, None)


@dataclass(frozen=True)
class ProcessRef:
    """A process by pid and start mark, so that another process given the same pid later is never taken for it."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessRef":
        """The process now holding `pid`; when it has already ended, a reference to nothing alive."""
        return cls(pid, _start_mark(pid) or "ended")

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

    def freeze(self) -> bool:
        """Stop it and all its descendants where they stand; False when it no longer runs."""
        # The parent first, so that no child is born meanwhile.
        return self.send(signal.SIGSTOP) and self._to_descendants(signal.SIGSTOP)

    def thaw(self) -> bool:
        """Let it and all its descendants go on; False when it no longer runs."""
        return self._to_descendants(signal.SIGCONT) and self.send(signal.SIGCONT)

    def _to_descendants(self, sig: signal.Signals) -> bool:
        if not self.alive():
            return False
        for child in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(sig)
        return True


def _start_mark(pid: int) -> str | None:
    """What identifies the process now holding `pid`; None when there is none or only its zombie."""
    _collect(pid)
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
class Child:
    """A process just started, and where in its log its own words begin."""

    name: str
    popen: subprocess.Popen[bytes]
    ref: ProcessRef
    log_file: Path
    log_start: int

    def said(self) -> str:
        """What it has written to its log since it was started."""
        with self.log_file.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], deadline_seconds: float) -> None:
        """Poll until `ready`; raises PlatformError, and leaves nothing running, when it ends or is not in time."""
        deadline = time.monotonic() + deadline_seconds
        while not ready():
            if self.popen.poll() is not None:
                lines = [line.strip() for line in self.said().splitlines() if line.strip()] or ["no output"]
                raise PlatformError(f"{self.name} stopped while starting: {lines[-1][:300]} (log: {self.log_file})")
            if time.monotonic() > deadline:
                self.kill()
                raise PlatformError(f"{self.name} was not ready within {deadline_seconds:.0f} s (log: {self.log_file})")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        self.popen.kill()
        self.popen.wait()


def spawn(
    name: str, command: Sequence[str], log_file: Path, env: Mapping[str, str] | None = None, cwd: Path = Path("/")
) -> Child:
    """Start a command in its own session (no Ctrl-C of ours reaches it), its output appended to `log_file`."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > _LOG_LIMIT_BYTES:
        log_file.replace(log_file.with_suffix(".log.1"))
    with log_file.open("ab") as log:
        log_start = log.tell()
        popen = _SPAWNER.submit(
            subprocess.Popen,
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        ).result()
    ref = ProcessRef.of(popen.pid)
    _reap()
    _CHILDREN[popen.pid] = popen
    return Child(name, popen, ref, log_file, log_start)


def run(command: Sequence[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end and capture what it says."""
    return subprocess.run(list(command), input=stdin, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603


@dataclass(frozen=True)
class RunAs:
    """The unprivileged user a command runs as, and whether it needs root's reach to its files."""

    uid: int
    gid: int
    keep_file_access: bool


def wrapped(command: Sequence[str], run_as: RunAs | None = None, tied_to_us: bool = False) -> list[str]:
    """`command` run as another user and, when `tied_to_us`, killed as soon as we die."""
    options: list[str] = []
    if run_as:
        options += ["--uid", str(run_as.uid), "--gid", str(run_as.gid)]
        options += ["--keep-file-access"] if run_as.keep_file_access else []
    if tied_to_us:
        options += ["--parent", str(os.getpid())]
    if not options:
        return list(command)
    return [sys.executable, "-I", "-S", str(_EXEC_AS), *options, "--", *command]


def stop(
    refs: Sequence[ProcessRef], *, first: signal.Signals = signal.SIGTERM, patience_seconds: float = 10
) -> list[ProcessRef]:
    """Ask processes to end, together, and kill those that do not in time; returns those that were running."""
    running = [ref for ref in refs if ref.send(first)]
    _wait_ended(running, patience_seconds)
    for ref in running:
        ref.send(signal.SIGKILL)
    _wait_ended(running, patience_seconds)
    return running


def _wait_ended(refs: Sequence[ProcessRef], patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while any(ref.alive() for ref in refs) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)

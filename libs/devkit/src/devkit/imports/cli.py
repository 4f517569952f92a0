"""`orderloop import`."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from devkit.demo.checks import Books, wait_for_books
from devkit.demo.delivery import Delivery, deliver_orders
from devkit.demo.target import Target, choose, run_against_api
from devkit.imports import adventureworks, layout
from devkit.imports.loader import Loader, Report
from devkit.platform import PlatformError

import_app = typer.Typer(help="Load a factory from CSV files through the public API.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The folder with the CSV files.")]
Orders = Annotated[int, typer.Option(min=0, help="Place so many orders, oldest first, and let the floor make them.")]
Gateway = Annotated[str | None, typer.Option(help="A gateway elsewhere; see ORDERLOOP_CREDENTIALS.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write the whole report here as JSON.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as one JSON document and nothing else.")]
Speed = Annotated[float, typer.Option(min=1, help="How much faster the floor's clock runs.")]
_PROBLEMS_SHOWN = 20
_STALL_SECONDS = 60.0
# A simulated day takes a tenth of a second, so the platform and not the floor sets the pace.
_FAST = 864_000.0


@dataclass(frozen=True)
class ImportRun:
    """How an import shows itself, and how fast its floor works."""

    as_json: bool
    report_file: Path | None
    speed: float

    @property
    def console(self) -> Console:
        """Where people read."""
        return Console(highlight=False)


@dataclass(frozen=True)
class ImportResult:
    """What an import did."""

    report: Report
    timings: dict[str, float]
    delivery: Delivery | None
    books: Books | None

    @property
    def complete(self) -> bool:
        """Whether every order is delivered, or waits on a purchase order its reason names, and the books balance."""
        if self.delivery is None:
            return True
        waits = all("PO-" in reason for reason in self.delivery.open_reasons.values())
        return waits and self.books is not None and self.books.in_order

    def as_json(self) -> dict[str, Any]:
        """The result as one JSON-ready document."""
        document: dict[str, Any] = {
            **self.report.as_json(),
            "seconds": {k: round(v, 2) for k, v in self.timings.items()},
        }
        if self.delivery is not None and self.books is not None:
            promised = self.delivery.seconds_to_promised
            document["orders_delivered"] = len(self.delivery.states) - len(self.delivery.undelivered)
            document["waiting"] = self.delivery.open_reasons
            document["seconds"]["all_promised"] = None if promised is None else round(promised, 2)
            document["seconds"]["all_delivered"] = round(self.delivery.seconds, 2)
            document["ledger_balanced"] = self.books.balanced
            document["stock_faults"] = self.books.faults
        return document


@import_app.command("csv")
def import_csv(
    folder: Folder,
    *,
    orders: Orders = 0,
    speed: Speed = _FAST,
    gateway: Gateway = None,
    report: ReportFile = None,
    as_json: AsJson = False,
) -> None:
    """Load Orderloop's own CSV layout (docs/csv-layout.md)."""
    dataset = _read(lambda: layout.read_folder(folder))
    dataset.orders = dataset.orders[:orders]
    _run(dataset, gateway, ImportRun(as_json, report, speed))


@import_app.command("adventureworks")
def import_adventureworks(
    folder: Folder,
    *,
    orders: Orders = 0,
    speed: Speed = _FAST,
    gateway: Gateway = None,
    report: ReportFile = None,
    as_json: AsJson = False,
) -> None:
    """Load the AdventureWorks bicycle factory, and run its first sales orders in order of date."""
    dataset = _read(lambda: adventureworks.read_folder(folder, orders))
    _run(dataset, gateway, ImportRun(as_json, report, speed))


def _run(dataset: layout.Dataset, gateway: str | None, run: ImportRun) -> None:
    if not run_against_api(_import(choose(gateway), dataset, run)):
        raise typer.Exit(1)


def _read(read: Callable[[], layout.Dataset]) -> layout.Dataset:
    try:
        return read()
    except FileNotFoundError as error:
        raise PlatformError(f"cannot import: {error}") from error
    except KeyError as error:
        raise PlatformError(f"cannot import: a file lacks the column {error}") from error


async def _import(target: Target, dataset: layout.Dataset, run: ImportRun) -> bool:
    """Load, place and deliver; returns whether every row was loaded and every order is delivered."""
    timings: dict[str, float] = {}
    delivery: Delivery | None = None
    books: Books | None = None
    with _progress(quiet=run.as_json) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what.replace("_", " "), total=total)
            progress.update(tasks[what], completed=done, total=total)

        async with target.api("admin") as admin:
            loader = Loader(admin, dataset, show)
            started = time.monotonic()
            await loader.load()
            timings["load"] = time.monotonic() - started
            if dataset.orders:
                started = time.monotonic()
                numbers = await loader.place_orders()
                timings["place"] = time.monotonic() - started
                delivery = await deliver_orders(
                    target,
                    numbers,
                    run.speed,
                    _STALL_SECONDS,
                    lambda states: show("delivered", states["delivered"] + states["closed"], len(numbers)),
                )
                books = await wait_for_books(admin)
    result = ImportResult(loader.report, timings, delivery, books)
    if run.report_file is not None:
        run.report_file.write_text(json.dumps(result.as_json(), indent=2) + "\n")
    if run.as_json:
        typer.echo(json.dumps(result.as_json()))
    else:
        _print_result(run.console, result)
    return result.complete


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(highlight=False)
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal)


def _print_result(console: Console, result: ImportResult) -> None:
    report = result.report
    table = Table(title="Imported", title_justify="left")
    for name in ("what", "created", "already there"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for what in dict.fromkeys([*report.created, *report.present]):
        table.add_row(what.replace("_", " "), str(report.created[what]), str(report.present[what]))
    console.print(table)
    for problem in report.problems[:_PROBLEMS_SHOWN]:
        console.print(f"{problem.file}:{problem.line}: {problem.reason}", soft_wrap=True)
    if len(report.problems) > _PROBLEMS_SHOWN:
        console.print(f"… and {len(report.problems) - _PROBLEMS_SHOWN} more; --report FILE writes them all")
    console.print("Took " + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in result.timings.items()))
    if result.delivery is None or result.books is None:
        return
    delivery, books = result.delivery, result.books
    total = len(delivery.states)
    rate = total / max(result.timings["place"], 0.001)
    console.print(f"Orders: {total} placed ({rate:.0f} a second), {total - len(delivery.undelivered)} delivered")
    promised = delivery.seconds_to_promised
    console.print(
        f"All promised {_seconds(promised)} after the last was placed, all done after {delivery.seconds:.1f} s"
    )
    for reason, count in Counter(delivery.open_reasons.values()).most_common(_PROBLEMS_SHOWN):
        console.print(f"{count} waiting: {reason}", soft_wrap=True)
    stock = "yes" if not books.faults else "NO: " + "; ".join(books.faults[:_PROBLEMS_SHOWN])
    console.print(f"Ledger balanced: {'yes' if books.balanced else 'NO'}; stock equals its ledger: {stock}")


def _seconds(value: float | None) -> str:
    return "not" if value is None else f"{value:.1f} s"

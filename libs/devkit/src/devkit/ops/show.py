"""How answers are printed: one JSON document, or tables for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document."""
    typer.echo(json.dumps(document, ensure_ascii=False, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Rows with these columns, or a sentence when there are none."""
    if not rows:
        console.print(nothing)
        return
    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(*(escape(_text(row[column])) for column in columns))
    console.print(table)


def print_errors(errors: Iterable[Mapping[str, str]]) -> None:
    """Who could not answer, one line each on standard error."""
    for error in errors:
        typer.echo(f"orderloop: {error['service']}: {error['error']}", err=True)


def dry(apply: bool) -> None:
    """Say that nothing was changed."""
    if not apply:
        console.print("Nothing was changed; add --apply to do it.")


def end(well: bool) -> None:
    """End the command with exit code 1 unless all is well."""
    if not well:
        raise typer.Exit(1)


def age(seconds: float | None) -> str:
    """A duration in the unit that fits it."""
    if seconds is None:
        return "-"
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _text(value: Any) -> str:
    return "-" if value is None else str(value)

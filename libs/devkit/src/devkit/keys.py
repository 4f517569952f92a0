"""`orderloop keys`: change the key that signs access tokens while everything runs, without refusing anybody."""

import json
from pathlib import Path
from typing import Annotated

import typer

from devkit.platform.signing import KeyRing
from devkit.platform.state import default_state_dir

keys_app = typer.Typer(
    help="Change the key that signs access tokens: `add`, wait 30 s, `use`, wait a token's life (15 min), `remove`.",
    no_args_is_help=True,
)
Folder = Annotated[
    Path | None, typer.Option(help="Holds signing-key.pem and jwks.json; by default the local platform's folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def _ring(folder: Path | None) -> KeyRing:
    return KeyRing(folder or default_state_dir())


@keys_app.command("list")
def list_keys(folder: Folder = None, as_json: AsJson = False) -> None:
    """Show the ids of the published keys and what each is for: signing, next or old."""
    ids = _ring(folder).ids()
    typer.echo(json.dumps({"keys": ids}) if as_json else "\n".join(f"{kid}  {role}" for kid, role in ids.items()))


@keys_app.command()
def add(folder: Folder = None, as_json: AsJson = False) -> None:
    """Announce a new key. Services read their key set again within 30 s; only then `use` it."""
    _say(_ring(folder).add(), "verifies from now on, and signs after `orderloop keys use`", as_json)


@keys_app.command()
def use(folder: Folder = None, as_json: AsJson = False) -> None:
    """Sign with the announced key from now on. Tokens of the old one are accepted until `remove`."""
    _say(_ring(folder).use(), "signs from now on", as_json)


@keys_app.command()
def remove(folder: Folder = None, as_json: AsJson = False) -> None:
    """Refuse tokens of keys that sign no longer, within 30 s; at once after a key was stolen."""
    removed = _ring(folder).remove()
    if as_json:
        typer.echo(json.dumps({"removed": removed}))
    else:
        typer.echo(f"removed {', '.join(removed)}" if removed else "there was no old key")


def _say(kid: str, what: str, as_json: bool) -> None:
    typer.echo(json.dumps({"key": kid}) if as_json else f"{kid} {what}")

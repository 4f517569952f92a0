"""Asking the services: each answers through its own command line, `orderloop` merges the answers."""

import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from devkit.platform import Platform, PlatformError
from devkit.platform.state import SERVICES, default_state_dir

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; without, only say what would be done.")]
OfService = Annotated[list[str] | None, typer.Option("--service", help="Only this service; repeat for more.")]
OfGroup = Annotated[str | None, typer.Option("--group", help="Only this consumer group, e.g. erp.loop.")]

_NOTHING_SUCH = "nothing_such"


@dataclass
class Answers:
    """What the services answered, by service, and which could not."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: list[dict[str, str]] = field(default_factory=list)
    # Whether every service that answered found all well.
    well: bool = True

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A list every service answers, merged; each row says whose it is."""
        return [{"service": service, **row} for service, document in self.documents.items() for row in document[name]]

    def found(self) -> "Answers":
        """These answers, of a verb that names one thing: who does not have it is left out.

        Raises PlatformError when nobody has it or somebody refuses.
        """
        refused = [error for error in self.errors if error["code"] != _NOTHING_SUCH]
        if refused or not self.documents:
            raise PlatformError((refused or self.errors)[0]["error"])
        return Answers(self.documents)


def local_platform() -> Platform:
    """The platform of this checkout or of ORDERLOOP_STATE."""
    return Platform(default_state_dir())


def chosen(services: Sequence[str] | None, group: str | None = None) -> list[str]:
    """The services asked for, or the one whose group it is, else all; raises a usage error for an unknown one."""
    wanted = list(services or []) or ([group.split(".", maxsplit=1)[0]] if group else list(SERVICES))
    if unknown := [name for name in wanted if name not in SERVICES]:
        raise typer.BadParameter(f"no service {unknown[0]}; there are {', '.join(SERVICES)}")
    return wanted


def ask(platform: Platform, services: Collection[str], *arguments: str, group: str | None = None) -> Answers:
    """Run the same operator command of several services at once."""
    narrowed = [*arguments, *(["--group", group] if group else []), "--json"]
    environments = {service: platform.service_environment(service) for service in services}
    with ThreadPoolExecutor(max(1, len(environments))) as pool:
        ran = list(pool.map(lambda service: _run(service, narrowed, environments[service]), environments))
    answers = Answers()
    for service, result in zip(environments, ran, strict=True):
        document = _document(service, result)
        del document["service"]
        if "error" in document:
            answers.errors.append({"service": service, **document})
        else:
            answers.documents[service] = document
            answers.well = answers.well and result.returncode == 0
    return answers


def _run(service: str, arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # Without the current folder on the path, where a folder might have the service's name.
    command = [sys.executable, "-P", "-m", service, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def _document(service: str, result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if result.returncode == 2:
        usage = result.stderr.strip().splitlines()[-1].split(": error: ", 1)[-1]
        raise typer.BadParameter(f"{service}: {usage}")
    try:
        return dict(json.loads(result.stdout))
    except ValueError as error:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise PlatformError(f"{service} gave no answer: {lines[-1]}") from error

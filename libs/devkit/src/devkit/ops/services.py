"""Asking the services: each answers an operator command as on its own command line, `orderloop` merges the answers."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
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
    """Ask several services the same at once, as their own command lines would answer in their environment."""
    from chassis.operations import command  # noqa: PLC0415  (other commands need not wait for the services)

    command.silence_logs("orderloop")
    narrowed = [*arguments, *(["--group", group] if group else [])]

    async def ask_all() -> list[command.Answer]:
        declared = [import_module(f"{name}.service").SERVICE for name in services]
        return await asyncio.gather(
            *(command.ask(one, _settings(one, platform.service_environment(one.name)), narrowed) for one in declared)
        )

    answers = Answers()
    try:
        answered = asyncio.run(ask_all())
    except command.UsageError as error:
        raise typer.BadParameter(str(error)) from error
    for service, (document, _) in zip(services, answered, strict=True):
        # As JSON has it: times and ids as text.
        plain = json.loads(json.dumps(document, default=command.plain))
        del plain["service"]
        if "error" in plain:
            answers.errors.append({"service": service, **plain})
        else:
            answers.documents[service] = plain
    return answers


def _settings(service: Any, environment: Mapping[str, str]) -> Any:
    """A service's settings from an environment that is not ours."""
    variables = {name: f"ORDERLOOP_{name.upper()}" for name in service.settings.model_fields}
    return service.settings(**{name: environment[it] for name, it in variables.items() if it in environment})

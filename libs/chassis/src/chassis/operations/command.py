"""Operator commands of a service's own command line, e.g. ``python -m erp parked release KEY --apply``.

Each prints one answer, as JSON with ``--json``. What would change something only says so, unless ``--apply`` is given.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from aiokafka.errors import KafkaError

from chassis import logs
from chassis.db import Database, is_unavailable
from chassis.messaging.handlers import Consumer
from chassis.operations import letters, outbox, parked, projection
from chassis.operations.errors import NothingSuch, OperationError
from chassis.operations.invariants import violations
from chassis.operations.reading import Cluster
from chassis.service import Service
from chassis.settings import ServiceSettings

_PROGRESS_EVENTS = 10_000


@dataclass(frozen=True)
class Desk:
    """What an operator command works on."""

    service: Service
    database: Database
    cluster: Cluster
    consumers: Sequence[Consumer]
    asked: argparse.Namespace

    def changed(self, name: str, rows: Any) -> dict[str, Any]:
        """The answer of a command that changes something when told to."""
        return {"applied": self.asked.apply, name: rows}


# The answer, and whether all is well.
Answer = tuple[dict[str, Any], bool]
Action = Callable[[Desk], Awaitable[Answer]]
Arguments = Mapping[str, Mapping[str, Any]]
Verbs = Mapping[str, tuple[Action, str, Arguments]]


def declare(roles: "argparse._SubParsersAction[Any]", service: Service) -> None:
    """Add the operator commands of a service beside its roles."""
    groups = [consumer.group for consumer in service.consumers]
    of_group: Arguments = {"--group": {"choices": groups, "help": "only this group"}}
    change: Arguments = {"--apply": {"action": "store_true", "help": "do it; without, only say what would be done"}}
    row: Arguments = {"id": {"type": int, "help": "the row's id, as `outbox status` shows it"}, **change}
    event: Arguments = {"id": {"type": UUID, "help": "the event's id, as `dlt list` shows it"}, **of_group}
    key: Arguments = {"key": {"help": "the aggregate's id, as `parked list` shows it"}, **of_group, **change}
    nouns: dict[str, Verbs] = {
        "outbox": {
            "status": (_outbox_status, "what waits to be published, and who publishes", {}),
            "retry": (_outbox_retry, "let the relay try a parked row again", row),
            "skip": (_outbox_skip, "remove a parked row: nobody will hear of this event", row),
        },
        "dlt": {
            "list": (_letters, "dead-lettered events and what became of them", of_group),
            "show": (_letter, "one dead-lettered event whole", event),
            "replay": (_letter_replay, "publish it again; who has applied it passes it over", {**event, **change}),
            "skip": (_letter_skip, "give it up for good", {**event, **change}),
        },
        "parked": {
            "list": (_parked_list, "aggregates whose events wait", of_group),
            "release": (_parked_release, "apply what waits, in order; without --apply, try it", key),
            "skip": (_parked_skip, "give up the first event that waits", key),
        },
    }
    if names := list(service.projections):
        name: Arguments = {"name": {"nargs": "?", "choices": names, "default": names[0]}}
        nouns["projection"] = {
            "verify": (_projection_verify, "rebuild it beside the live one and list where they differ", name),
            "rebuild": (_projection_rebuild, "rebuild it and put it in the live one's place", {**name, **change}),
        }
    for noun, verbs in nouns.items():
        made = roles.add_parser(noun, help=", ".join(verbs)).add_subparsers(dest="verb", required=True, metavar="VERB")
        for verb, declared in verbs.items():
            _verb(made, verb, *declared)
    _verb(roles, "invariants", _invariants, "conservation laws that do not hold", {})


def run(service: Service, settings: ServiceSettings, asked: argparse.Namespace) -> int:
    """Run the chosen command and print its answer; returns the exit code."""
    silence_logs(service.name)
    answer, well = asyncio.run(_answer(service, settings, asked))
    if asked.as_json or "error" not in answer:
        _print(answer, asked.as_json)
    if "error" in answer:
        sys.stderr.write(f"{service.name}: {answer['error']}\n")
    return 0 if well else 1


async def ask(service: Service, settings: ServiceSettings, arguments: Sequence[str]) -> Answer:
    """The answer to an operator command, and whether all is well; an error is answered as `error` and `code`.

    Raises UsageError.
    """
    parser = _Parser(prog=service.name)
    declare(parser.add_subparsers(dest="role", required=True), service)
    return await _answer(service, settings, parser.parse_args(arguments))


def silence_logs(name: str) -> None:
    """Answers and their errors are all an operator reads."""
    logs.configure(name, "CRITICAL", sys.stderr)
    logging.disable(logging.CRITICAL)


class UsageError(Exception):
    """The command is not said right; the message says what is wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


async def _answer(service: Service, settings: ServiceSettings, asked: argparse.Namespace) -> Answer:
    wanted = getattr(asked, "group", None)
    desk = Desk(
        service,
        Database(settings.database_url, service.name, settings.database_pool),
        Cluster(settings.kafka, settings.kafka_security),
        [consumer for consumer in service.consumers if wanted in (None, consumer.group)],
        asked,
    )
    action: Action = asked.action
    try:
        answer, well = await action(desk)
    except NothingSuch as error:
        return _error(service, "nothing_such", str(error))
    except OperationError as error:
        return _error(service, "refused", str(error))
    except Exception as error:
        if not is_unavailable(error) and not isinstance(error, KafkaError):
            raise
        return _error(service, "unavailable", f"{type(error).__name__}: {error}")
    finally:
        await desk.database.dispose()
    return {"service": service.name, **answer}, well


def _error(service: Service, code: str, message: str) -> Answer:
    # An error's text may have several lines; an operator reads one.
    return {"service": service.name, "error": " ".join(message.split()), "code": code}, False


def _verb(
    parsers: "argparse._SubParsersAction[Any]",
    verb: str,
    action: Action,
    text: str,
    arguments: Arguments,
) -> None:
    parser = parsers.add_parser(verb, help=text, description=text)
    for name, options in arguments.items():
        parser.add_argument(name, **options)
    parser.add_argument("--json", dest="as_json", action="store_true", help="print one JSON document")
    parser.set_defaults(action=action)


async def _outbox_status(desk: Desk) -> Answer:
    return await outbox.status(desk.database), True


async def _outbox_retry(desk: Desk) -> Answer:
    return desk.changed("row", await outbox.retry(desk.database, desk.asked.id, desk.asked.apply)), True


async def _outbox_skip(desk: Desk) -> Answer:
    return desk.changed("row", await outbox.skip(desk.database, desk.asked.id, desk.asked.apply)), True


async def _letters(desk: Desk) -> Answer:
    found = await letters.letters(desk.cluster, desk.database, desk.consumers)
    return {"letters": [letter.document() for letter in found]}, True


async def _letter(desk: Desk) -> Answer:
    found = await letters.named(desk.cluster, desk.database, desk.consumers, desk.asked.id)
    return {"letters": [letter.document(full=True) for letter in found]}, True


async def _letter_replay(desk: Desk) -> Answer:
    asked = desk.asked
    done = await letters.replay(desk.cluster, desk.database, desk.consumers, asked.id, asked.apply)
    return desk.changed("letters", done), True


async def _letter_skip(desk: Desk) -> Answer:
    asked = desk.asked
    done = await letters.skip(desk.cluster, desk.database, desk.consumers, asked.id, asked.apply)
    return desk.changed("letters", done), True


async def _parked_list(desk: Desk) -> Answer:
    found = await parked.parked_keys(desk.database, desk.consumers)
    return {"parked": [parked.document(one) for one in found]}, True


async def _parked_release(desk: Desk) -> Answer:
    done = await parked.release(desk.database, desk.consumers, desk.asked.key, desk.asked.apply)
    return desk.changed("parked", done), True


async def _parked_skip(desk: Desk) -> Answer:
    done = await parked.skip(desk.database, desk.consumers, desk.asked.key, desk.asked.apply)
    return desk.changed("parked", done), True


async def _projection_verify(desk: Desk) -> Answer:
    report = await projection.verify(
        desk.cluster, desk.database, desk.service.projections[desk.asked.name], _Progress()
    )
    return _report(desk, report), report.equal


async def _projection_rebuild(desk: Desk) -> Answer:
    declared = desk.service.projections[desk.asked.name]
    work = projection.rebuild if desk.asked.apply else projection.verify
    report = await work(desk.cluster, desk.database, declared, _Progress())
    return {"applied": desk.asked.apply, **_report(desk, report)}, True


def _report(desk: Desk, report: projection.Report) -> dict[str, Any]:
    return {
        "projection": desk.asked.name,
        "events": report.events,
        "rows": report.rows,
        "equal": report.equal,
        "differences": report.differences,
    }


class _Progress:
    """Tells every so many events that the work goes on."""

    def __init__(self) -> None:
        self._next = _PROGRESS_EVENTS

    def __call__(self, events: int) -> None:
        if events >= self._next:
            sys.stderr.write(f"{events} events\n")
            self._next = events + _PROGRESS_EVENTS


async def _invariants(desk: Desk) -> Answer:
    found = await violations(desk.database, desk.service.invariants)
    return {"laws": found}, not any(found.values())


def _print(answer: Mapping[str, Any], as_json: bool) -> None:
    text = json.dumps(answer, default=plain, ensure_ascii=False) if as_json else "\n".join(_lines(answer, ""))
    sys.stdout.write(text + "\n")


def plain(value: Any) -> str:
    """A value JSON has no form for, as text."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _lines(value: Any, indent: str) -> list[str]:
    """Nested values, one a line, for people."""
    lines = []
    for name, part in value.items() if isinstance(value, Mapping) else (("-", part) for part in value):
        if isinstance(part, Mapping | list) and part:
            lines += [f"{indent}{name}", *_lines(part, indent + "  ")]
        else:
            lines.append(f"{indent}{name} {plain(part)}")
    return lines

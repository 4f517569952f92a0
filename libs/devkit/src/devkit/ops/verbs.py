"""`orderloop lag|outbox|dlt|parked|replay|projection|invariants|topics|schemas`."""

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from devkit.ops.services import Answers, Apply, AsJson, OfGroup, OfService, ask, chosen, local_platform
from devkit.ops.show import age, console, dry, end, print_errors, print_json, print_table
from devkit.platform import PlatformError

outbox_app = typer.Typer(help="Events that wait to be published.", no_args_is_help=True)
dlt_app = typer.Typer(help="Events a consumer gave up.", no_args_is_help=True)
parked_app = typer.Typer(help="Aggregates whose events wait behind one that failed.", no_args_is_help=True)
projection_app = typer.Typer(help="Read models that can be built anew from their topics.", no_args_is_help=True)
topics_app = typer.Typer(help="Kafka's topics against their declaration.", no_args_is_help=True)
schemas_app = typer.Typer(help="The published schemas.", no_args_is_help=True)

GROUPS = {
    "outbox": outbox_app,
    "dlt": dlt_app,
    "parked": parked_app,
    "projection": projection_app,
    "topics": topics_app,
    "schemas": schemas_app,
}
_LETTER = ("state", "group", "topic", "key", "type", "id", "error", "letters")
_PARKED = ("group", "topic", "key", "waiting", "since", "first_type", "reason")


def lag(as_json: AsJson = False) -> None:
    """How far each consumer group is behind on each topic, and how old its oldest unapplied event is."""
    from chassis.operations.groups import lags  # noqa: PLC0415
    from chassis.operations.reading import Cluster  # noqa: PLC0415
    from devkit.ops.lookup import groups  # noqa: PLC0415

    rows = [one.document() for one in asyncio.run(lags(Cluster(local_platform().kafka), groups()))]
    if as_json:
        print_json({"lag": rows, "total": sum(row["lag"] for row in rows)})
        return
    shown = [{**row, "oldest": age(row["oldest_age_seconds"])} for row in rows]
    print_table(shown, ("group", "topic", "members", "lag", "oldest"), "no consumer group")


@outbox_app.command("status")
def outbox_status(service: OfService = None, as_json: AsJson = False) -> None:
    """What waits to be published, what can never be sent, how old the oldest is, and who publishes."""
    answers = ask(local_platform(), chosen(service), "outbox", "status")
    rows = [{"service": name, **document} for name, document in answers.documents.items()]
    if as_json:
        print_json({"outboxes": rows, "errors": answers.errors})
    else:
        shown = [
            {
                **row,
                "oldest": age(row["oldest_age_seconds"]),
                "parked": len(row["parked"]),
                "leader": f"{row['leader']['application']} (pid {row['leader']['pid']})" if row["leader"] else "NONE",
            }
            for row in rows
        ]
        print_table(shown, ("service", "pending", "parked", "oldest", "leader"), "no outbox")
        stuck = [{"service": row["service"], **parked} for row in rows for parked in row["parked"]]
        if stuck:
            print_table(stuck, ("service", "id", "topic", "key", "type", "bytes", "reason"), "")
        print_errors(answers.errors)
    end(not answers.errors)


def _outbox_act(verb: str, row: int, service: str, apply: bool, as_json: bool) -> None:
    arguments = ("outbox", verb, str(row), *(["--apply"] if apply else []))
    document = ask(local_platform(), chosen([service]), *arguments).found().documents[service]
    if as_json:
        print_json({"service": service, **document})
        return
    print_table([document["row"]], ("id", "topic", "key", "type", "done", "reason"), "")
    dry(apply)


Row = Annotated[int, typer.Argument(help="The row's id, as `outbox status` shows it.")]
OneService = Annotated[str, typer.Option("--service", help="The service whose outbox it is.")]


@outbox_app.command("retry")
def outbox_retry(row: Row, service: OneService, apply: Apply = False, as_json: AsJson = False) -> None:
    """Let the relay try a parked row again."""
    _outbox_act("retry", row, service, apply, as_json)


@outbox_app.command("skip")
def outbox_skip(row: Row, service: OneService, apply: Apply = False, as_json: AsJson = False) -> None:
    """Remove a parked row: nobody will ever hear of this event."""
    _outbox_act("skip", row, service, apply, as_json)


@dlt_app.command("list")
def dlt_list(service: OfService = None, group: OfGroup = None, as_json: AsJson = False) -> None:
    """Dead-lettered events and what became of each: waiting (parked), replayable, unreadable, applied, skipped."""
    answers = ask(local_platform(), chosen(service, group), "dlt", "list", group=group)
    _print_list(answers, "letters", _LETTER, "no dead letters", as_json)


EventId = Annotated[str, typer.Argument(help="The event's id, as `dlt list` shows it.")]


@dlt_app.command("show")
def dlt_show(event_id: EventId, group: OfGroup = None, as_json: AsJson = False) -> None:
    """One dead-lettered event whole: why, where from, headers and value."""
    answers = ask(local_platform(), chosen(None, group), "dlt", "show", event_id, group=group).found()
    if as_json:
        print_json({"letters": answers.rows("letters")})
        return
    for letter in answers.rows("letters"):
        console.print_json(data=letter)


@dlt_app.command("replay")
def dlt_replay(event_id: EventId, group: OfGroup = None, apply: Apply = False, as_json: AsJson = False) -> None:
    """Publish an event again with its key, headers and id; who has applied it passes it over."""
    _act(("dlt", "replay", event_id), "letters", _LETTER, group=group, apply=apply, as_json=as_json)


@dlt_app.command("skip")
def dlt_skip(event_id: EventId, group: OfGroup = None, apply: Apply = False, as_json: AsJson = False) -> None:
    """Give an event up for good: it is never applied, also when it is published again."""
    _act(("dlt", "skip", event_id), "letters", _LETTER, group=group, apply=apply, as_json=as_json)


@parked_app.command("list")
def parked_list(service: OfService = None, group: OfGroup = None, as_json: AsJson = False) -> None:
    """Aggregates whose events wait, since when, why, and how many."""
    answers = ask(local_platform(), chosen(service, group), "parked", "list", group=group)
    _print_list(answers, "parked", _PARKED, "no parked keys", as_json)


Key = Annotated[str, typer.Argument(help="The aggregate's id, as `parked list` shows it.")]


@parked_app.command("release")
def parked_release(key: Key, group: OfGroup = None, apply: Apply = False, as_json: AsJson = False) -> None:
    """Apply what waits, in order. Without --apply it is tried and rolled back, so you see whether it would work."""
    columns = ("group", "topic", "key", "waiting", "applied")
    _act(("parked", "release", key), "parked", columns, group=group, apply=apply, as_json=as_json)


@parked_app.command("skip")
def parked_skip(key: Key, group: OfGroup = None, apply: Apply = False, as_json: AsJson = False) -> None:
    """Give up the first event that waits, for good; release the key for the others."""
    columns = ("group", "topic", "key", "skipped", "waiting")
    _act(("parked", "skip", key), "parked", columns, group=group, apply=apply, as_json=as_json)


def replay(
    group: Annotated[str, typer.Option(help="The consumer group to set back, e.g. crm.order-state.")],
    start: Annotated[str, typer.Option("--from", help="beginning, a time (2026-11-23T05:00:00Z), or an offset.")],
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; repeat for more.")] = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Set a stopped consumer group back, so that it reads events again when it starts.

    What it has applied it knows by its inbox and passes over, so effects still happen once; to build a read model anew
    use `projection rebuild`.
    """
    from chassis.operations.errors import OperationError  # noqa: PLC0415
    from chassis.operations.groups import rewind  # noqa: PLC0415
    from chassis.operations.reading import Cluster  # noqa: PLC0415
    from devkit.ops.lookup import groups  # noqa: PLC0415

    known = groups()
    if group not in known:
        raise typer.BadParameter(f"no group {group}; there are {', '.join(known)}", param_hint="--group")
    if unknown := [name for name in topic or [] if name not in known[group]]:
        raise typer.BadParameter(f"{group} does not read {unknown[0]}", param_hint="--topic")
    begin = _start(start)
    try:
        plan = asyncio.run(rewind(Cluster(local_platform().kafka), group, topic or known[group], begin, apply))
    except OperationError as error:
        raise PlatformError(str(error)) from error
    rows = [one.document() for one in plan]
    if as_json:
        print_json({"applied": apply, "group": group, "partitions": rows, "events": sum(row["events"] for row in rows)})
        return
    print_table(rows, ("topic", "partition", "offset", "new_offset", "events"), f"{group} is there already")
    dry(apply)


def _start(text: str) -> datetime | int | None:
    if text == "beginning":
        return None
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("say beginning, a time or an offset", param_hint="--from") from None
    if moment.tzinfo is None:
        raise typer.BadParameter("a time needs its zone, e.g. 2026-11-23T05:00:00Z", param_hint="--from")
    return moment


@projection_app.command("verify")
def projection_verify(as_json: AsJson = False) -> None:
    """Build the order-status view anew beside the live one and list where they differ; changes nothing."""
    answers = ask(local_platform(), ["gateway"], "projection", "verify").found()
    _print_projection(answers.documents["gateway"], as_json)
    end(answers.documents["gateway"]["equal"])


@projection_app.command("rebuild")
def projection_rebuild(apply: Apply = False, as_json: AsJson = False) -> None:
    """Build the order-status view anew and put it in the live one's place; without --apply only compare."""
    answers = ask(local_platform(), ["gateway"], "projection", "rebuild", *(["--apply"] if apply else [])).found()
    _print_projection(answers.documents["gateway"], as_json)
    if not as_json:
        dry(apply)


def _print_projection(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    rows = [{"table": table, "rows": count} for table, count in document["rows"].items()]
    console.print(f"{document['projection']}: {document['events']} events folded")
    print_table(rows, ("table", "rows"), "no tables")
    print_table(document["differences"], ("table", "in_all", "live", "rebuilt"), "live and rebuilt are equal")


def invariants(
    service: OfService = None,
    settle: Annotated[float, typer.Option(min=0, help="Seconds to wait for events under way.")] = 15.0,
    as_json: AsJson = False,
) -> None:
    """The conservation laws of each service and, when all are asked, between them; fails when one is broken."""
    from devkit.ops import laws  # noqa: PLC0415

    platform, services = local_platform(), chosen(service)
    answers = ask(platform, services, "invariants")
    found = {
        f"{name}: {law}": said for name, answer in answers.documents.items() for law, said in answer["laws"].items()
    }
    if not service and not answers.errors:
        between = asyncio.run(laws.broken({name: platform.database_url(name) for name in services}, settle))
        found |= {f"between services: {law}": said for law, said in between.items()}
    violations = sum(len(said) for said in found.values())
    if as_json:
        print_json({"laws": found, "violations": violations, "errors": answers.errors})
    else:
        rows = [
            {"law": law, "holds": "no" if said else "yes", "broken_by": "\n".join(said[:5])}
            for law, said in found.items()
        ]
        print_table(rows, ("law", "holds", "broken_by"), "no laws")
        print_errors(answers.errors)
    end(not violations and not answers.errors)


@topics_app.command("plan")
def topics_plan(as_json: AsJson = False) -> None:
    """Where Kafka's topics differ from their declaration; fails when one does."""
    _print_topics(_differences(), as_json)


@topics_app.command("apply")
def topics_apply(as_json: AsJson = False) -> None:
    """Create what is missing and mend settings; a partition count is never changed, that is a migration."""
    from chassis.messaging.provisioner import ensure_topics  # noqa: PLC0415
    from chassis.operations.command import silence_logs  # noqa: PLC0415
    from contracts.topics import TOPICS  # noqa: PLC0415
    from devkit.ops.lookup import consumers  # noqa: PLC0415

    silence_logs("orderloop")
    asyncio.run(ensure_topics(local_platform().kafka, TOPICS, consumers()))
    _print_topics(_differences(), as_json)


def _differences() -> list[dict[str, Any]]:
    from chassis.messaging.provisioner import topic_differences  # noqa: PLC0415
    from contracts.topics import TOPICS  # noqa: PLC0415
    from devkit.ops.lookup import consumers  # noqa: PLC0415

    found = asyncio.run(topic_differences(local_platform().kafka, TOPICS, consumers()))
    return [asdict(one) for one in found]


def _print_topics(found: list[dict[str, Any]], as_json: bool) -> None:
    wrong = [one for one in found if one["kind"] != "undeclared"]
    if as_json:
        print_json({"differences": found})
    else:
        print_table(found, ("topic", "kind", "declared", "actual"), "every topic is as declared")
    end(not wrong)


@schemas_app.command("check")
def schemas_check(as_json: AsJson = False) -> None:
    """Whether a released schema was broken or a generated file is stale; needs a checkout."""
    from schema_tools import compatibility, files  # noqa: PLC0415
    from schema_tools.jsonschemas import published_schemas  # noqa: PLC0415

    stale = [f"{path} is stale: run make schemas" for path in files.stale()]
    found = compatibility.findings(files.released(), published_schemas()) + stale
    if as_json:
        print_json({"findings": found})
    else:
        for finding in found:
            typer.echo(finding)
        if not found:
            typer.echo("the schemas are compatible with the released ones, and every generated file is current")
    end(not found)


def _print_list(answers: Answers, name: str, columns: tuple[str, ...], nothing: str, as_json: bool) -> None:
    if as_json:
        print_json({name: answers.rows(name), "errors": answers.errors})
    else:
        print_table(answers.rows(name), columns, nothing)
        print_errors(answers.errors)
    end(not answers.errors)


def _act(
    arguments: tuple[str, ...],
    name: str,
    columns: tuple[str, ...],
    *,
    group: str | None,
    apply: bool,
    as_json: bool,
) -> None:
    told = (*arguments, *(["--apply"] if apply else []))
    answers = ask(local_platform(), chosen(None, group), *told, group=group).found()
    if as_json:
        print_json({"applied": apply, name: answers.rows(name)})
        return
    print_table(answers.rows(name), columns, "nothing")
    dry(apply)

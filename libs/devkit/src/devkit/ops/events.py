"""`orderloop events`: reading the event topics."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

import httpx
import typer
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.markup import escape

from devkit.ops.services import local_platform
from devkit.ops.show import end, print_json
from devkit.platform import Platform, PlatformError

events_app = typer.Typer(help="Look into the event topics.", no_args_is_help=True)
_VALUE_WIDTH = 160
_POLL_MS = 500


@events_app.callback()
def _group() -> None:
    """Look into the event topics."""


@events_app.command()
def tail(
    *,
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; repeat for more.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="Only this event type, e.g. crm.OrderPlaced.v1.")] = None,
    order: Annotated[str | None, typer.Option(help="Only events of this order, by number or id.")] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest event.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    max: Annotated[int | None, typer.Option("--max", min=1, help="End after so many events.")] = None,
) -> None:
    """Print events as they come, until Ctrl-C."""
    from contracts.topics import TOPICS  # noqa: PLC0415  (a third of a second other commands need not wait)

    known = [each.name for each in TOPICS]
    if unknown := [name for name in topic or [] if name not in known]:
        raise typer.BadParameter(f"no topic {unknown[0]}; there are {', '.join(known)}", param_hint="--topic")
    platform = local_platform()
    correlation = _order_id(platform, order) if order else None
    wanted = _Filter(frozenset(type or []), correlation)
    with suppress(KeyboardInterrupt):
        asyncio.run(
            _print_events(
                platform.kafka, topic or known, wanted, from_beginning=from_beginning, as_json=as_json, limit=max
            )
        )


@events_app.command()
def get(
    event_id: Annotated[uuid.UUID, typer.Argument(help="The event's id (ce_id).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Find one event wherever it is, dead letters included; more than once when it was published again."""
    from devkit.ops import lookup  # noqa: PLC0415  (a second other commands need not wait)

    platform = local_platform()
    found = [describe(record) for record in asyncio.run(lookup.records_of(platform.kafka, str(event_id)))]
    if as_json:
        print_json({"events": found})
    else:
        console = Console(highlight=False, soft_wrap=True)
        for event in found:
            console.print(_line(event, whole=True))
        if not found:
            console.print(f"no topic has an event {event_id}")
    end(bool(found))


@events_app.command()
def trace(
    order: Annotated[str, typer.Argument(help="The order, by number or id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Print the causal tree of one order: what followed from what, where and when."""
    from devkit.ops import lookup  # noqa: PLC0415  (a second other commands need not wait)

    platform = local_platform()
    traced = asyncio.run(lookup.trace_of(platform.kafka, _order_id(platform, order)))
    if as_json:
        print_json({"order_id": traced.order_id, "events": traced.document()})
    else:
        Console(highlight=False, soft_wrap=True).print(traced.tree())
    end(bool(traced.events))


class _Filter:
    """Which events to show."""

    def __init__(self, types: frozenset[str], correlation: str | None) -> None:
        self._types = types
        self._correlation = correlation

    def __call__(self, event: dict[str, Any]) -> bool:
        if self._types and event["type"] not in self._types:
            return False
        return self._correlation is None or self._correlation in (event["correlationid"], event["subject"])


async def _print_events(
    bootstrap: str, topics: list[str], wanted: _Filter, *, from_beginning: bool, as_json: bool, limit: int | None
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    async with aclosing(_records(bootstrap, topics, from_beginning)) as records:
        async for record in records:
            event = describe(record)
            if not wanted(event):
                continue
            if as_json:
                typer.echo(json.dumps(event))
            else:
                console.print(_line(event))
            shown += 1
            if shown == limit:
                return


async def _records(bootstrap: str, topics: list[str], from_beginning: bool) -> AsyncGenerator[ConsumerRecord, None]:
    begin = "earliest" if from_beginning else "latest"
    # Without a group every partition is ours and nothing is committed: looking leaves no trace.
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, auto_offset_reset=begin)
    try:
        await consumer.start()
    except KafkaError as error:
        await consumer.stop()
        raise PlatformError(f"Kafka at {bootstrap} does not answer: is `orderloop up` done?") from error
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            for record in sorted((r for batch in fetched.values() for r in batch), key=lambda r: r.timestamp):
                yield record
    finally:
        await consumer.stop()


def describe(record: ConsumerRecord) -> dict[str, Any]:
    """A Kafka record as a CloudEvent with its place in Kafka; a value that is no JSON is given as text."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    text = (record.value or b"").decode(errors="replace")
    try:
        data = json.loads(text)
    except ValueError:
        data = text
    fields = ("id", "type", "source", "time", "subject", "correlationid", "causationid")
    return {
        **{field: headers.get(f"ce_{field}") for field in fields},
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key.decode(errors="replace") if record.key is not None else None,
        "data": data,
    }


def _line(event: dict[str, Any], whole: bool = False) -> str:
    value = json.dumps(event["data"], ensure_ascii=False, indent=2 if whole else None)
    if len(value) > _VALUE_WIDTH and not whole:
        value = value[: _VALUE_WIDTH - 1] + "…"
    place = f"{event['topic']}[{event['partition']}]@{event['offset']}"
    return (
        f"[dim]{event['time']}[/dim] [bold cyan]{event['type']}[/bold cyan] {escape(str(event['key']))} "
        f"[dim]{escape(place)} id={event['id']} cause={event['causationid']}[/dim]\n  {escape(value)}"
    )


def _order_id(platform: Platform, order: str) -> str:
    """The id of an order given by id or number; raises PlatformError when the gateway does not know it."""
    with suppress(ValueError):
        return str(uuid.UUID(order))
    client = platform.client("admin")
    try:
        with httpx.Client(base_url=platform.gateway_url, timeout=15, trust_env=False) as http:
            form = {"grant_type": "client_credentials", **client.model_dump()}
            token = http.post("/oauth/token", data=form).raise_for_status().json()["access_token"]
            answer = http.get(f"/v1/orders/{order}", headers={"Authorization": f"Bearer {token}"})
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise PlatformError(f"there is no order {order}")
            return str(answer.raise_for_status().json()["id"])
    except httpx.HTTPError as error:
        raise PlatformError(f"cannot look up order {order}: {error}") from error

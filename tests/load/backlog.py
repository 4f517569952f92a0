"""What a consumer finds when it was away: the published examples, copied with fresh ids, as many as are wanted."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from chassis.clock import new_id, now
from chassis.events import EventMeta
from chassis.messaging.kafka import make_producer
from contracts.envelope import Event
from contracts.topics import EVENTS

_EXAMPLES = Path(__file__).parents[2] / "schemas/examples"
_IDS = re.compile(r"019abc00-([0-9a-f]{4})-7000-8000-[0-9a-f]{12}")
_NUMBERS = re.compile(r"\b(SO|WO|PL|SH|PO|B|L|NT|DF|IN)-(\d{6})\b")
_IN_FLIGHT = 1000


@cache
def _example(type_: str) -> str:
    return sorted((_EXAMPLES / type_).glob("*.json"))[0].read_text()


def copy(type_: str, nth: int, **fields: Any) -> Event:
    """The first published example of a type with the ids and numbers of this copy, and these fields."""
    text = _IDS.sub(rf"019abc00-\1-7000-8000-{nth:012x}", _example(type_))
    text = _NUMBERS.sub(rf"\1-\2-{nth}", text)
    return EVENTS[type_].model_validate(json.loads(text) | fields)


def for_gateway() -> Iterator[Event]:
    """The stories of orders nobody has heard of, ten events each."""
    types = (
        "crm.OrderPlaced.v1 erp.OrderPromised.v1 erp.FulfilmentChanged.v1 erp.PlanReleased.v1 mes.WorkOrderCreated.v1 "
        "mes.WorkOrderScheduled.v1 mes.OperationStarted.v1 mes.BatchCompleted.v1 erp.ShipmentShipped.v1 "
        "erp.InvoicePosted.v1"
    )
    number = 0
    while True:
        number += 1
        for type_ in types.split():
            yield copy(type_, number)


def for_crm(orders: Sequence[tuple[str, str]]) -> Iterator[Event]:
    """What is reported of these orders (id, number), ten events each."""
    peg = {"line": 1, "quantity": "1"}
    for number, (order_id, order) in enumerate(orders):
        known = {"order_id": order_id, "order": order}
        yield copy("erp.FulfilmentChanged.v1", number, **known, state="open", aggregate_version=1)
        yield copy("erp.OrderPromised.v1", number, **known, aggregate_version=2)
        yield copy("mes.WorkOrderScheduled.v1", number, pegs=[known | peg])
        yield copy("mes.OperationStarted.v1", number, pegs=[known | peg])
        yield copy("mes.ProductionProgressed.v1", number, pegs=[known | peg])
        for version in (3, 4):
            yield copy("erp.PromiseRevised.v1", number, **known, aggregate_version=version)
        yield copy("erp.FulfilmentChanged.v1", number, **known, state="allocated", aggregate_version=5)
        yield copy("erp.ShipmentShipped.v1", number, **known)
        yield copy("erp.FulfilmentChanged.v1", number, **known, state="shipped", aggregate_version=6)


def for_mes() -> Iterator[Event]:
    """Stock moves, and now and then a plan, which then changes."""
    number = 0
    while True:
        number += 1
        item = f"ITEM-{number % 1000}"
        fields = {"item": item, "lot": f"{item}-{number // 5000}", "reason": "receipt", "quantity": "1"}
        yield copy("erp.StockMoved.v1", number, **fields)
        if number % 100 == 0:
            yield copy("erp.PlanReleased.v1", number)
            yield copy("erp.PlanChanged.v1", number, aggregate_version=2)
            yield copy("erp.PlanCancelled.v1", number, aggregate_version=3)


def for_erp(plans: Sequence[UUID], item: str) -> Iterator[Event]:
    """What the shop floor tells of running plans: mostly moved schedules; one event in a hundred is a new order."""
    number = 0
    while True:
        number += 1
        order = {"line": 1, "item": item, "quantity": "1", "unit_price": "1"}
        ids = {"order_id": str(new_id()), "number": f"SO-B-{number}", "requested_date": str(now().date())}
        yield copy("crm.OrderPlaced.v1", number, **ids, lines=[order])
        for step in range(33):
            of = {"plan_id": str(plans[(number * 33 + step) % len(plans)]), "aggregate_version": number * 100 + step}
            end = now() + timedelta(hours=number % 7 + step)
            yield copy("mes.WorkOrderScheduled.v1", number, **of, planned_end=end.isoformat())
            yield copy("mes.OperationStarted.v1", number, **of)
            yield copy("mes.ProductionProgressed.v1", number, **of)


async def produce(kafka: str, events: Iterator[Event], how_many: int) -> int:
    """Put so many events, or as many as there are, into their topics; returns how many."""
    producer = make_producer(kafka, "backlog")
    await producer.start()
    made = 0
    try:
        while batch := list(islice(events, min(_IN_FLIGHT, how_many - made))):
            sent = [await producer.send(e.TOPIC, _value(e), e.key.encode(), headers=_headers(e)) for e in batch]
            for future in sent:
                await future
            made += len(batch)
    finally:
        await producer.stop()
    return made


def _value(event: Event) -> bytes:
    return event.model_dump_json().encode()


def _headers(event: Event) -> list[tuple[str, bytes]]:
    meta = EventMeta(new_id(), event.TYPE, "backlog", now(), event.key, correlation_id=event.key)
    return [(name, value.encode()) for name, value in meta.headers().items()]

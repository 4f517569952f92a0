"""The history of a running platform: what to read, and the folds its consumers' states must equal."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from chassis.clock import now
from contracts import crm, erp, mes
from contracts.topics import TOPICS
from crm.service import SERVICE as CRM
from devkit.platform import Platform
from erp.service import SERVICE as ERP
from gateway.service import SERVICE as GATEWAY
from history.databases import read_messaging
from history.folds import Fold, State
from history.model import Command, Group, History, Injected, Record, Run
from history.plant import read_plant
from history.topics import read_dead_letters, read_offsets, read_records
from mes.service import SERVICE as MES

SERVICES = (CRM, ERP, MES, GATEWAY)
GROUPS = tuple(
    Group(consumer.group, consumer.topics, tuple(sorted(event.TYPE for event in consumer.handlers)))
    for service in SERVICES
    for consumer in service.consumers
)
# The schedule moves when time passes, with nobody's doing.
SPONTANEOUS = (mes.WorkOrderScheduled.TYPE,)


def _total(
    entries: Callable[[dict[str, Any], Record], Iterable[tuple[str, Any]]],
) -> Callable[[Sequence[Record]], State]:
    """A fold that adds up the entries of every event."""

    def state(records: Sequence[Record]) -> State:
        found: State = defaultdict(Decimal)
        for record in records:
            for key, amount in entries(json.loads(record.payload or "{}"), record):
                found[key] += Decimal(str(amount))
        return found

    return state


def _latest(entries: Callable[[dict[str, Any]], Iterable[tuple[str, Any]]]) -> Callable[[Sequence[Record]], State]:
    """A fold of events that carry the whole state: the highest version of each key says it all."""

    def state(records: Sequence[Record]) -> State:
        newest: dict[str | None, Record] = {}
        for record in records:
            known = newest.get(record.key)
            if known is None or (record.aggregate_version or 0) > (known.aggregate_version or 0):
                newest[record.key] = record
        return {
            key: Decimal(str(amount))
            for record in newest.values()
            for key, amount in entries(json.loads(record.payload or "{}"))
        }

    return state


def _types(*events: Any) -> frozenset[str]:
    return frozenset(event.TYPE for event in events)


FOLDS = (
    Fold(
        "erp receipts of batches",
        "erp.loop",
        _types(mes.BatchCompleted),
        _total(lambda batch, _: [(lot["lot"], lot["quantity"]) for lot in batch["lots_out"]]),
    ),
    Fold(
        "erp shipments",
        None,
        _types(erp.ShipmentShipped),
        _total(lambda shipment, record: [(record.event_id, line["quantity"]) for line in shipment["lines"]]),
    ),
    Fold("erp orders", "erp.loop", _types(crm.OrderPlaced), _total(lambda order, _: [(order["order_id"], 1)])),
    Fold("mes work orders", "mes.plans", _types(erp.PlanReleased), _total(lambda plan, _: [(plan["plan_id"], 1)])),
    Fold(
        "mes receipts",
        "mes.lots",
        _types(erp.StockMoved),
        _total(lambda row, record: [(record.event_id, row["quantity"])] if row["reason"] == "purchase_receipt" else []),
    ),
    Fold(
        "mes shipments",
        "mes.lots",
        _types(erp.ShipmentShipped),
        _total(
            lambda shipment, _: [
                (f"{shipment['shipment_id']}/{lot['lot']}", lot["quantity"])
                for line in shipment["lines"]
                for lot in line["lots"]
            ]
        ),
    ),
    Fold(
        "crm notices",
        "crm.order-state",
        _types(erp.ShipmentShipped, erp.ShipmentDelivered),
        _total(
            lambda _, record: [
                (f"{record.event_id}/{'shipped' if record.type == erp.ShipmentShipped.TYPE else 'delivered'}", 1)
            ]
        ),
    ),
    Fold(
        "gateway orders",
        "gateway.order-status",
        _types(crm.OrderPlaced, crm.OrderAmended),
        _latest(lambda order: [(order["order_id"], order["aggregate_version"])]),
    ),
    Fold(
        "gateway produced",
        "gateway.order-status",
        _types(erp.FulfilmentChanged),
        _latest(lambda order: [(f"{order['order_id']}/{line['line']}", line["produced"]) for line in order["lines"]]),
    ),
)
_PAYLOADS = frozenset().union(*(fold.types for fold in FOLDS))


async def read_topics(platform: Platform, read: int) -> list[Record]:
    """One read of all domain topics; give those made during the run, numbered from 1, to `collect`."""
    return await read_records(platform.kafka, [topic.name for topic in TOPICS], _PAYLOADS, read)


async def collect(
    platform: Platform,
    commands: Sequence[Command],
    *,
    began: datetime,
    earlier: Sequence[Record] = (),
    injected: Sequence[Injected] = (),
    undisturbed: bool = False,
) -> History:
    """The history of a platform at rest, to be checked with `FOLDS`.

    `began` is when the load began: what was written before is taken as it is. `earlier` are records of earlier reads,
    `injected` the records the test wrote itself.
    """
    read = max((record.read for record in earlier), default=0) + 1
    history = History(Run(began, now(), undisturbed, SPONTANEOUS), list(commands), injected=list(injected))
    history.groups += GROUPS
    async with AsyncExitStack() as stack:
        connections = {}
        for service in SERVICES:
            connection = await asyncpg.connect(platform.database_url(service.name))
            stack.push_async_callback(connection.close)
            connections[service.name] = connection
            found = await read_messaging(connection, service.name)
            history.answers += found.answers
            history.inbox += found.inbox
            history.outbox += found.outbox
            history.parked += found.parked
        await read_plant(connections, history)
    history.records += [*earlier, *await read_topics(platform, read)]
    history.dead_letters += await read_dead_letters(platform.kafka, GROUPS)
    history.offsets += await read_offsets(platform.kafka, GROUPS)
    return history

"""The tally service: API, commands and handler in one file, as it exists only to try the chassis."""

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Column, DateTime, Integer, Sequence, Table, Text, Uuid, insert, select

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.events import EventMeta
from chassis.http.calls import AmendedVersion, Call, check_version, requires
from chassis.http.paging import ListQuery, Page, page
from chassis.http.problems import not_found, wrong_state
from chassis.messaging.handlers import Consumer
from chassis.service import Service
from chassis.tables import new_metadata
from tally.events import TOPIC_NAME, Counted

metadata = new_metadata()
NUMBERS = Sequence("counter_number", metadata=metadata)
counter = Table(
    "counter",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("value", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
heard = Table(
    "heard",
    metadata,
    Column("position", Integer, Sequence("heard_position", metadata=metadata), primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("counter_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
)
router = APIRouter(prefix="/v1")


class NewCounter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: int = 0


class CounterRecord(BaseModel):
    id: UUID
    number: str
    value: int
    version: int
    created_at: datetime


async def create(tx: Tx, value: int) -> dict[str, Any]:
    row = {"id": new_id(), "number": await tx.number(NUMBERS, "C"), "value": value, "version": 1, "created_at": tx.now}
    await tx.execute(insert(counter).values(row))
    tx.append(Counted(counter_id=row["id"], aggregate_version=1))
    return row


async def count_up(
    tx: Tx, reference: str, expected: int | None = None, model: type[Counted] = Counted
) -> dict[str, Any]:
    row = await tx.first(select(counter).where(matches(counter, reference)).with_for_update())
    if row is None:
        raise not_found("counter", reference)
    if expected is not None:
        check_version(row["version"], expected)
    if row["value"] < 0:
        raise wrong_state("a negative counter does not count")
    changed = {**row, "value": row["value"] + 1, "version": row["version"] + 1}
    await tx.execute(
        counter.update().where(counter.c.id == row["id"]).values(value=changed["value"], version=changed["version"])
    )
    tx.append(model(counter_id=row["id"], aggregate_version=changed["version"]))
    return changed


@router.post("/counters", response_model=CounterRecord, status_code=201)
async def post_counter(body: NewCounter, call: Annotated[Call, requires("counters:write")]) -> Any:
    return await call.write(lambda tx: create(tx, body.value), CounterRecord, 201)


@router.post("/counters/{ref}/count", response_model=CounterRecord)
async def post_count(ref: str, call: Annotated[Call, requires("counters:write")]) -> Any:
    return await call.write(lambda tx: count_up(tx, ref), CounterRecord)


@router.patch("/counters/{ref}", response_model=CounterRecord)
async def patch_counter(ref: str, call: Annotated[Call, requires("counters:write")], expected: AmendedVersion) -> Any:
    return await call.write(lambda tx: count_up(tx, ref, expected), CounterRecord)


@router.get("/counters", response_model=Page[CounterRecord])
async def get_counters(query: Annotated[ListQuery, Query()], call: Annotated[Call, requires("counters:read")]) -> Any:
    async with call.read() as reader:
        items, following = await page(reader, select(counter), [counter.c.created_at, counter.c.id], query)
    return {"items": items, "next_cursor": following}


@router.get("/fail")
async def fail(call: Annotated[Call, requires("counters:read")]) -> None:
    raise RuntimeError("a bug")


async def on_counted(tx: Tx, event: Counted, meta: EventMeta) -> None:
    await tx.execute(
        insert(heard).values(event_id=meta.event_id, counter_id=event.counter_id, version=event.aggregate_version)
    )


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: int = 6
    retention_ms: int = -1


TOPICS = (Topic(TOPIC_NAME),)
EVENTS = {Counted.TYPE: Counted}
SERVICE = Service(
    name="tally",
    title="Tally",
    metadata=metadata,
    routers=[router],
    consumers=[Consumer(os.environ.get("TALLY_GROUP", "tally.hearing"), {Counted: on_counted})],
)

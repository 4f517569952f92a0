"""Order processes as stored and as published."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.db import Tx
from contracts.envelope import Reason
from contracts.erp import FulfilmentChanged, LineFulfilment, OrderPromised, PromiseRevised
from erp.fulfilment.rules import State
from erp.fulfilment.tables import fulfilment, fulfilment_line
from erp.planning.queries import Coverage
from erp.promising.rules import Promise, Why

_ZERO = Decimal(0)
_UNCOVERED = Coverage("", _ZERO, _ZERO, _ZERO, ())


@dataclass
class Line:
    """One order line as ordered now, in its item's unit."""

    line: int
    item: str
    quantity: Decimal
    unit_price: Decimal
    cancelled: Decimal = _ZERO
    shipped: Decimal = _ZERO
    delivered: Decimal = _ZERO


@dataclass
class Process:
    """The fulfilment of one customer order."""

    order_id: UUID
    order: str
    version: int
    state: State
    order_version: int
    customer: str
    currency: str
    published: dict[str, Any] | None = None
    promise: Promise | None = None
    lines: dict[int, Line] = field(default_factory=dict)

    def publish(
        self, tx: Tx, coverage: Mapping[tuple[UUID, int, str], Coverage], lots: Mapping[int, list[str]]
    ) -> None:
        """Append FulfilmentChanged when anything it says is new."""
        lines = [
            _line_state(line, coverage.get((self.order_id, line.line, line.item), _UNCOVERED), lots.get(line.line, []))
            for line in sorted(self.lines.values(), key=lambda known: known.line)
        ]
        content = {
            "state": self.state.value,
            "order_version": self.order_version,
            "lines": [line.model_dump(mode="json") for line in lines],
        }
        if content != self.published:
            self.published = content
            tx.append(
                FulfilmentChanged(
                    **self._facts(), order_version=self.order_version, state=self.state.value, lines=lines
                ),
                str(self.order_id),
            )

    def promise_first(self, tx: Tx, promise: Promise) -> None:
        """Append OrderPromised."""
        self.promise = promise
        tx.append(
            OrderPromised(
                **self._facts(),
                promised_date=promise.promised_date,
                eta=promise.eta,
                basis=promise.basis,
                reason=_reason(promise.why),
            ),
            str(self.order_id),
        )

    def promise_again(self, tx: Tx, told: Promise, promise: Promise) -> None:
        """Append PromiseRevised."""
        self.promise = promise
        tx.append(
            PromiseRevised(
                **self._facts(),
                old_promised_date=told.promised_date,
                promised_date=promise.promised_date,
                old_eta=told.eta,
                eta=promise.eta,
                reason=_reason(promise.why),
            ),
            str(self.order_id),
            promise.why.event_id,
        )

    def _facts(self) -> dict[str, Any]:
        self.version += 1
        return {
            "aggregate_version": self.version,
            "order_id": self.order_id,
            "order": self.order,
            "customer": self.customer,
        }


async def load(tx: Tx, order_ids: Collection[UUID]) -> dict[UUID, Process]:
    """Lock and load order processes in id order; unknown ones are left out."""
    query = select(fulfilment).where(fulfilment.c.id.in_(order_ids)).order_by(fulfilment.c.id).with_for_update()
    processes = {row["id"]: _from_row(row) for row in await tx.all(query)}
    for row in await tx.all(select(fulfilment_line).where(fulfilment_line.c.order_id.in_(processes))):
        values = {name: row[name] for name in row if name != "order_id"}
        processes[row["order_id"]].lines[row["line"]] = Line(**values)
    return processes


async def store(tx: Tx, process: Process) -> None:
    """Write a process that is new or was placed anew, with its lines."""
    entry = upsert(fulfilment).values({**_to_row(process, tx), "created_at": tx.now})
    await tx.execute(entry.on_conflict_do_update(index_elements=["id"], set_=_to_row(process, tx)))
    await store_lines(tx, [process])


async def store_lines(tx: Tx, processes: Iterable[Process]) -> None:
    """Write the lines of processes."""
    rows = [{"order_id": process.order_id, **vars(line)} for process in processes for line in process.lines.values()]
    entry = upsert(fulfilment_line)
    changed = {c.name: entry.excluded[c.name] for c in fulfilment_line.columns if not c.primary_key}
    await tx.execute(entry.on_conflict_do_update(index_elements=["order_id", "line"], set_=changed), rows)


async def save(tx: Tx, processes: Iterable[Process]) -> None:
    """Write processes loaded before, without their lines."""
    rows = [_to_row(process, tx) for process in processes]
    if rows:
        names = [name for name in rows[0] if name != "id"]
        change = update(fulfilment).where(fulfilment.c.id == bindparam("of_id"))
        change = change.values({name: bindparam(f"new_{name}") for name in names})
        await tx.execute(change, [{"of_id": r["id"], **{f"new_{n}": r[n] for n in names}} for r in rows])


def published_lots(process: Process) -> dict[int, list[str]]:
    """Lots per line as last published."""
    lots: dict[int, list[str]] = defaultdict(list)
    for line in (process.published or {}).get("lines", ()):
        lots[line["line"]] = line["lots"]
    return lots


def _line_state(line: Line, covered: Coverage, lots: list[str]) -> LineFulfilment:
    return LineFulfilment(
        line=line.line,
        item=line.item,
        quantity=line.quantity,
        reserved=covered.reserved,
        planned=covered.planned,
        produced=covered.produced,
        shipped=line.shipped,
        delivered=line.delivered,
        cancelled=line.cancelled,
        plans=list(covered.plans),
        lots=lots,
    )


def _reason(why: Why) -> Reason:
    return Reason(code=why.code, text=why.text, event_id=why.event_id)


def _to_row(process: Process, tx: Tx) -> dict[str, Any]:
    promise = process.promise
    return {
        "id": process.order_id,
        "number": process.order,
        "version": process.version,
        "state": process.state.value,
        "order_version": process.order_version,
        "customer": process.customer,
        "currency": process.currency,
        "published": process.published,
        "promised_date": promise.promised_date if promise else None,
        "eta": promise.eta if promise else None,
        "basis": promise.basis if promise else None,
        "reason": vars(promise.why) if promise else None,
        "updated_at": tx.now,
    }


def _from_row(row: RowMapping) -> Process:
    promise = None
    if row["promised_date"] is not None:
        promise = Promise(row["promised_date"], row["eta"], row["basis"], Why(**row["reason"]))
    return Process(
        row["id"],
        row["number"],
        row["version"],
        State(row["state"]),
        row["order_version"],
        row["customer"],
        row["currency"],
        row["published"],
        promise,
    )

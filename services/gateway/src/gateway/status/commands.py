"""Folds events into facts."""

from decimal import Decimal
from typing import Any

from sqlalchemy import BindParameter, Table, Text, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from chassis.db import Tx
from contracts import crm, erp, mes
from gateway.status.rules import fulfilment_rank
from gateway.status.story import Chapter
from gateway.status.tables import (
    status_fulfilment,
    status_lot,
    status_order,
    status_promise,
    status_work_order,
    status_work_order_peg,
    story_event,
    story_link,
    story_part,
)

_STARTED = (
    mes.OperationStarted,
    mes.OperationPaused,
    mes.ProductionProgressed,
    mes.OperationCompleted,
    mes.MaterialConsumed,
    mes.WorkOrderCompleted,
)
_LOT_STATES = {mes.LotHeld: "held", mes.LotReleased: "released", mes.LotScrapped: "scrapped"}


def _text_array(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=ARRAY(Text))


# One round trip for the three tables: this runs for every event there is.
_TELL = (
    insert(story_part)
    .from_select(["whole", "part"], select(func.unnest(_text_array("wholes")), func.unnest(_text_array("parts"))))
    .on_conflict_do_nothing()
    .add_cte(
        insert(story_event)
        .values({column.name: bindparam(column.name) for column in story_event.columns})
        .on_conflict_do_nothing()
        .cte("told"),
        insert(story_link)
        .from_select(
            ["about", "event_id"], select(func.unnest(_text_array("about")), bindparam("event_id", type_=Text))
        )
        .on_conflict_do_nothing()
        .cte("filed"),
    )
)


async def tell(tx: Tx, chapter: Chapter) -> None:
    """Add an event to the stories it belongs to."""
    parts = sorted(chapter.parts)
    await tx.execute(
        _TELL,
        {
            "event_id": chapter.event_id,
            "type": chapter.type,
            "time": chapter.time,
            "causation_id": chapter.causation_id,
            "reason_event_id": chapter.reason_event_id,
            "shared": chapter.shared,
            "text": chapter.text,
            "about": sorted(chapter.about),
            "wholes": [whole for whole, _ in parts],
            "parts": [part for _, part in parts],
        },
    )


async def fold_order(tx: Tx, event: crm.OrderState) -> None:
    """The newest state of an order."""
    await _newest(
        tx,
        status_order,
        {"order_id": event.order_id},
        event.aggregate_version,
        {
            "number": event.number,
            "customer": event.customer,
            "requested_date": event.requested_date,
            "lines": [line.model_dump(mode="json", include={"line", "item", "quantity"}) for line in event.lines],
        },
    )


async def fold_cancellation(tx: Tx, event: crm.OrderCancelled) -> None:
    """An order is cancelled for good."""
    statement = insert(status_order).values(
        order_id=event.order_id, number=event.number, version=0, cancelled_version=event.aggregate_version
    )
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["order_id"], set_={"cancelled_version": event.aggregate_version}
        )
    )


async def fold_promise(tx: Tx, event: erp.OrderPromised | erp.PromiseRevised, event_id: str) -> None:
    """The newest promise; its reason points at the event behind it, or else at the promise itself."""
    reason = {"code": event.reason.code, "text": event.reason.text, "event_id": event.reason.event_id or event_id}
    values = {"promised_date": event.promised_date, "eta": event.eta, "reason": reason}
    await _newest(tx, status_promise, {"order_id": event.order_id}, event.aggregate_version, values)


async def fold_fulfilment(tx: Tx, event: erp.FulfilmentChanged) -> None:
    """The newest fulfilment, and the furthest stage it ever reached."""
    statement = insert(status_fulfilment).values(
        order_id=event.order_id,
        version=event.aggregate_version,
        state=event.state,
        reached=fulfilment_rank(event.state),
        lines=[line.model_dump(mode="json") for line in event.lines],
    )
    new = statement.excluded
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["order_id"],
            set_={
                "version": new.version,
                "state": new.state,
                "lines": new.lines,
                "reached": func.greatest(status_fulfilment.c.reached, new.reached),
            },
            where=status_fulfilment.c.version < new.version,
        )
    )


async def fold_work_order(tx: Tx, event: mes.WorkOrderEvent) -> None:
    """The newest state of a work order, and every line it ever served."""
    statement = insert(status_work_order).values(
        work_order_id=event.work_order_id,
        version=event.aggregate_version,
        number=event.work_order,
        item=event.item,
        quantity=event.quantity,
        scrap=event.scrap,
        percent=Decimal(str(event.percent)),
        started=isinstance(event, _STARTED) or event.percent > 0,
        cancelled=isinstance(event, mes.WorkOrderCancelled),
    )
    new = statement.excluded
    replaced = {name: new[name] for name in ("version", "quantity", "scrap", "percent")}
    kept = {name: or_(status_work_order.c[name], new[name]) for name in ("started", "cancelled")}
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["work_order_id"],
            set_={**replaced, **kept},
            where=status_work_order.c.version < new.version,
        )
    )
    if event.pegs:
        await _fold_pegs(tx, event)


async def _fold_pegs(tx: Tx, event: mes.WorkOrderEvent) -> None:
    served: dict[tuple[Any, int], Any] = {}
    for peg in event.pegs:
        served[peg.order_id, peg.line] = served.get((peg.order_id, peg.line), 0) + peg.quantity
    statement = insert(status_work_order_peg).values(
        [
            {"work_order_id": event.work_order_id, "order_id": order_id, "line": line, "quantity": quantity}
            for (order_id, line), quantity in served.items()
        ]
    )
    quantity = status_work_order_peg.c.quantity
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["work_order_id", "order_id", "line"],
            set_={"quantity": func.greatest(quantity, statement.excluded.quantity)},
            where=quantity < statement.excluded.quantity,
        )
    )


async def fold_lot(tx: Tx, event: mes.LotEvent) -> None:
    """Whether a lot may be used."""
    values = {"state": _LOT_STATES[type(event)]}
    await _newest(tx, status_lot, {"lot": event.lot}, event.aggregate_version, values)


async def _newest(tx: Tx, table: Table, key: dict[str, Any], version: int, values: dict[str, Any]) -> None:
    """Set the row unless it holds a later version of the aggregate."""
    statement = insert(table).values(**key, version=version, **values)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=list(key),
            set_={name: statement.excluded[name] for name in ("version", *values)},
            where=table.c.version < statement.excluded.version,
        )
    )

"""Use cases of quality: judge a lot, contain a defect."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, insert

from chassis.clock import new_id
from chassis.db import Tx
from chassis.http.problems import FieldError, broken_rules, invalid
from contracts.envelope import Reason
from contracts.erp import OrderPeg
from contracts.mes import DefectDetected, InspectionCompleted, SuspectedInput
from contracts.values import plain
from mes.quality import queries, rules
from mes.quality.tables import DEFECT_NUMBER, INSPECTION_NUMBER, defect, inspection
from mes.traceability import commands as traceability
from mes.traceability import queries as lots
from mes.workorders import queries as work_orders


@dataclass(frozen=True)
class Finding:
    """What somebody found on a lot."""

    lot: str
    characteristic: str
    measured: rules.Measurement
    severity: rules.Severity
    description: str
    recorded_by: str

    def columns(self) -> dict[str, Any]:
        """The finding as columns of its table."""
        return {
            "lot": self.lot,
            "characteristic": self.characteristic,
            "severity": self.severity,
            "description": self.description,
            "recorded_by": self.recorded_by,
            **vars(self.measured),
        }


async def record_inspection(tx: Tx, found: Finding, result: rules.Result) -> RowMapping:
    """Record a judgement on a lot; a rejection is a defect in the same transaction. Returns the inspection's record.

    Raises 422: unknown_lot, or a rule of the measurement.
    """
    _check(found, result)
    row = await _known_lot(tx, found.lot)
    pegs = await _pegs(tx, row)
    inspection_id, number = new_id(), await tx.number(INSPECTION_NUMBER, "IN")
    defect_id = await _contain(tx, found, row, pegs) if result == "rejected" else None
    await tx.execute(
        insert(inspection).values(
            id=inspection_id,
            number=number,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
            item=row["item"],
            result=result,
            defect_id=defect_id,
            **found.columns(),
        )
    )
    tx.append(
        InspectionCompleted(
            aggregate_version=1,
            inspection_id=inspection_id,
            inspection=number,
            lot=found.lot,
            item=row["item"],
            characteristic=found.characteristic,
            result=result,
            sample_size=found.measured.sample_size,
            nonconforming=found.measured.nonconforming,
        ),
        _correlation(pegs),
    )
    return await queries.inspection_record(tx, str(inspection_id))


async def record_defect(tx: Tx, found: Finding) -> RowMapping:
    """Record a defect of a lot and contain it. Returns the defect's record; raises 422 like `record_inspection`."""
    _check(found, "rejected")
    row = await _known_lot(tx, found.lot)
    defect_id = await _contain(tx, found, row, await _pegs(tx, row))
    return await queries.defect_record(tx, str(defect_id))


async def _contain(tx: Tx, found: Finding, row: RowMapping, pegs: list[OrderPeg]) -> UUID:
    """Hold the lot, and unless the defect is minor its siblings; point at the bought lots it consists of."""
    siblings = await lots.siblings(tx, row) if rules.contains_siblings(found.severity) else []
    locked = await traceability.lock_lots(tx, [found.lot, *siblings])
    held = [name for name, each in locked.items() if each["status"] != "scrapped"]
    suspected = [
        SuspectedInput(item=each["item"], lot=each["lot"], supplier=each["supplier"], supplier_lot=each["supplier_lot"])
        for each in await lots.bought_inputs(tx, [found.lot])
    ]
    defect_id, number = new_id(), await tx.number(DEFECT_NUMBER, "DF")
    await tx.execute(
        insert(defect).values(
            id=defect_id,
            number=number,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
            item=row["item"],
            work_order_id=row["work_order_id"],
            work_order=row["work_order"],
            batch_id=row["batch_id"],
            batch=row["batch"],
            held_lots=held,
            suspected_inputs=[each.model_dump(mode="json") for each in suspected],
            **found.columns(),
        )
    )
    decimals = _decimals(found.measured)
    event_id = tx.append(
        DefectDetected(
            aggregate_version=1,
            defect_id=defect_id,
            defect=number,
            lot=found.lot,
            item=row["item"],
            severity=found.severity,
            characteristic=found.characteristic,
            **decimals,
            description=found.description,
            batch_id=row["batch_id"],
            work_order_id=row["work_order_id"],
            held_lots=held,
            suspected_inputs=suspected,
            pegs=pegs,
        ),
        _correlation(pegs),
    )
    sentence = rules.finding(found.characteristic, found.lot, found.measured, decimals)
    reason = Reason(code="DEFECT", text=f"{number}: {sentence}", event_id=str(event_id))
    await traceability.hold_locked(tx, locked.values(), reason, _correlation(pegs))
    return defect_id


async def _known_lot(tx: Tx, name: str) -> RowMapping:
    row = await lots.find_lot(tx, name)
    if row is None:
        raise invalid("/lot", "unknown_lot", f"lot {name!r} is unknown")
    return row


async def _pegs(tx: Tx, row: RowMapping) -> list[OrderPeg]:
    """The customer orders the lot was made for."""
    work_order = await work_orders.find(tx, str(row["work_order_id"])) if row["work_order_id"] else None
    return [OrderPeg.model_validate(peg) for peg in work_order["pegs"]] if work_order else []


def _check(found: Finding, result: rules.Result) -> None:
    errors = [FieldError(**vars(broken)) for broken in rules.broken_rules(found.measured, result)]
    if errors:
        raise broken_rules(errors)


def _decimals(measured: rules.Measurement) -> Mapping[str, str]:
    named: Mapping[str, Decimal | None] = {
        "value": measured.value,
        "lower_limit": measured.lower_limit,
        "upper_limit": measured.upper_limit,
    }
    return {name: plain(number) for name, number in named.items() if number is not None}


def _correlation(pegs: list[OrderPeg]) -> str | None:
    return str(pegs[0].order_id) if pegs else None

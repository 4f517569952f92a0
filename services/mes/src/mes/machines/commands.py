"""Work centers and machines: making them, and what state a machine is in."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.http.problems import invalid, not_found, wrong_state
from contracts.mes import MachineStateChanged
from mes.machines.rules import STOPPED
from mes.machines.tables import machine, machine_state, work_center
from mes.maintenance import commands as maintenance
from mes.metadata import Row
from mes.scheduling import commands as scheduling
from mes.texts import stopped_since


async def create_work_center(tx: Tx, code: str, name: str) -> dict[str, Any]:
    """Make a work center; 409 ``work_center_exists`` when there is one of this code."""
    row = await tx.first(
        upsert(work_center)
        .values(id=new_id(), version=1, work_center=code, name=name)
        .on_conflict_do_nothing()
        .returning(work_center)
    )
    if row is None:
        raise wrong_state(f"work center {code!r} exists already", "work_center_exists")
    return {**row, "number": code}


async def create_machine(tx: Tx, code: str, center: str, name: str) -> dict[str, Any]:
    """Make a machine, idle; 409 ``machine_exists``, 422 ``unknown_work_center``."""
    if not await tx.scalar(select(exists().where(work_center.c.work_center == center))):
        raise invalid("/work_center", "unknown_work_center", f"work center {center!r} is unknown")
    values = {
        "id": new_id(),
        "version": 1,
        "machine": code,
        "work_center": center,
        "name": name,
        "state": "idle",
        "since": tx.now,
        "reason": None,
    }
    event_id = _publish(tx, values, None)
    row = await tx.first(
        upsert(machine).values(**values, state_event_id=str(event_id)).on_conflict_do_nothing().returning(machine)
    )
    if row is None:
        raise wrong_state(f"machine {code!r} exists already", "machine_exists")
    await tx.execute(insert(machine_state).values(machine_id=row["id"], state="idle", started_at=tx.now))
    await scheduling.request(tx, "SCHEDULE", f"{code} is new", event_id=event_id, work_center=center)
    return {**row, "number": code, "operation": None}


async def lock(tx: Tx, reference: str) -> RowMapping:
    """Lock a machine, by id or code, before any work order; 404 when it is unknown."""
    query = select(machine, machine.c.machine.label("number")).where(matches(machine, reference, "machine"))
    row = await tx.first(query.with_for_update())
    if row is None:
        raise not_found("machine", reference)
    return row


async def enter_state(
    tx: Tx, locked: Row, state: str, reason: str | None = None, at: datetime | None = None
) -> UUID | None:
    """Put a locked machine into a state from `at` (default now); returns the event's id, None if it is in it already.

    A machine nobody has reported yet may have its first state from any time on. Raises 422 when `at` is in the future
    or not after the previous change.
    """
    began = _begin(tx, locked, at)
    unreported = locked["version"] == 1
    if state == locked["state"] and not (unreported and began <= locked["since"]):
        return None
    await _write_history(tx, locked, state, reason, began)
    values = {
        "state": state,
        "since": began,
        "reason": reason,
        "version": locked["version"] + 1,
        "updated_at": tx.now,
    }
    row = {**locked, **values}
    event_id = _publish(tx, row, locked["state"])
    await tx.execute(update(machine).where(machine.c.id == locked["id"]).values(**values, state_event_id=str(event_id)))
    await maintenance.follow(tx, row["machine"], state, reason, began)
    if (state in STOPPED) != (locked["state"] in STOPPED) or "down" in (state, locked["state"]):
        await _ask_for_schedule(tx, row, event_id)
    return event_id


def _begin(tx: Tx, locked: Row, at: datetime | None) -> datetime:
    if at is None:
        # Two processes' clocks may differ a little; time must go forward here.
        earliest: datetime = locked["since"] + timedelta(microseconds=1)
        return max(tx.now, earliest)
    if at > tx.now:
        raise invalid("/at", "not_in_future", "the time lies in the future")
    if at <= locked["since"] and locked["version"] > 1:
        raise invalid("/at", "after_previous_change", f"the machine changed at {locked['since'].isoformat()} before")
    return at


async def _write_history(tx: Tx, locked: Row, state: str, reason: str | None, began: datetime) -> None:
    """End the open interval where the new one begins; a first report from before the machine was made replaces it."""
    is_open = (machine_state.c.machine_id == locked["id"]) & machine_state.c.ended_at.is_(None)
    previous_end = None
    if began > locked["since"]:
        await tx.execute(update(machine_state).where(is_open).values(ended_at=began))
        previous_end = began
    else:
        await tx.execute(delete(machine_state).where(is_open))
    await tx.execute(
        insert(machine_state).values(
            machine_id=locked["id"], state=state, reason=reason, started_at=began, previous_ended_at=previous_end
        )
    )


def _publish(tx: Tx, row: Row, old_state: str | None) -> UUID:
    return tx.append(
        MachineStateChanged(
            aggregate_version=row["version"],
            machine=row["machine"],
            work_center=row["work_center"],
            old_state=old_state,
            state=row["state"],
            reason=row["reason"],
            since=row["since"],
        )
    )


async def _ask_for_schedule(tx: Tx, row: Row, event_id: UUID) -> None:
    if row["state"] in STOPPED:
        code = "MACHINE_DOWN" if row["state"] == "down" else "NO_CAPACITY"
        text = stopped_since(row["machine"], row["state"], row["since"])
    else:
        code, text = "SCHEDULE", f"{row['machine']} is available again"
    await scheduling.request(tx, code, text, event_id=event_id, work_center=row["work_center"], urgent=True)

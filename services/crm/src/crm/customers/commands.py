"""What can be done to customers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.http.calls import check_version
from chassis.http.problems import Problem, not_found, wrong_state
from contracts.crm import CustomerChanged, CustomerRegistered
from crm.customers.tables import CUSTOMER_NUMBER, customer


async def register(tx: Tx, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Register a customer (`number`, `name`, `email`, `priority`) under its own number or the next free one.

    Raises Problem 409 when the given number is taken.
    """
    (outcome,) = await register_each(tx, [wanted])
    if isinstance(outcome, Problem):
        raise outcome
    return outcome


async def register_each(tx: Tx, wanted: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any] | Problem]:
    """Register customers; each outcome is the record, or Problem 409 when its number is taken."""
    if not wanted:
        return []
    common = {"version": 1, "created_at": tx.now, "updated_at": tx.now}
    rows = [{"id": new_id(), **common, **one, "number": one["number"] or await _free_number(tx)} for one in wanted]
    inserted = insert(customer).values(rows).on_conflict_do_nothing(index_elements=["number"])
    made = set((await tx.execute(inserted.returning(customer.c.id))).scalars())
    outcomes: list[Mapping[str, Any] | Problem] = []
    for row in rows:
        if row["id"] in made:
            tx.append(CustomerRegistered.model_validate({**row, "aggregate_version": 1, "customer_id": row["id"]}))
            outcomes.append(row)
        else:
            outcomes.append(wrong_state(f"customer {row['number']!r} exists already", "customer_exists"))
    return outcomes


async def _free_number(tx: Tx) -> str:
    """The next number nobody has chosen for itself."""
    while True:
        number = await tx.number(CUSTOMER_NUMBER, "C")
        if await tx.scalar(select(customer.c.id).where(customer.c.number == number)) is None:
            return number


async def change(tx: Tx, reference: str, expected_version: int, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Change master data; without a difference nothing happens.

    Raises Problem 404 for an unknown customer, 412 when it is not at `expected_version`.
    """
    found = await tx.first(select(customer).where(matches(customer, reference)).with_for_update())
    if found is None:
        raise not_found("customer", reference)
    check_version(found["version"], expected_version)
    row = {**found, **changes}
    if row == dict(found):
        return row
    row |= {"version": found["version"] + 1, "updated_at": tx.now}
    await tx.execute(update(customer).where(customer.c.id == row["id"]).values(row))
    tx.append(CustomerChanged.model_validate({**row, "aggregate_version": row["version"], "customer_id": row["id"]}))
    return row

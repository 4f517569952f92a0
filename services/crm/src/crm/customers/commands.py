"""What can be done to customers."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from chassis.clock import new_id
from chassis.db import Tx, matches
from chassis.http.calls import check_version
from chassis.http.problems import not_found, wrong_state
from contracts.crm import CustomerChanged, CustomerRegistered
from crm.customers.tables import CUSTOMER_NUMBER, customer


async def register(tx: Tx, number: str | None, name: str, email: str | None, priority: int) -> Mapping[str, Any]:
    """Register a customer, under a number of its own choice or the next free one.

    Raises Problem 409 when the given number is taken.
    """
    record = {"name": name, "email": email, "priority": priority}
    row = {"id": new_id(), "version": 1, "created_at": tx.now, "updated_at": tx.now, **record}
    while True:
        row["number"] = number or await tx.number(CUSTOMER_NUMBER, "C")
        inserted = insert(customer).values(row).on_conflict_do_nothing(index_elements=["number"])
        if await tx.scalar(inserted.returning(customer.c.id)):
            break
        if number:
            raise wrong_state(f"customer {number!r} exists already", "customer_exists")
    tx.append(
        CustomerRegistered.model_validate(
            {"aggregate_version": 1, "customer_id": row["id"], "number": row["number"], **record}
        )
    )
    return row


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

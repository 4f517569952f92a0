"""Clients come from a file the platform writes and from an admin; an admin disables them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, model_validator
from sqlalchemy import ColumnElement, case, delete, insert, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from chassis.clock import new_id
from chassis.db import Database, Tx, matches
from chassis.http.problems import invalid, not_found, wrong_state
from gateway.access.rules import ADMIN_ROLE, FORGET_FAILURES, ROLES, binding_error, secret_digest
from gateway.access.tables import RECORD, client, token_failure


class FileClient(BaseModel):
    """One entry of the clients file; only the digest of its secret is known here."""

    client_id: str = Field(min_length=1, max_length=100)
    client_secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: str
    customer: str | None = None

    @model_validator(mode="after")
    def _known_role(self) -> "FileClient":
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r} is unknown")
        if error := binding_error(self.role, self.customer):
            raise ValueError(error)
        return self


_ENTRIES = TypeAdapter(list[FileClient])
_FORGOTTEN_AT_ONCE = 100


class ClientsFile:
    """The clients file; read again whenever it changed, so that clients are added without a restart."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read_at_mtime: int | None = None

    async def sync(self, database: Database) -> None:
        """Bring the client table up to the file. Raises OSError when it is missing, ValueError when it is wrong."""
        if self._path is None:
            return
        mtime = (await asyncio.to_thread(self._path.stat)).st_mtime_ns
        if mtime == self._read_at_mtime:
            return
        entries = _ENTRIES.validate_python(json.loads(await asyncio.to_thread(self._path.read_text)))
        await database.write(lambda tx: register_from_file(tx, entries))
        self._read_at_mtime = mtime


async def register_from_file(tx: Tx, entries: list[FileClient]) -> None:
    """Insert or update the clients of the file. One an admin disabled stays disabled."""
    for entry in sorted(entries, key=lambda e: e.client_id):
        values = {"secret_sha256": entry.client_secret_sha256, "role": entry.role, "customer": entry.customer}
        statement = upsert(client).values(
            id=new_id(), client_id=entry.client_id, version=1, created_at=tx.now, updated_at=tx.now, **values
        )
        await tx.execute(
            statement.on_conflict_do_update(
                index_elements=[client.c.client_id],
                set_={**values, "version": client.c.version + 1, "updated_at": tx.now},
                where=_differs(values),
            )
        )


def _differs(values: dict[str, str | None]) -> ColumnElement[bool]:
    return or_(*(client.c[name].is_distinct_from(value) for name, value in values.items()))


async def create(
    tx: Tx, client_id: str | None, role: str, customer: str | None, secret_of: Callable[[str], str]
) -> dict[str, Any]:
    """Make a client; its id defaults to one made from its role. Raises 409 when the id is taken, 422 on a bad role."""
    if role not in ROLES:
        raise invalid("/role", "unknown_role", f"role {role!r} is none of {', '.join(ROLES)}")
    if error := binding_error(role, customer):
        raise invalid("/customer", "customer_binding", error)
    row_id = new_id()
    name = client_id or f"{role}-{row_id.hex[-12:]}"
    if await tx.scalar(select(client.c.id).where(client.c.client_id == name)):
        raise wrong_state(f"client {name!r} exists", "client_exists")
    made = await tx.execute(
        insert(client)
        .values(
            id=row_id,
            client_id=name,
            secret_sha256=secret_digest(secret_of(str(row_id))),
            role=role,
            customer=customer,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
        )
        .returning(*RECORD)
    )
    return dict(made.mappings().one())


async def disable(tx: Tx, reference: str, caller: str) -> dict[str, Any]:
    """Refuse new tokens to a client; tokens it has live on until they expire. Repeating changes nothing.

    Raises 404, and 409 for the caller itself or the last admin: somebody must be left who can manage clients.
    """
    # Admins are locked together, so that two cannot disable one another at the same time.
    admins = await tx.all(
        select(client.c.id)
        .where(client.c.role == ADMIN_ROLE, ~client.c.disabled)
        .order_by(client.c.id)
        .with_for_update()
    )
    wanted = select(*RECORD).where(matches(client, reference, "client_id")).with_for_update()
    row = await tx.first(wanted) if reference.isprintable() else None
    if row is None:
        raise not_found("client", reference)
    if row["disabled"]:
        return dict(row)
    if row["client_id"] == caller:
        raise wrong_state("a client cannot disable itself", "own_client")
    if [admin["id"] for admin in admins] == [row["id"]]:
        raise wrong_state("the last admin cannot be disabled", "last_admin")
    changed = await tx.execute(
        update(client)
        .where(client.c.id == row["id"])
        .values(disabled=True, version=client.c.version + 1, updated_at=tx.now)
        .returning(*RECORD)
    )
    return dict(changed.mappings().one())


async def note_failure(tx: Tx, client_id: str, address: str) -> None:
    """Count a failed token request; those long ago are forgotten."""
    long_ago = tx.now - FORGET_FAILURES
    statement = upsert(token_failure).values(client_id=client_id, address=address, failures=1, last_at=tx.now)
    counted = case((token_failure.c.last_at < long_ago, 1), else_=token_failure.c.failures + 1)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[token_failure.c.client_id, token_failure.c.address],
            set_={"failures": counted, "last_at": tx.now},
        )
    )
    key = tuple_(token_failure.c.client_id, token_failure.c.address)
    old = (
        select(token_failure.c.client_id, token_failure.c.address)
        .where(token_failure.c.last_at < long_ago)
        .limit(_FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    await tx.execute(delete(token_failure).where(key.in_(old)))


async def forget_failures(tx: Tx, client_id: str, address: str) -> None:
    """The client has shown its secret from this address."""
    await tx.execute(
        delete(token_failure).where(token_failure.c.client_id == client_id, token_failure.c.address == address)
    )

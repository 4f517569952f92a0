"""Clients that may ask for access tokens."""

from sqlalchemy import Boolean, CheckConstraint, Column, DateTime, Index, Integer, Table, Text, Uuid, false

from gateway.metadata import metadata

client = Table(
    "client",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Text, nullable=False, unique=True),
    Column("secret_sha256", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("customer", Text),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("(role = 'customer') = (customer IS NOT NULL)", name="customer_bound"),
)
RECORD = (client, client.c.client_id.label("number"))
"""The columns of a client's public record."""

token_failure = Table(
    "token_failure",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    Index(None, "last_at"),
)

"""Journal entries of the double-entry ledger, and customer invoices."""

from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from erp.metadata import MONEY, QUANTITY, metadata

# A quantity times a unit price has more digits than either.
AMOUNT: Numeric[Decimal] = Numeric(30, 4)

entry_number = Sequence("journal_entry_number", metadata=metadata)
invoice_number = Sequence("invoice_number", metadata=metadata)

# That debits equal credits per entry is checked when the transaction commits (trigger journal_balanced in the
# migration); a posting rule applies at most once to one event.
journal_entry = Table(
    "journal_entry",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("source_event", Text, nullable=False),
    Column("rule", Text, nullable=False),
    # What the entry is about, e.g. the plan whose work in process it moves.
    Column("reference", Text),
    Column("currency", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("source_event", "rule"),
    Index(None, "reference"),
)

journal_line = Table(
    "journal_line",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("entry", Uuid, ForeignKey(journal_entry.c.id), nullable=False),
    Column("account", Text, nullable=False),
    Column("debit", AMOUNT, nullable=False),
    Column("credit", AMOUNT, nullable=False),
    CheckConstraint("debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)", name="one_side"),
    Index(None, "entry"),
)

invoice = Table(
    "invoice",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("order_id", Uuid, nullable=False),
    Column("order", Text, nullable=False),
    Column("customer", Text, nullable=False),
    Column("shipment_id", Uuid, nullable=False, unique=True),
    Column("amount", AMOUNT, nullable=False),
    Column("currency", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Index(None, "order_id"),
    Index(None, "customer", "id"),
)

invoice_line = Table(
    "invoice_line",
    metadata,
    Column("invoice_id", Uuid, ForeignKey(invoice.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("item", Text, nullable=False),
    Column("quantity", QUANTITY, nullable=False),
    Column("unit_price", MONEY, nullable=False),
    Column("amount", AMOUNT, nullable=False),
)

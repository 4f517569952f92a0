"""Time and identity: timezone-aware UTC now and UUIDv7."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def now() -> datetime:
    """Current time, timezone-aware UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): unique, sorts by creation time."""
    return uuid7()

"""Sentences more than one capability says, and the text types of requests: PostgreSQL keeps no NUL."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import StringConstraints

_NO_NUL = r"^[^\x00]*$"
Remark = Annotated[str, StringConstraints(max_length=1000, pattern=_NO_NUL)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_NO_NUL)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)]
Operator = Annotated[str, StringConstraints(max_length=100, pattern=_NO_NUL)]
LotName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NO_NUL)]
Characteristic = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_NO_NUL)]


def stopped_since(machine: str, state: str, since: datetime) -> str:
    """E.g. ``CUT-1 down since 10:42``, in UTC."""
    return f"{machine} {state} since {since.astimezone(UTC):%H:%M}"

"""Sentences more than one capability says."""

from datetime import UTC, datetime


def stopped_since(machine: str, state: str, since: datetime) -> str:
    """E.g. ``CUT-1 down since 10:42``, in UTC."""
    return f"{machine} {state} since {since.astimezone(UTC):%H:%M}"

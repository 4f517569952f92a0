"""Gives the one process that has this folder on its path a clock that is wrong by ORDERLOOP_CHAOS_SKEW seconds.

It moves the time the process stamps on what it writes, signs and compares; loops and timeouts go by the monotonic
clock, as they do when a machine's clock is set wrong.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt.api_jwt
from uuid_utils.compat import uuid7

from chassis import clock

_SECONDS = float(os.environ["ORDERLOOP_CHAOS_SKEW"])
_true_time = time.time


class _WrongDatetime(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        """The wrong time."""
        return datetime.now(tz) + timedelta(seconds=_SECONDS)  # type: ignore[arg-type]


def _wrong_now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=_SECONDS)


def _wrong_time() -> float:
    return _true_time() + _SECONDS


def _wrong_id() -> UUID:
    return uuid7(nanoseconds=time.time_ns() + int(_SECONDS * 1_000_000_000))


clock.now = _wrong_now
clock.new_id = _wrong_id
time.time = _wrong_time
jwt.api_jwt.datetime = _WrongDatetime  # type: ignore[misc]

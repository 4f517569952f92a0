"""Bounds how many live streams are open."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chassis.http.problems import Problem

_LATER = {"Retry-After": "5"}


@dataclass
class Streams:
    """The open streams of this process."""

    per_client: int
    in_all: int
    _open: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A place for one more stream while the block runs.

        Raises 429 when the client has its share, 503 when all are taken.
        """
        if self._open[client] >= self.per_client:
            raise Problem(429, "too_many_streams", f"{self.per_client} streams are open already", headers=_LATER)
        if self._open.total() >= self.in_all:
            raise Problem(503, "overloaded", "too many streams are open; try again later", headers=_LATER)
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

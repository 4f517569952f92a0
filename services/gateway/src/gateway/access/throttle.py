"""Slows guessing of client secrets."""

from collections import OrderedDict
from dataclasses import dataclass, field

FREE_FAILURES = 5
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_FORGET_SECONDS = 900.0
_MAX_KEYS = 10_000


@dataclass
class _Failures:
    count: int
    last: float


@dataclass
class Throttle:
    """Failed attempts per (client id, address) of this process; the pause doubles with each failure past the fifth."""

    _failures: OrderedDict[tuple[str, str], _Failures] = field(default_factory=OrderedDict)

    def pause(self, key: tuple[str, str], now: float) -> float:
        """Seconds to wait before the next attempt is looked at; 0 when it may be tried now."""
        seen = self._failures.get(key)
        if seen is None or now - seen.last > _FORGET_SECONDS:
            return 0.0
        if seen.count < FREE_FAILURES:
            return 0.0
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** (seen.count - FREE_FAILURES), _LONGEST_PAUSE_SECONDS)
        return max(0.0, seen.last + pause - now)

    def failed(self, key: tuple[str, str], now: float) -> None:
        """Count a failed attempt; the key failing longest ago is forgotten when there are too many."""
        seen = self._failures.pop(key, None)
        fresh = seen is None or now - seen.last > _FORGET_SECONDS
        self._failures[key] = _Failures(1 if seen is None or fresh else seen.count + 1, now)
        if len(self._failures) > _MAX_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, key: tuple[str, str]) -> None:
        """Forget the failures of this key."""
        self._failures.pop(key, None)

"""Bounds how often each caller may ask."""

from collections import OrderedDict
from dataclasses import dataclass, field

_MAX_KEYS = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


@dataclass
class Rates:
    """A token bucket per key, of this process: `burst` requests at once, `per_second` in the long run."""

    per_second: float
    burst: int
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def take(self, key: str, at: float) -> float:
        """Take one token at the time `at` (seconds); 0 when there was one, else the seconds until there is."""
        bucket = self._buckets.setdefault(key, _Bucket(self.burst, at))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self.burst, bucket.tokens + (at - bucket.filled_at) * self.per_second)
        bucket.filled_at = at
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self.per_second
        bucket.tokens -= 1
        return 0.0

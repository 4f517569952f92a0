"""Notices a consumer that has work but does not progress: aiokafka can get stuck without raising."""

from aiokafka.errors import KafkaError

# Nothing arrives from Kafka although there is something to read.
STALLED_SECONDS = 30.0
# One chunk is being applied (or retried) for this long.
BUSY_SECONDS = 300.0
# No partition is assigned for this long: by design when there are more members than partitions, else a lost member.
UNASSIGNED_SECONDS = 300.0


class ConsumerStuck(KafkaError):  # type: ignore[misc]
    """The consumer stopped making progress and must be made anew."""


class Watchdog:
    """Judges a consumer's progress from what is observed every few seconds."""

    def __init__(self, at: float) -> None:
        self._progress: object = None
        self._changed_at = at
        self._assigned_at = at

    def observe(self, at: float, assigned: int, lag: int, busy: bool, progress: object) -> bool:
        """Take note; returns whether the consumer progressed or has nothing to do.

        `progress` is anything that changes with every applied chunk. Raises ConsumerStuck.
        """
        if assigned:
            self._assigned_at = at
        elif at - self._assigned_at > UNASSIGNED_SECONDS:
            raise ConsumerStuck(f"no partition assigned for {UNASSIGNED_SECONDS:g} s")
        moved = progress != self._progress or lag == 0
        if moved:
            self._progress, self._changed_at = progress, at
            return True
        limit = BUSY_SECONDS if busy else STALLED_SECONDS
        if at - self._changed_at > limit:
            raise ConsumerStuck(f"{lag} events wait and none was applied for {limit:g} s")
        return False

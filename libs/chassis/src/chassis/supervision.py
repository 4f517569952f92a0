"""Background loops that never die silently: a failed one is restarted and shows in /livez and the metrics."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from chassis.db import is_conflict, is_unavailable
from chassis.waiting import backoff, pause

FAILURES = Counter("background_failures_total", "Times a background loop failed.", ["task", "transient"])
# A restarted loop that lives this long counts as recovered.
_HEALTHY_SECONDS = 10.0
log = structlog.get_logger()


def is_transient(error: BaseException) -> bool:
    """Whether an outside part (database, Kafka) is away or in conflict, so that the same work may succeed later."""
    return is_unavailable(error) or is_conflict(error) or isinstance(error, KafkaError)


class Supervisor:
    """Runs background loops until `stopping` is set; `failed` names those that failed with a bug, and why."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._failed: dict[str, str] = {}

    def failed(self) -> list[str]:
        """Loops that failed other than by an outside part being away and have not recovered."""
        return [f"{name}: {reason}" for name, reason in sorted(self._failed.items())]

    async def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it returns or the process stops; after an exception again, with capped backoff."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while not self._stopping.is_set():
            began = loop.time()
            recovered = loop.call_later(_HEALTHY_SECONDS, self._failed.pop, name, None)
            try:
                await work()
            except asyncio.CancelledError as error:
                # A library may let the cancellation of its own task out; only ours ends the loop.
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
                self._note(name, error)
            except Exception as error:
                self._note(name, error)
            else:
                return
            finally:
                recovered.cancel()
            attempt = 1 if loop.time() - began > _HEALTHY_SECONDS else attempt + 1
            await pause(self._stopping, backoff(attempt))

    def _note(self, name: str, error: BaseException) -> None:
        transient = is_transient(error)
        FAILURES.labels(name, str(transient).lower()).inc()
        reason = f"{type(error).__name__}: {error}"
        if transient:
            log.warning("background_retry", task=name, error=reason)
        else:
            self._failed[name] = reason
            log.error("background_failed", task=name, exc_info=error)

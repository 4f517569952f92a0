"""Waiting that ends early when the process stops, and the pause before the next attempt."""

import asyncio
import random


async def pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait `seconds`, or less when `stopping` is set; returns whether it is."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return False
    return True


def backoff(attempt: int, first: float = 0.1, cap: float = 10.0) -> float:
    """Seconds before the attempt after the `attempt`-th failure (from 1): doubling, capped, with ±25 % jitter."""
    return float(min(cap, first * 2 ** min(attempt - 1, 30)) * random.uniform(0.75, 1.25))  # noqa: S311

"""Running a coroutine from plain code."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from anywhere, also from inside a running event loop (which waits meanwhile)."""
    with ThreadPoolExecutor(1, "orderloop-sync") as thread:
        return thread.submit(asyncio.run, work).result()

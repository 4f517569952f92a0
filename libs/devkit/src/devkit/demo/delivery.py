"""Let the simulated floor work until many orders are delivered, and say where the time went."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from devkit.demo.floor import Floor, working_floor
from devkit.demo.target import Target

# Reading every order is work for the platform too.
_LOOK_SECONDS = 3.0
_DELIVERED = ("delivered", "closed", "cancelled")
_PROMISED = ("promised", "in_production", "completed", "shipped", *_DELIVERED)

# Told how many orders are in each state.
OnStates = Callable[[Counter[str]], None]


@dataclass(frozen=True)
class Delivery:
    """What became of the orders: their final states, and seconds until all were promised and until all were done."""

    states: dict[str, str]
    seconds_to_promised: float | None
    seconds: float
    open_reasons: dict[str, str]

    @property
    def undelivered(self) -> list[str]:
        """Numbers of the orders that are not delivered."""
        return [number for number, state in self.states.items() if state not in _DELIVERED]


async def deliver_orders(
    target: Target, numbers: Sequence[str], speed: float, stall_seconds: float, on_states: OnStates
) -> Delivery:
    """Work until every order is delivered, or nothing has moved for `stall_seconds`."""
    wanted = set(numbers)
    async with AsyncExitStack() as stack:
        api = {role: await stack.enter_async_context(target.api(role)) for role in ("operator", "warehouse", "sales")}
        floor = Floor(api["operator"], api["warehouse"], speed)
        started = moved_at = time.monotonic()
        promised: float | None = None
        states: dict[str, str] = {}
        async with working_floor(floor):
            while True:
                orders = [order async for order in api["sales"].items("/v1/orders")]
                seen = {order["number"]: order["state"] for order in orders if order["number"] in wanted}
                if seen != states:
                    states, moved_at = seen, time.monotonic()
                    on_states(Counter(states.values()))
                if promised is None and all(state in _PROMISED for state in states.values()):
                    promised = time.monotonic() - started
                stalled = time.monotonic() - moved_at > stall_seconds
                if stalled or all(state in _DELIVERED for state in states.values()):
                    break
                await asyncio.sleep(_LOOK_SECONDS)
        seconds = moved_at - started
        waiting = [number for number, state in states.items() if state not in _DELIVERED]
        reasons = {number: _reason(await api["sales"].get(f"/v1/orders/{number}/status")) for number in waiting}
        return Delivery(states, promised, seconds, reasons)


def _reason(view: dict[str, Any]) -> str:
    return str((view.get("reason") or {}).get("text", view["stage"]))

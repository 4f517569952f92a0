"""Each kind of fault: how it is done to the rig, and how it is healed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chaos.poison import Hand
from chaos.rig import Rig
from chaos.schedule import SERVERS, Fault, Kind
from chassis.clock import now
from devkit.platform.state import SERVICES

_SKEW = Path(__file__).parent / "skew"


@dataclass
class Inflicted:
    """A fault that happened: to what exactly, from when to when, and how long its victims took to be ready again."""

    fault: Fault
    target: str
    began: datetime
    healed: datetime
    ready_seconds: float | None = None


@asynccontextmanager
async def _kill(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    async with rig.down(target):
        await rig.signal(target, signal.SIGKILL)
        yield


@asynccontextmanager
async def _freeze(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    await rig.running(target)
    rig.platform.freeze(target)
    try:
        yield
    finally:
        rig.platform.thaw(target)


@asynccontextmanager
async def _latency(rig: Rig, target: str, fault: Fault) -> AsyncIterator[None]:
    await rig.links[target].slow_down(fault.amount)
    try:
        yield
    finally:
        await rig.links[target].heal()


@asynccontextmanager
async def _cut(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    await rig.links[target].cut()
    try:
        yield
    finally:
        await rig.links[target].heal()


@asynccontextmanager
async def _half_open(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    await rig.links[target].half_open()
    try:
        yield
    finally:
        await rig.links[target].heal()


@asynccontextmanager
async def _reset(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    await rig.links[target].reset()
    yield


@asynccontextmanager
async def _rebalance(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    """One of the two workers leaves its groups in order, and joins them again."""
    async with rig.down(target):
        await rig.signal(target, signal.SIGTERM)
        await rig.ended(target)
        yield


@asynccontextmanager
async def _skew(rig: Rig, target: str, fault: Fault) -> AsyncIterator[None]:
    """The process is started again with a wrong clock, and later with the right one."""
    usual = rig.platform.environment[target]
    try:
        async with rig.down(target):
            await rig.signal(target, signal.SIGTERM)
            path = os.pathsep.join(filter(None, (str(_SKEW), os.environ.get("PYTHONPATH"))))
            rig.platform.environment[target] = {**usual, "PYTHONPATH": path, "ORDERLOOP_CHAOS_SKEW": str(fault.amount)}
        yield
    finally:
        async with rig.down(target):
            await rig.signal(target, signal.SIGTERM)
            rig.platform.environment[target] = usual


@asynccontextmanager
async def _full_disk(rig: Rig, target: str, _fault: Fault) -> AsyncIterator[None]:
    """The server may end by itself; whoever keeps things running starts it again."""
    await asyncio.to_thread(rig.disks[target].fill)
    try:
        yield
    finally:
        rig.disks[target].free()


_DONE: dict[Kind, Callable[[Rig, str, Fault], AbstractAsyncContextManager[None]]] = {
    "kill": _kill,
    "kill leader": _kill,
    "freeze": _freeze,
    "latency": _latency,
    "cut": _cut,
    "half-open": _half_open,
    "reset": _reset,
    "rebalance": _rebalance,
    "clock skew": _skew,
    "full disk": _full_disk,
}
_WRITTEN: dict[Kind, Callable[[Hand, Fault], Awaitable[None]]] = {
    "duplicates": lambda hand, _: hand.again(in_order=True),
    "out of order": lambda hand, _: hand.again(in_order=False),
    "poison": lambda hand, fault: hand.poison(fault.target),
}


async def inflict(rig: Rig, hand: Hand, fault: Fault, on_healed: Callable[[], None]) -> Inflicted:
    """Do it, wait as long as it lasts, heal it, and wait until its victims are ready again."""
    if fault.kind in _WRITTEN:
        began = now()
        await _WRITTEN[fault.kind](hand, fault)
        return Inflicted(fault, fault.target, began, now())
    target = rig.leader(fault.target) if fault.kind == "kill leader" else fault.target
    async with rig.claim(target):
        began = now()
        async with _DONE[fault.kind](rig, target, fault):
            await asyncio.sleep(fault.seconds)
        inflicted = Inflicted(fault, target, began, now())
    on_healed()
    inflicted.ready_seconds = await rig.ready(_victims(rig, target))
    return inflicted


def _victims(rig: Rig, target: str) -> list[str]:
    """The services' processes that feel what is done to a process, a link or a server."""
    parts = rig.platform.layout.parts
    service = target.partition("/")[0]
    if service in SERVICES:
        return [name for name, part in parts.items() if part.service == service]
    return list(parts) if target in SERVERS else [target]

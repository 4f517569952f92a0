"""What must hold when the floor is quiet: the books balance and stock equals its ledger."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from devkit.client import Api

_SETTLE_SECONDS = 15.0
_POLL_SECONDS = 0.25
_AT_ONCE = 8


@dataclass
class Books:
    """The verdict on ledger and stock; `faults` names every item that is off."""

    balanced: bool
    debit: str
    credit: str
    items: int
    faults: list[str] = field(default_factory=list)

    @property
    def in_order(self) -> bool:
        """Whether the ledger balances and every item's stock equals its ledger."""
        return self.balanced and not self.faults


async def check_books(api: Api) -> Books:
    """Trial balance, and for every item: on hand = Σ ledger = Σ lots, and 0 ≤ reserved ≤ on hand − held."""
    balance = await api.get("/v1/ledger/trial-balance")
    stocks = [stock async for stock in api.items("/v1/stock")]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def fault(stock: dict[str, Any]) -> str | None:
        async with gate:
            rows = [row async for row in api.items(f"/v1/stock/{stock['item']}/ledger")]
            now = await api.get(f"/v1/stock/{stock['item']}")
        return _fault(now, rows)

    found = await asyncio.gather(*(fault(stock) for stock in stocks))
    faults = [text for text in found if text]
    return Books(balance["balanced"], balance["debit"], balance["credit"], len(stocks), faults)


def _fault(stock: dict[str, Any], ledger: Iterable[dict[str, Any]]) -> str | None:
    on_hand, reserved, held = (Decimal(stock[name]) for name in ("on_hand", "reserved", "held"))
    total = sum((Decimal(row["quantity"]) for row in ledger), Decimal(0))
    in_lots = sum((Decimal(lot["quantity"]) for lot in stock["lots"]), Decimal(0))
    if on_hand != total:
        return f"{stock['item']}: on hand {on_hand} but the ledger sums to {total}"
    if on_hand != in_lots:
        return f"{stock['item']}: on hand {on_hand} but its lots hold {in_lots}"
    if not 0 <= reserved <= on_hand - held:
        return f"{stock['item']}: reserved {reserved} of {on_hand - held} usable"
    return None


async def wait_for_books(api: Api) -> Books:
    """The books once the last events are through, or as they are when that takes too long."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        books = await check_books(api)
        if books.in_order or time.monotonic() > deadline:
            return books
        await asyncio.sleep(_POLL_SECONDS)


async def events_per_topic(kafka: str) -> dict[str, int]:
    """How many events each topic of the platform holds."""
    from contracts.topics import TOPICS  # noqa: PLC0415  (a third of a second other commands need not wait)

    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        counts = {}
        for topic in TOPICS:
            partitions = [TopicPartition(topic.name, index) for index in range(topic.partitions)]
            ends = await consumer.end_offsets(partitions)
            counts[topic.name] = sum(ends.values())
        return counts
    finally:
        await consumer.stop()

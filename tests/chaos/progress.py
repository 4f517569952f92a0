"""When orders moved, as somebody who reads the topics all along sees it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from history.model import Command

from chassis.clock import now
from contracts.crm import OrderPlaced
from contracts.erp import OrderPromised, ShipmentPlanned
from contracts.mes import WorkOrderCreated
from contracts.topics import TOPICS
from devkit.platform import Platform

_WATCHED = {OrderPlaced.TOPIC, OrderPromised.TOPIC, ShipmentPlanned.TOPIC, WorkOrderCreated.TOPIC}
_POLL_MS = 200
_RETRY_SECONDS = 0.2


@dataclass
class Progress:
    """Arrivals of order events."""

    arrivals: list[datetime] = field(default_factory=list)
    _placed: dict[str, str] = field(default_factory=dict)
    _promised: dict[str, datetime] = field(default_factory=dict)

    async def watch(self, platform: Platform) -> None:
        """Read until cancelled."""
        consumer = AIOKafkaConsumer(bootstrap_servers=platform.kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [
                TopicPartition(t.name, index) for t in TOPICS if t.name in _WATCHED for index in range(t.partitions)
            ]
            consumer.assign(partitions)
            await consumer.seek_to_end(*partitions)
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=_POLL_MS)
                except KafkaError:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                for records in fetched.values():
                    for record in records:
                        self._see(record)
        finally:
            await consumer.stop()

    def _see(self, record: ConsumerRecord) -> None:
        event_type = dict(record.headers).get("ce_type", b"").decode(errors="replace")
        key = (record.key or b"").decode(errors="replace")
        self.arrivals.append(now())
        if event_type == OrderPlaced.TYPE:
            self._placed.setdefault(json.loads(record.value)["number"], key)
        elif event_type == OrderPromised.TYPE:
            self._promised.setdefault(key, now())

    def longest_stall(self, began: datetime, ended: datetime) -> float:
        """The longest time in seconds without a move of any order."""
        times = [began, *(at for at in self.arrivals if began < at < ended), ended]
        return max((later - earlier).total_seconds() for earlier, later in pairwise(times))

    def recovery(self, healed: datetime, commands: Sequence[Command]) -> float | None:
        """Seconds until the first order placed after `healed` was promised; None when there was none."""
        numbers = [c.record for c in commands if c.kind == "place" and c.outcome == "ok" and c.started >= healed]
        promised = [self._promised[key] for n in numbers if (key := self._placed.get(n)) in self._promised]
        return (min(promised) - healed).total_seconds() if promised else None

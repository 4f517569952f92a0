"""Kafka clients with the house's settings in place of aiokafka's defaults, and stopping them within a deadline."""

import asyncio
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.helpers import create_ssl_context

# A record larger than this travels in a batch of its own.
BATCH_BYTES = 128 * 1024
# The largest event, and the largest dead letter: the event plus the headers that say why.
MESSAGE_BYTES = 1_048_576
DEAD_LETTER_BYTES = 2 * MESSAGE_BYTES
_LINGER_MS = 5
_REQUEST_TIMEOUT_MS = 15_000
# A drain on revoke must end well before the group gives up on the member.
REBALANCE_TIMEOUT_MS = 15_000
_FETCH_BYTES = 256 * 1024
log = structlog.get_logger()


Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


@dataclass(frozen=True)
class Security:
    """How clients reach the broker and prove who they are: with SASL by SCRAM-SHA-512."""

    protocol: Protocol = "PLAINTEXT"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """The settings of an aiokafka client; raises OSError when the certificates cannot be read."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol in ("SSL", "SASL_SSL"):
            options["ssl_context"] = create_ssl_context(cafile=self.ca_file)
        if self.protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
            options["sasl_mechanism"] = "SCRAM-SHA-512"
            options |= {"sasl_plain_username": self.username, "sasl_plain_password": self.password}
        return options


OPEN = Security()
"""A broker that asks nobody who they are."""


def client_id(service: str, role: str) -> str:
    """How the broker's logs and quotas name this client."""
    return f"{service}-{role}-{socket.gethostname()}-{os.getpid()}"


def make_producer(
    bootstrap: str, name: str, message_bytes: int = MESSAGE_BYTES, security: Security = OPEN
) -> AIOKafkaProducer:
    """An idempotent producer (acks=all, no reordering on retry)."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=name,
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        max_batch_size=BATCH_BYTES,
        max_request_size=message_bytes,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        **security.options(),
    )


def make_consumer(bootstrap: str, name: str, group: str, security: Security = OPEN) -> AIOKafkaConsumer:
    """A group member that reads from the earliest event and commits only what it is told to."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id=name,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=3_000,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        max_partition_fetch_bytes=_FETCH_BYTES,
        metadata_max_age_ms=60_000,
        **security.options(),
    )


async def stop_client(client: AIOKafkaProducer | AIOKafkaConsumer, seconds: float) -> None:
    """Stop a client; one that cannot finish in time (Kafka away) is cut off instead of waited for."""
    try:
        await asyncio.wait_for(client.stop(), seconds)
    except TimeoutError:
        log.warning("kafka_stop_timeout", client=type(client).__name__)
        await _cut_off(client)
    except asyncio.CancelledError:
        # aiokafka lets the cancellation of its own tasks out of stop() when Kafka is away; only ours may go on.
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        await _cut_off(client)


async def _cut_off(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """End a client's background tasks; aiokafka has no public way to give up on a flush or a group."""
    if isinstance(client, AIOKafkaConsumer):
        await client._client.close()
        return
    client._message_accumulator.fail_all(KafkaConnectionError("given up: Kafka did not answer in time"))
    await client.client.close()
    sender = client._sender.sender_task
    # It takes its cancellation as a wish to finish what is in flight; the next one ends that too.
    while sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait({sender}, timeout=0.1)

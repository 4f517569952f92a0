"""A Kafka with deploy/kafka's settings: who a client is, is asked, and each service can do what is its own."""

import importlib.util
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.admin import CreateAclsRequest

from chassis.messaging.kafka import Security, make_consumer, make_producer, stop_client
from chassis.messaging.provisioner import dead_letter_topic, ensure_topics
from contracts.topics import TOPICS
from devkit.platform.kafka import java_command, stop_kafka
from devkit.platform.processes import ProcessRef, run, spawn, stop, wrapped
from devkit.platform.signing import KeyRing
from devkit.service_testing import fresh_database
from devkit.testing import PostgresTestServer, free_port, wait_until
from erp.service import SERVICE as ERP

FOLDER = Path(__file__).parents[2] / "deploy" / "kafka"
USERS = ("broker", "admin", "topics", "operator", "crm", "erp", "mes", "gateway")
_KINDS = {"topic": 2, "group": 3, "cluster": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}
_LITERAL, _ALLOW = 3, 3


@dataclass
class Broker:
    """A broker that asks, and the passwords it knows."""

    bootstrap: str
    passwords: dict[str, str]
    process: ProcessRef

    def security(self, user: str, password: str | None = None) -> Security:
        """How this user connects."""
        return Security("SASL_PLAINTEXT", user, password or self.passwords[user])

    async def write(self, user: str, topic: str) -> None:
        """Publish a record as this user."""
        producer = make_producer(self.bootstrap, "test", security=self.security(user))
        try:
            await producer.start()
            await producer.send_and_wait(topic, b"{}", b"key")
        finally:
            await stop_client(producer, 2)

    async def read(self, user: str, topic: str, group: str) -> bytes:
        """The first record of a topic, read by this user as a member of this group."""
        consumer = make_consumer(self.bootstrap, "test", group, self.security(user))
        consumer.subscribe([topic])
        try:
            await consumer.start()
            return bytes((await consumer.getone()).value)
        finally:
            await stop_client(consumer, 2)


def _acls() -> ModuleType:
    spec = importlib.util.spec_from_file_location("acls", FOLDER / "acls.py")
    assert spec
    assert spec.loader
    module = sys.modules["acls"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ACLS = _acls()


def _format(folder: Path, port: int, controller: int) -> dict[str, str]:
    """A folder for the broker, with deploy/kafka's settings but no TLS, and its users' passwords."""
    passwords = {user: secrets.token_hex(16) for user in USERS}
    (folder / "passwords").write_text("".join(f"{user}={password}\n" for user, password in passwords.items()))
    settings = (FOLDER / "secured.properties").read_text()
    settings = settings.replace("SASL_SSL", "SASL_PLAINTEXT").replace(
        "/run/secrets/kafka.properties", str(folder / "passwords")
    )
    own = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "log.dirs": str(folder / "log"),
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": "8388608",
    }
    (folder / "server.properties").write_text(settings + "".join(f"{name}={value}\n" for name, value in own.items()))
    users = [
        part
        for user, password in passwords.items()
        for part in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
    ]
    arguments = ("format", "--cluster-id=b3JkZXJsb29wLWNsdXN0ZQ", "-c", str(folder / "server.properties"), *users)
    formatted = run(java_command("kafka.tools.StorageTool", *arguments, jvm_options=("-XX:TieredStopAtLevel=1",)))
    assert formatted.returncode == 0, formatted.stderr
    return passwords


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """A broker whose topics were made by the user who makes topics, and whose access list is applied."""
    folder = tmp_path_factory.mktemp("kafka")
    port = free_port()
    passwords = _format(folder, port, free_port())
    command = java_command("kafka.Kafka", str(folder / "server.properties"), jvm_options=("-Xmx384m",))
    child = spawn("Kafka", wrapped(command, tied_to_us=True), folder / "kafka.log")
    made = Broker(f"127.0.0.1:{port}", passwords, child.ref)
    try:
        await wait_until(lambda: _allow(made), 180, f"the broker, which said: {child.said()[-2000:]}")
        created = await ensure_topics(made.bootstrap, TOPICS, ERP.consumers, made.security("topics"))
        assert {topic.name for topic in TOPICS} <= set(created)
        yield made
    finally:
        stop_kafka(made.process)


async def _allow(broker: Broker) -> bool:
    """Apply the access list as the admin; False while the broker does not answer yet."""
    options = broker.security("admin").options()
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap, request_timeout_ms=5000, **options)
    try:
        await admin.start()
        for rule in ACLS.rules():
            allowed = (f"User:{rule.user}", "*", _OPERATIONS[rule.operation], _ALLOW)
            answer = await admin._send_request(CreateAclsRequest(_KINDS[rule.kind], rule.name, _LITERAL, *allowed))
            assert [code for code, _ in answer.creation_responses] == [0], answer
    except KafkaError:
        return False
    finally:
        await admin.close()
    return True


async def test_a_service_writes_its_own_topics_and_no_others(broker: Broker) -> None:
    for user, topic in (("erp", "erp.item.events.v1"), ("crm", "crm.order.events.v1")):
        await broker.write(user, topic)
    await broker.write("erp", dead_letter_topic("crm.order.events.v1", "erp.loop"))
    for topic in ("crm.order.events.v1", "mes.batch.events.v1"):
        with pytest.raises(TopicAuthorizationFailedError):
            await broker.write("erp", topic)


async def test_a_service_reads_what_it_consumes_in_its_own_group(broker: Broker) -> None:
    await broker.write("crm", "crm.order.events.v1")
    assert await broker.read("erp", "crm.order.events.v1", "erp.loop") == b"{}"
    with pytest.raises(TopicAuthorizationFailedError):
        await broker.read("erp", "crm.notification.events.v1", "erp.loop")
    with pytest.raises(GroupAuthorizationFailedError):
        await broker.read("erp", "crm.order.events.v1", "gateway.order-status")


async def test_a_service_finds_the_topics_made_and_makes_none(broker: Broker) -> None:
    assert await ensure_topics(broker.bootstrap, TOPICS, ERP.consumers, broker.security("erp")) == []
    other = [type(TOPICS[0])("erp.other.events.v1", "erp", "one more")]
    with pytest.raises(TopicAuthorizationFailedError):
        await ensure_topics(broker.bootstrap, other, [], broker.security("erp"))


@pytest.mark.parametrize("kind", ["no password", "another's password", "no SASL"])
async def test_who_cannot_show_who_it_is_gets_nothing(broker: Broker, kind: str) -> None:
    wrong = {
        "no password": broker.security("erp", "x"),
        "another's password": broker.security("erp", broker.passwords["crm"]),
        "no SASL": Security(),
    }[kind]
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, request_timeout_ms=2000, **wrong.options())
    with pytest.raises(KafkaConnectionError):
        await consumer.start()
    await consumer.stop()


async def test_a_whole_service_runs_as_its_own_user(
    broker: Broker, postgres_server: PostgresTestServer, tmp_path: Path
) -> None:
    KeyRing(tmp_path).ensure()
    with fresh_database(postgres_server, "erp") as url:
        environment = {
            "ORDERLOOP_DATABASE_URL": url,
            "ORDERLOOP_JWKS": str(tmp_path / "jwks.json"),
            "ORDERLOOP_KAFKA": broker.bootstrap,
            "ORDERLOOP_KAFKA_PROTOCOL": "SASL_PLAINTEXT",
            "ORDERLOOP_KAFKA_USERNAME": "erp",
            "ORDERLOOP_SECRETS_DIR": str(tmp_path),
        }
        # A secret is a file named like its variable.
        (tmp_path / "orderloop_kafka_password").write_text(broker.passwords["erp"])
        async with _worker(environment, tmp_path) as checks:
            await wait_until(checks, 60, "relay and consumer to be let in")


@asynccontextmanager
async def _worker(environment: dict[str, str], folder: Path) -> AsyncIterator[Any]:
    port = free_port()
    command = [sys.executable, "-m", "erp", "worker"]
    child = spawn(
        "erp", wrapped(command, tied_to_us=True), folder / "erp.log", {**environment, "ORDERLOOP_PORT": str(port)}
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

        async def checks() -> bool:
            try:
                found = (await http.get("/readyz")).json()["checks"]
            except httpx.TransportError:
                return False
            return all(found.get(name, {}).get("ok") for name in ("relay", "group erp.loop"))

        try:
            yield checks
        finally:
            stop([child.ref])


def test_the_list_can_be_applied_with_kafkas_own_command(broker: Broker, tmp_path: Path) -> None:
    login = f'username="admin" password="{broker.passwords["admin"]}"'
    (tmp_path / "admin.properties").write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\n"
        f"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required {login};\n"
    )
    where = ["--bootstrap-server", broker.bootstrap, "--command-config", str(tmp_path / "admin.properties")]
    command = next(line.split() for line in ACLS.commands(where) if "User:erp" in line and "--group" in line)
    done = run(
        java_command("org.apache.kafka.tools.AclCommand", *command[1:], jvm_options=("-XX:TieredStopAtLevel=1",))
    )
    assert done.returncode == 0, done.stderr
    assert "erp.loop" in done.stdout

"""Who may do what on a Kafka that asks: one user per service, one that makes topics, one for operators.

Prints the `kafka-acls.sh` commands that allow it; whatever is not listed is refused:
`python deploy/kafka/acls.py --bootstrap-server kafka:9092 --command-config admin.properties | sh`
"""

import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from chassis.messaging.provisioner import dead_letter_topic
from contracts.topics import TOPICS
from schema_tools.services import NAMES, consumers

TOPIC_MAKER, OPERATOR = "topics", "operator"
EVERY = "*"


@dataclass(frozen=True)
class Rule:
    """This user may do this on this topic, consumer group or, with the name `kafka-cluster`, the cluster."""

    user: str
    operation: str
    kind: str
    name: str


def rules() -> Iterator[Rule]:
    """Everything that is allowed."""
    for service in NAMES:
        yield from _of_service(service)
    # `python -m <service> topics`, run before the services: they find the topics made.
    yield Rule(TOPIC_MAKER, "Create", "cluster", "kafka-cluster")
    for operation in ("Describe", "DescribeConfigs", "AlterConfigs"):
        yield Rule(TOPIC_MAKER, operation, "topic", EVERY)
    # Looks into everything, moves a stopped group's offsets and publishes dead letters again.
    for operation in ("Read", "Write", "Describe", "DescribeConfigs"):
        yield Rule(OPERATOR, operation, "topic", EVERY)
    for operation in ("Read", "Describe"):
        yield Rule(OPERATOR, operation, "group", EVERY)


def _of_service(service: str) -> Iterator[Rule]:
    for topic in TOPICS:
        if topic.producer == service:
            yield Rule(service, "Write", "topic", topic.name)
    for group, topics in consumers().items():
        if group.startswith(f"{service}."):
            yield Rule(service, "Read", "group", group)
            for topic in topics:
                yield Rule(service, "Read", "topic", topic)
                yield Rule(service, "Write", "topic", dead_letter_topic(topic, group))
    # Sees, at its start, that all topics are as declared.
    for operation in ("Describe", "DescribeConfigs"):
        yield Rule(service, operation, "topic", EVERY)


def commands(arguments: list[str]) -> Iterator[str]:
    """The commands, one per user, operation and kind of resource; `arguments` say where and as whom."""
    names: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for rule in rules():
        names[rule.user, rule.operation, rule.kind].append(rule.name)
    for (user, operation, kind), found in names.items():
        where = ["--cluster"] if kind == "cluster" else [part for name in found for part in (f"--{kind}", name)]
        allowed = ["--add", "--allow-principal", f"User:{user}", "--operation", operation, *where]
        yield shlex.join(["kafka-acls.sh", *arguments, *allowed])


if __name__ == "__main__":
    sys.stdout.writelines(f"{command}\n" for command in commands(sys.argv[1:]))

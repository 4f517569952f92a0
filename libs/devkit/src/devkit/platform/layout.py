"""Which processes the services of a platform are, and the ports at which they reach the servers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from devkit.platform.state import SERVICES


@dataclass(frozen=True)
class Part:
    """One process of a service: `all`, or `api` and `worker` apart."""

    service: str
    role: str = "all"


@dataclass(frozen=True)
class Doors:
    """Ports of 127.0.0.1 at which a service reaches the servers instead of at their own, such as a proxy's."""

    postgres: int
    kafka: int


@dataclass(frozen=True)
class Layout:
    """The services' processes by name; `doors` are by service."""

    parts: Mapping[str, Part]
    doors: Mapping[str, Doors] = field(default_factory=dict)

    def serving(self, service: str) -> str:
        """The process that answers a service's requests."""
        return next(name for name, part in self.parts.items() if part.service == service and part.role != "worker")

    def workers(self, service: str) -> list[str]:
        """The processes that relay and consume for a service."""
        return [name for name, part in self.parts.items() if part.service == service and part.role != "api"]

    def services(self, names: Iterable[str]) -> list[str]:
        """The services these processes belong to."""
        return list(dict.fromkeys(self.parts[name].service for name in names))


WHOLE = Layout({service: Part(service) for service in SERVICES})


def split(workers: int, doors: Mapping[str, Doors] | None = None) -> Layout:
    """Each service as an `api` process and so many `worker` processes, e.g. `erp-api`, `erp-worker-1`."""
    parts: dict[str, Part] = {}
    for service in SERVICES:
        parts[f"{service}-api"] = Part(service, "api")
        parts |= {f"{service}-worker-{number}": Part(service, "worker") for number in range(1, workers + 1)}
    return Layout(parts, doors or {})

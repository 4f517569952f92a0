"""Which platform a demo or an import talks to: the local one, or any gateway with a credentials file."""

import asyncio
import json
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from devkit.client import Api, ApiProblem, Credentials
from devkit.platform import Platform, PlatformError
from devkit.platform.state import default_state_dir

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A running platform."""

    gateway: str
    clients: dict[str, Credentials]
    kafka: str | None

    def api(self, role: str) -> Api:
        """A client of this role; raises PlatformError when there are no credentials for it."""
        if role not in self.clients:
            raise PlatformError(f"no credentials for the role {role}; known are {', '.join(self.clients) or 'none'}")
        return Api(self.gateway, self.clients[role])


def local(platform: Platform) -> Target:
    """The local platform; raises PlatformError when it does not run."""
    report = platform.status()
    if report["state"] != "running":
        raise PlatformError("the platform is not running: start it with `orderloop up`, or name one with --gateway")
    return Target(report["gateway"], _credentials(report["clients"]), report["kafka"])


def remote(gateway: str) -> Target:
    """A platform elsewhere: ORDERLOOP_CREDENTIALS names a JSON file `{role: {client_id, client_secret}}`."""
    file = os.environ.get("ORDERLOOP_CREDENTIALS")
    if not file:
        raise PlatformError(
            "with --gateway, ORDERLOOP_CREDENTIALS must name the JSON file with the clients' credentials"
        )
    try:
        clients = json.loads(Path(file).read_text())
        return Target(gateway.rstrip("/"), _credentials(clients), os.environ.get("ORDERLOOP_KAFKA"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PlatformError(f"{file} is not a credentials file: {error}") from error


def choose(gateway: str | None) -> Target:
    """The named gateway, or the local platform."""
    return remote(gateway) if gateway else local(Platform(default_state_dir()))


def run_against_api(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; what the API refuses, or a gateway that stays away, becomes a PlatformError of one line."""
    try:
        return asyncio.run(work)
    except ApiProblem as problem:
        raise PlatformError(f"the gateway refused: {problem}") from problem
    except httpx.HTTPError as error:
        raise PlatformError(f"the gateway does not answer: {error!r}") from error
    except ExceptionGroup as group:
        raise PlatformError(f"the simulated floor failed: {_first(group)}") from group


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def _credentials(clients: dict[str, dict[str, str]]) -> dict[str, Credentials]:
    return {role: Credentials(c["client_id"], c["client_secret"]) for role, c in clients.items()}

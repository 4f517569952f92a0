"""The state folder: secrets, keys, ports and processes of one local platform, each file written whole or not at all."""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devkit.platform.errors import BusyError, PlatformError
from devkit.platform.processes import ProcessRef
from devkit.platform.signing import KeyRing, write_private

SERVICES = ("crm", "erp", "mes", "gateway")
ROLES = ("customer", "sales", "planner", "operator", "warehouse", "quality", "finance", "people", "admin")
DEMO_CUSTOMER = "C-1000"

M = TypeVar("M", bound=BaseModel)


class Client(BaseModel):
    """An OAuth2 client of the gateway."""

    client_id: str
    client_secret: str


class Secrets(BaseModel):
    """Every generated secret; made once, never changed."""

    model_config = ConfigDict(extra="forbid")

    postgres: str
    databases: dict[str, str]
    clients: dict[str, Client]

    @classmethod
    def generate(cls) -> "Secrets":
        """New secrets for every database and one client per role."""
        return cls(
            postgres=secrets.token_urlsafe(24),
            databases={service: secrets.token_urlsafe(24) for service in SERVICES},
            clients={role: Client(client_id=f"demo-{role}", client_secret=secrets.token_urlsafe(24)) for role in ROLES},
        )


class State(BaseModel):
    """What runs, or last ran: ports by part, processes by part, and servers of others that are used instead of ours."""

    model_config = ConfigDict(extra="forbid")

    ports: dict[str, int] = Field(default_factory=dict)
    processes: dict[str, ProcessRef] = Field(default_factory=dict)
    outside_postgres: str | None = None
    outside_kafka: str | None = None


class StateFolder:
    """The files of a state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.postgres = self.path / "postgres"
        self.kafka = self.path / "kafka"
        self._keys = KeyRing(self.path)
        self.signing_key = self._keys.signing_key
        self.jwks = self._keys.jwks
        self.clients = self.path / "clients.json"
        self._secrets = self.path / "secrets.json"
        self._state = self.path / "state.json"

    def exists(self) -> bool:
        """Whether a platform was ever started here."""
        return self._secrets.exists() or self._state.exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other `up` and `down` commands away; raises BusyError when one is at work."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            opened = (self.path / "lock").open("w")
        except OSError as error:
            raise PlatformError(
                f"{self.path} cannot be the state folder ({error.strerror}): name another in ORDERLOOP_STATE"
            ) from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"another orderloop command is starting or stopping {self.path}: wait for it") from None
            yield

    def state(self) -> State:
        """The recorded state, empty at first; raises PlatformError when the file is damaged."""
        return self._read(self._state, State) or State()

    def save(self, state: State) -> None:
        """Record the state."""
        write_private(self._state, state.model_dump_json(indent=1))

    def secrets(self) -> Secrets | None:
        """The secrets; None before the first start. Raises PlatformError when the file is damaged."""
        return self._read(self._secrets, Secrets)

    def prepare(self) -> Secrets:
        """Make what a start needs and return the secrets; raises PlatformError when the folder is damaged."""
        kept = self.secrets()
        if kept is None:
            if self.postgres.exists():
                raise PlatformError(
                    f"{self._secrets} is missing although {self.postgres} has data: {self._start_over()}"
                )
            kept = Secrets.generate()
            write_private(self._secrets, kept.model_dump_json(indent=1))
        self._keys.ensure()
        write_private(self.clients, json.dumps(_registered_clients(kept), indent=1))
        return kept

    def _read(self, path: Path, model: type[M]) -> M | None:
        try:
            return model.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PlatformError(
                f"{path} cannot be read ({error.strerror}): make it readable, or name another folder in ORDERLOOP_STATE"
            ) from error
        except ValidationError as error:
            reason = error.errors()[0]
            where = ".".join(str(part) for part in reason["loc"])
            detail = f"{where}: {reason['msg']}" if where else reason["msg"]
            raise PlatformError(f"{path} is damaged ({detail}): {self._start_over()}") from error

    def _start_over(self) -> str:
        return f"put it back, or start over without the data: end what still runs, then rm -r {self.path}"


def _registered_clients(kept: Secrets) -> list[dict[str, str | None]]:
    """What the gateway may know of its clients: no secret, only its digest."""
    return [
        {
            "client_id": client.client_id,
            "client_secret_sha256": hashlib.sha256(client.client_secret.encode()).hexdigest(),
            "role": role,
            "customer": DEMO_CUSTOMER if role == "customer" else None,
        }
        for role, client in kept.clients.items()
    ]


def default_state_dir() -> Path:
    """`ORDERLOOP_STATE`, else `.orderloop` of the checkout the current folder is in, else of the current folder."""
    if given := os.environ.get("ORDERLOOP_STATE"):
        return Path(given)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".orderloop").is_dir() or (folder / "uv.lock").is_file():
            return folder / ".orderloop"
    return here / ".orderloop"

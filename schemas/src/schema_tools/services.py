"""What the services publish about themselves: their OpenAPI documents and the topics they read.

Services are loaded by name, because the published language itself depends on none of them.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

NAMES = ("crm", "erp", "mes", "gateway")


def openapi(name: str) -> str:
    """The OpenAPI document of a service as JSON, without starting it."""
    service = _service(name)
    settings = service.settings(database_url="postgresql+asyncpg://nobody@localhost/nothing", jwks="/nowhere/jwks.json")
    app = import_module("chassis.service").create_app(service, service.context(settings))
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def consumers() -> dict[str, Sequence[str]]:
    """The topics every consumer group of every service reads."""
    return {consumer.group: consumer.topics for name in NAMES for consumer in _service(name).consumers}


def _service(name: str) -> Any:
    return import_module(f"{name}.service").SERVICE

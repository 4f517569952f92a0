"""Settings every service reads from the environment (prefix ``ORDERLOOP_``) or from files in a secrets folder."""

import os
from typing import Self

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Where a service listens, stores and publishes. A secret may be a file named like the variable, in lower case."""

    model_config = SettingsConfigDict(env_prefix="ORDERLOOP_", extra="ignore")

    database_url: str = Field(
        pattern=r"^postgresql\+asyncpg://.+", description="postgresql+asyncpg://role:password@host:port/database"
    )
    kafka: str = Field(default="127.0.0.1:9092", description="bootstrap servers, host:port[,host:port]")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    jwks: str = Field(description="path or URL of the JSON Web Key Set that signs access tokens")
    issuer: str = "orderloop"
    audience: str = "orderloop"
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    database_pool: int = Field(default=10, ge=1)
    log_level: str = "INFO"

    @classmethod
    def load(cls) -> Self:
        """Settings from the environment; raises pydantic's ValidationError naming what is missing."""
        return cls(_secrets_dir=os.environ.get("ORDERLOOP_SECRETS_DIR"))

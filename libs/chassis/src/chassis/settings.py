"""Settings every service reads from the environment (prefix ``ORDERLOOP_``) or from files in a secrets folder."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.messaging.kafka import Protocol, Security


class ServiceSettings(BaseSettings):
    """Where a service listens, stores and publishes. A secret may be a file named like the variable, in lower case."""

    model_config = SettingsConfigDict(env_prefix="ORDERLOOP_", extra="ignore")

    database_url: str = Field(
        pattern=r"^postgresql\+asyncpg://.+", description="postgresql+asyncpg://role:password@host:port/database"
    )
    kafka: str = Field(default="127.0.0.1:9092", description="bootstrap servers, host:port[,host:port]")
    kafka_protocol: Protocol = "PLAINTEXT"
    kafka_username: str | None = Field(default=None, description="SASL (SCRAM-SHA-512) user")
    kafka_password: str | None = Field(default=None, repr=False)
    kafka_ca_file: Path | None = Field(default=None, description="certificates that vouch for the broker's")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    jwks: str = Field(description="path or URL of the JSON Web Key Set that signs access tokens")
    issuer: str = "orderloop"
    audience: str = "orderloop"
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    database_pool: int = Field(default=10, ge=1)
    log_level: str = "INFO"

    @model_validator(mode="after")
    def _sasl_user(self) -> Self:
        if self.kafka_protocol.startswith("SASL") and not (self.kafka_username and self.kafka_password):
            raise ValueError("SASL needs ORDERLOOP_KAFKA_USERNAME and ORDERLOOP_KAFKA_PASSWORD")
        return self

    @property
    def kafka_security(self) -> Security:
        """How this service's Kafka clients connect."""
        return Security(self.kafka_protocol, self.kafka_username, self.kafka_password, self.kafka_ca_file)

    @classmethod
    def load(cls) -> Self:
        """Settings from the environment; raises pydantic's ValidationError naming what is missing."""
        return cls(_secrets_dir=os.environ.get("ORDERLOOP_SECRETS_DIR"))

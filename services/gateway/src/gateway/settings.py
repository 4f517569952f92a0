"""Settings of the gateway, on top of what every service reads."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from chassis.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Where the services are, and how access tokens are made."""

    crm_url: str = "http://127.0.0.1:8001"
    erp_url: str = "http://127.0.0.1:8002"
    mes_url: str = "http://127.0.0.1:8003"
    signing_key_file: Path | None = Field(
        default=None, description="Ed25519 private key in PEM; without it tokens come from an outside issuer"
    )
    clients_file: Path | None = Field(
        default=None, description='JSON list of {"client_id", "client_secret_sha256", "role", "customer"}'
    )
    token_seconds: int = Field(default=900, ge=1, description="life of an access token")
    trusted_proxies: list[str] = Field(
        default=[], description="addresses or networks whose X-Forwarded-For names the caller"
    )
    requests_per_second: float = Field(default=500, gt=0, description="of one client, in the long run")
    request_burst: int = Field(default=2000, ge=1, description="of one client, at once")
    token_requests_per_second: float = Field(default=50, gt=0, description="from one address, in the long run")
    token_request_burst: int = Field(default=500, ge=1, description="from one address, at once")
    streams_per_client: int = Field(default=200, ge=1, description="open at the same time")
    streams: int = Field(default=2000, ge=1, description="of all clients, open at the same time")

    @model_validator(mode="after")
    def _key_set_is_a_file(self) -> Self:
        if self.signing_key_file and self.jwks.startswith(("http://", "https://")):
            raise ValueError("a gateway that signs tokens reads its key set from a file: ORDERLOOP_JWKS is a URL")
        return self

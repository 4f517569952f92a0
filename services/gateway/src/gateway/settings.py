"""Settings of the gateway, on top of what every service reads."""

from pathlib import Path

from pydantic import Field

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

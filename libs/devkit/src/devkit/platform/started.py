"""What is asked of services that were just started: whether they are ready, and the demo's customer."""

import httpx

from devkit.platform.errors import PlatformError
from devkit.platform.state import DEMO_CUSTOMER, Client


def is_ready(url: str) -> bool:
    """Whether a service is ready without reserve: its consumers have joined their groups too."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.is_success and all(check["ok"] for check in answer.json().get("checks", {}).values())


def ensure_demo_customer(gateway_url: str, admin: Client) -> None:
    """Make the customer the demo's customer client is bound to, unless it is there; raises PlatformError."""
    with httpx.Client(base_url=gateway_url, timeout=15, trust_env=False) as http:
        form = {"grant_type": "client_credentials", **admin.model_dump()}
        token = http.post("/oauth/token", data=form)
        if token.status_code != httpx.codes.OK:
            raise PlatformError(f"the gateway gave no token: {token.status_code} {token.text[:200]}")
        made = http.post(
            "/v1/customers",
            json={"number": DEMO_CUSTOMER, "name": "Demo customer", "email": "demo@example.com"},
            headers={
                "Authorization": f"Bearer {token.json()['access_token']}",
                "Idempotency-Key": "demo-customer",
            },
        )
        if not made.is_success and made.status_code != httpx.codes.CONFLICT:
            raise PlatformError(f"cannot make customer {DEMO_CUSTOMER}: {made.status_code} {made.text[:200]}")

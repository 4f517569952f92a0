"""Roles and their scopes, client secrets, key thumbprints."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

SCOPES = (
    "customers:read",
    "customers:write",
    "orders:read",
    "orders:write",
    "items:read",
    "items:write",
    "stock:read",
    "stock:write",
    "purchasing:read",
    "purchasing:write",
    "shipping:read",
    "shipping:write",
    "production:read",
    "production:write",
    "execution:write",
    "quality:read",
    "quality:write",
    "finance:read",
    "invoices:read",
    "clients:write",
)
"""Everything a token may be allowed to do."""

CUSTOMER_ROLE = "customer"
ADMIN_ROLE = "admin"

ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        CUSTOMER_ROLE: frozenset({"orders:read", "orders:write", "shipping:read", "invoices:read"}),
        "sales": frozenset(
            {
                "customers:read",
                "customers:write",
                "orders:read",
                "orders:write",
                "items:read",
                "stock:read",
                "shipping:read",
                "production:read",
            }
        ),
        "planner": frozenset(
            {
                "customers:read",
                "orders:read",
                "items:read",
                "items:write",
                "stock:read",
                "purchasing:read",
                "purchasing:write",
                "shipping:read",
                "production:read",
                "production:write",
                "quality:read",
            }
        ),
        "operator": frozenset({"items:read", "stock:read", "production:read", "execution:write", "quality:read"}),
        "warehouse": frozenset(
            {
                "orders:read",
                "items:read",
                "stock:read",
                "stock:write",
                "purchasing:read",
                "purchasing:write",
                "shipping:read",
                "shipping:write",
                "quality:read",
            }
        ),
        "quality": frozenset(
            {
                "orders:read",
                "items:read",
                "stock:read",
                "purchasing:read",
                "shipping:read",
                "production:read",
                "quality:read",
                "quality:write",
            }
        ),
        "finance": frozenset(
            {
                "customers:read",
                "orders:read",
                "items:read",
                "stock:read",
                "purchasing:read",
                "shipping:read",
                "finance:read",
                "invoices:read",
            }
        ),
        # Its capabilities are still to come; a token says who is calling and opens nothing yet.
        "people": frozenset(),
        ADMIN_ROLE: frozenset(SCOPES),
    }
)
"""Scopes of each role."""


def granted_scopes(role: str, requested: str | None) -> frozenset[str] | None:
    """Scopes of a token: all of the role's, or the requested ones; None when the role lacks a requested one."""
    allowed = ROLES[role]
    if not requested or not requested.split():
        return allowed
    wanted = frozenset(requested.split())
    return wanted if wanted <= allowed else None


def binding_error(role: str, customer: str | None) -> str | None:
    """What is wrong with a client's customer, or None: the customer role needs one, no other role may have one."""
    if role == CUSTOMER_ROLE and customer is None:
        return "a client of the customer role is bound to one customer"
    if role != CUSTOMER_ROLE and customer is not None:
        return "only a client of the customer role is bound to a customer"
    return None


FREE_FAILURES = 5
FORGET_FAILURES = timedelta(minutes=15)
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=5)
_DOUBLINGS = 6


def next_attempt(failures: int, last_at: datetime) -> datetime:
    """When the next token request is looked at; from the fifth failure on the pause doubles, up to five minutes."""
    if failures < FREE_FAILURES:
        return last_at
    doublings = min(failures - FREE_FAILURES, _DOUBLINGS)
    return last_at + min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)


def secret_digest(secret: str) -> str:
    """SHA-256 of a client secret, in hex. Enough because secrets are made by machines from 32 random bytes."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_matches(secret: str, digest: str) -> bool:
    """Whether a secret has this digest, compared in constant time."""
    return hmac.compare_digest(secret_digest(secret), digest)


def derived_secret(key: bytes, client: str) -> str:
    """A client's secret: HMAC-SHA256 of its id under the signing key, so that it need not be stored to be repeated."""
    digest = hmac.new(key, f"client-secret\n{client}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def thumbprint(public_jwk: Mapping[str, str]) -> str:
    """Key id of an OKP public key: its JWK thumbprint (RFC 7638, members of RFC 8037 §2)."""
    required = {name: public_jwk[name] for name in ("crv", "kty", "x")}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")

"""Access tokens: every service verifies signature, issuer, audience, expiry and scope itself."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt

from chassis.clock import now
from chassis.http.problems import Problem

ALGORITHM = "EdDSA"
# An outside issuer rotates keys rarely; an unknown key id may trigger at most one fetch in this many seconds.
_REFETCH_SECONDS = 10.0


@dataclass(frozen=True)
class Principal:
    """Who is calling and what they may do."""

    client_id: str
    role: str
    scopes: frozenset[str]
    customer: str | None = None

    def require(self, scope: str) -> None:
        """Raise 403 unless the token carries the scope."""
        if scope not in self.scopes:
            raise Problem(403, "scope_missing", f"this needs the scope {scope!r}")

    def owns(self, customer: str) -> bool:
        """Whether the caller may see records of this customer: its own, or all if not bound to one."""
        return self.customer is None or self.customer == customer


def unauthorized(detail: str) -> Problem:
    """401 with the challenge RFC 6750 asks for."""
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="orderloop"'})


@dataclass
class TokenVerifier:
    """Verifies tokens against a JSON Web Key Set at a path or URL."""

    jwks: str
    issuer: str
    audience: str
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _fetched_at: float = -_REFETCH_SECONDS
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def verify(self, token: str) -> Principal:
        """The caller behind a token; raises 401 when it is missing, bad, expired or foreign."""
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self.issuer,
                audience=self.audience,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise unauthorized("the token has expired") from error
        except jwt.PyJWTError as error:
            raise unauthorized(f"the token is not valid: {error}") from error
        return Principal(
            client_id=str(claims["sub"]),
            role=str(claims.get("role", "")),
            scopes=frozenset(str(claims.get("scope", "")).split()),
            customer=claims.get("customer"),
        )

    async def _key(self, kid: str | None) -> jwt.PyJWK:
        async with self._lock:
            loop_time = asyncio.get_running_loop().time()
            if kid not in self._keys and loop_time - self._fetched_at >= _REFETCH_SECONDS:
                keys = jwt.PyJWKSet.from_dict(await self._fetch()).keys
                self._keys = {key.key_id: key for key in keys if key.key_id}
                self._fetched_at = loop_time
        if kid is None or kid not in self._keys:
            raise jwt.InvalidKeyError("it is signed with a key we do not know")
        return self._keys[kid]

    async def _fetch(self) -> dict[str, Any]:
        if not self.jwks.startswith(("http://", "https://")):
            return dict(json.loads(await asyncio.to_thread(Path(self.jwks).read_text)))
        async with httpx.AsyncClient(timeout=3) as client:
            answer = await client.get(self.jwks)
            answer.raise_for_status()
            return dict(answer.json())


def sign_token(key: jwt.PyJWK, issuer: str, audience: str, principal: Principal, seconds: int) -> str:
    """A signed access token (RFC 9068 claims plus role and customer) that lives `seconds`."""
    issued = int(now().timestamp())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": principal.client_id,
        "client_id": principal.client_id,
        "iat": issued,
        "exp": issued + seconds,
        "scope": " ".join(sorted(principal.scopes)),
        "role": principal.role,
    }
    if principal.customer is not None:
        claims["customer"] = principal.customer
    return jwt.encode(claims, key.key, algorithm=ALGORITHM, headers={"kid": key.key_id, "typ": "at+jwt"})

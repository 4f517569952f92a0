"""Access tokens: every service verifies signature, issuer, audience, expiry and scope itself."""

import asyncio
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import structlog

from chassis.clock import now
from chassis.http.problems import Problem

ALGORITHM = "EdDSA"
# Keys rotate rarely: a key taken out of the set is refused after the first time at the latest, and an unknown key id
# triggers a fetch at most once in the second.
_FRESH_SECONDS = 30.0
_REFETCH_SECONDS = 10.0
log = structlog.get_logger()


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
    _fetched_at: float = -math.inf
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def verify(self, token: str) -> Principal:
        """The caller behind a token; raises 401 when it is missing, bad, expired or foreign, 503 without any keys."""
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self.issuer,
                audience=self.audience,
                # When it was issued refuses nobody: a clock that is a little behind would refuse new tokens.
                options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_iat": False},
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
        if self._due(kid):
            async with self._lock:
                if self._due(kid):
                    await self._refresh()
        if kid is None or kid not in self._keys:
            raise jwt.InvalidKeyError("it is signed with a key we do not know")
        return self._keys[kid]

    def _due(self, kid: str | None) -> bool:
        age = asyncio.get_running_loop().time() - self._fetched_at
        return age >= (_FRESH_SECONDS if kid in self._keys else _REFETCH_SECONDS)

    async def _refresh(self) -> None:
        """Read the key set; when it cannot be read the known keys stay good, and without any raises 503."""
        try:
            keys = jwt.PyJWKSet.from_dict(await self._fetch()).keys
        except (OSError, ValueError, httpx.HTTPError, jwt.PyJWTError) as error:
            log.error("key_set_unreadable", jwks=self.jwks, error=repr(error))
            if not self._keys:
                detail = "the keys that verify access tokens cannot be read; try again shortly"
                raise Problem(503, "unavailable", detail, headers={"Retry-After": "2"}) from error
        else:
            self._keys = {key.key_id: key for key in keys if key.key_id}
        self._fetched_at = asyncio.get_running_loop().time()

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

"""A client of the gateway's public REST API, for the demo, the importers and end-to-end tests."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

# A token is renewed this many seconds before it expires.
_RENEW_BEFORE_SECONDS = 30
# 502 and 504 are writes whose outcome is unknown; with their key it is safe to repeat them.
_RETRY_STATUSES = (429, 502, 503, 504)
_RETRY_PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Credentials:
    """What a client authenticates with."""

    client_id: str
    client_secret: str


class ApiProblem(Exception):
    """The API refused; `status`, `code` and `body` are its problem+json."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        is_json = "json" in answer.headers.get("content-type", "")
        self.body: dict[str, Any] = answer.json() if is_json else {"detail": answer.text}
        self.code = str(self.body.get("code", ""))
        request = answer.request
        detail = self.body.get("detail", "")
        super().__init__(f"{request.method} {request.url.path} answered {self.status} {self.code}: {detail}")


@dataclass
class Api:
    """One authenticated client. Writes with a key are repeated safely while the platform is away, up to a deadline."""

    gateway: str
    credentials: Credentials
    patience_seconds: float = 120.0
    _token: str = ""
    _renew_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        # A few connections are enough, and httpx pays for every one in the pool.
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
        self.http = httpx.AsyncClient(base_url=self.gateway, timeout=30, limits=limits)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON answer of a GET; raises ApiProblem."""
        return dict((await self.request("GET", path, params=params)).json())

    async def post(self, path: str, body: Any = None, key: str | None = None) -> dict[str, Any]:
        """The JSON answer of a POST; `key` is its Idempotency-Key. Raises ApiProblem."""
        return dict((await self.request("POST", path, body=body or {}, key=key)).json())

    async def patch(self, path: str, body: Any, version: int, key: str | None = None) -> dict[str, Any]:
        """The JSON answer of an amendment of a record seen at `version`; raises ApiProblem."""
        headers = {"If-Match": f'"{version}"'}
        return dict((await self.request("PATCH", path, body=body, key=key, headers=headers)).json())

    async def items(self, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
        """Every record of a list, page by page."""
        cursor: str | None = None
        while True:
            page = await self.get(path, **{"limit": 200, **params, **({"cursor": cursor} if cursor else {})})
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """One call; raises ApiProblem on 4xx and 5xx, httpx.HTTPError when the gateway stays away."""
        deadline = time.monotonic() + self.patience_seconds
        repeatable = method == "GET" or key is not None
        while True:
            try:
                sent = {**(headers or {}), "Authorization": f"Bearer {await self.token()}"}
                if key:
                    sent["Idempotency-Key"] = key
                answer = await self.http.request(method, path, params=params, json=body, headers=sent)
            except httpx.TransportError:
                if not repeatable or time.monotonic() > deadline:
                    raise
            else:
                if answer.is_success:
                    return answer
                running = answer.status_code == 409 and answer.json().get("code") == "idempotency_key_running"
                again = answer.status_code in _RETRY_STATUSES or running
                if not again or not repeatable or time.monotonic() > deadline:
                    raise ApiProblem(answer)
            await asyncio.sleep(_RETRY_PAUSE_SECONDS)

    async def token(self) -> str:
        """A valid access token, fetched when needed; raises ApiProblem on bad credentials."""
        async with self._lock:
            if time.monotonic() >= self._renew_at:
                answer = await self.http.post(
                    "/oauth/token",
                    data={"grant_type": "client_credentials"},
                    auth=(self.credentials.client_id, self.credentials.client_secret),
                )
                if not answer.is_success:
                    raise ApiProblem(answer)
                granted = answer.json()
                self._token = granted["access_token"]
                self._renew_at = time.monotonic() + granted["expires_in"] - _RENEW_BEFORE_SECONDS
            return self._token

"""The one way to call another service: small connection pools, a deadline, a bounded queue, careful retries."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog

from chassis.http.problems import Problem

# A request over one pool of 64 connections costs 4× the CPU of one over a pool of 4, so a service gets several of 4.
_CONNECTIONS_PER_CLIENT = 4
_CLIENTS = 4
_MAX_WAITING = 128
# How long a service may refuse connections before callers are told: a restart takes less, on a busy machine too.
_RESTART_SECONDS = 15.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
# Shorter than the services keep an idle connection, so that none is reused just as they close it.
_IDLE_SECONDS = 30.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
log = structlog.get_logger()


@dataclass(frozen=True)
class Outgoing:
    """A request to send on. `target` is the raw path with its query."""

    method: str
    target: bytes
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def safe(self) -> bool:
        """Whether it changes nothing."""
        return self.method in SAFE_METHODS

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.safe or "idempotency-key" in self.headers


class _Lost(Exception):
    """The connection broke after the request may have been read."""


class Upstream:
    """One service behind the gateway."""

    def __init__(
        self, name: str, url: str, tls: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.name = name
        self._url = httpx.URL(url)
        limits = httpx.Limits(
            max_connections=_CONNECTIONS_PER_CLIENT,
            max_keepalive_connections=_CONNECTIONS_PER_CLIENT,
            keepalive_expiry=_IDLE_SECONDS,
        )
        # The deadline of the call bounds everything but connecting, which a dead address would stretch.
        timeout = httpx.Timeout(None, connect=2.0)
        self._clients = [
            httpx.AsyncClient(verify=tls, limits=limits, timeout=timeout, trust_env=False, transport=transport)
            for _ in range(_CLIENTS)
        ]
        self._busy = [0] * _CLIENTS
        self._slots = asyncio.Semaphore(_CLIENTS * _CONNECTIONS_PER_CLIENT)
        self._waiting = 0
        self._refusing_since: float | None = None

    async def send(self, request: Outgoing, seconds: float) -> httpx.Response:
        """The service's answer, whatever its status.

        `seconds` is the time the service has to answer; it may take some more to come back from a restart. Raises
        Problem 503 when the service is away or has too many requests waiting (nothing was done), 502 or 504 when the
        connection broke or the time ran out after the request was sent (it may have been done).
        """
        async with self._slot(seconds) as index:
            return await self._attempts(self._clients[index], request, seconds)

    @asynccontextmanager
    async def _slot(self, seconds: float) -> AsyncIterator[int]:
        """Index of the least busy client, once one of its connections is free. Raises 503 when too many wait."""
        overloaded = Problem(503, "overloaded", f"too many requests wait for {self.name}", headers=_LATER)
        if self._waiting >= _MAX_WAITING:
            raise overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise overloaded from error
        finally:
            self._waiting -= 1
        index = min(range(len(self._clients)), key=self._busy.__getitem__)
        self._busy[index] += 1
        try:
            yield index
        finally:
            self._busy[index] -= 1
            self._slots.release()

    async def _attempts(self, client: httpx.AsyncClient, request: Outgoing, seconds: float) -> httpx.Response:
        """Try until answered. A refused connection is tried again for any request: nothing was sent."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        started = loop.time()
        maybe_done = False
        while True:
            try:
                async with asyncio.timeout(seconds):
                    return await self._attempt(client, request)
            except TimeoutError as error:
                raise Problem(
                    504, "upstream_timeout", f"{self.name} did not answer within {seconds:g} seconds", headers=_LATER
                ) from error
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure: Exception = error
                self._refusing_since = self._refusing_since or loop.time()
            except _Lost as error:
                failure = error
                maybe_done = not request.safe
                if not request.repeatable:
                    raise self._problem(maybe_done) from error
            if loop.time() + pause > (self._refusing_since or started) + _RESTART_SECONDS:
                log.warning("upstream_away", upstream=self.name, error=repr(failure))
                raise self._problem(maybe_done) from failure
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _attempt(self, client: httpx.AsyncClient, request: Outgoing) -> httpx.Response:
        try:
            answer = await client.request(
                request.method,
                self._url.copy_with(raw_path=request.target),
                headers=httpx.Headers(request.headers, encoding="latin-1"),
                content=request.body or None,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise
        except httpx.TransportError as error:
            raise _Lost(repr(error)) from error
        self._refusing_since = None
        return answer

    def _problem(self, maybe_done: bool) -> Problem:
        if maybe_done:
            return Problem(502, "upstream_lost", f"{self.name} went away before it answered", headers=_LATER)
        return Problem(503, "upstream_away", f"{self.name} is away; try again shortly", headers=_LATER)

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()


_LATER = {"Retry-After": "2"}


class Upstreams:
    """The services behind the gateway, by name."""

    def __init__(
        self, urls: Mapping[str, str], transports: Mapping[str, httpx.AsyncBaseTransport] | None = None
    ) -> None:
        # One TLS context for all: making one costs as much as a hundred requests.
        tls = httpx.create_ssl_context(trust_env=False)
        self._by_name = {name: Upstream(name, url, tls, (transports or {}).get(name)) for name, url in urls.items()}

    def __getitem__(self, name: str) -> Upstream:
        return self._by_name[name]

    async def aclose(self) -> None:
        """Close all connections."""
        for upstream in self._by_name.values():
            await upstream.aclose()

"""What the gateway's tests share: a gateway under test, services behind it, apps on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

from chassis.service import Context
from chassis.testing import TestIssuer
from devkit.testing import wait_until

SECRETS = {role: f"{role}-secret-of-the-tests-0123456789abcdef" for role in ("admin", "sales", "customer")}


@dataclass
class Gateway:
    """A gateway under test."""

    client: httpx.AsyncClient
    app: FastAPI
    context: Context
    issuer: TestIssuer

    def bearer(self, *scopes: str, customer: str | None = None) -> dict[str, str]:
        """Headers of a caller with these scopes."""
        return {"Authorization": f"Bearer {self.issuer.token(*scopes, customer=customer)}"}


@dataclass
class Behind:
    """A service behind the gateway: records what it was sent, answers what the test says."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Callable[[], Response]] = field(default_factory=dict)

    def app(self) -> FastAPI:
        """Its HTTP app."""
        made = FastAPI(title="behind", openapi_url=None)

        @made.api_route("/{path:path}", methods=["GET", "POST", "PATCH", "DELETE"])
        async def answer(request: Request) -> Response:
            body = (await request.body()).decode()
            self.requests.append(
                {
                    "method": request.method,
                    "path": request.scope["raw_path"].decode(),
                    "query": request.scope["query_string"].decode(),
                    "headers": dict(request.headers),
                    "body": body,
                }
            )
            if made_answer := self.answers.get(f"{request.method} {request.url.path}"):
                return made_answer()
            return Response('{"ok":true}', media_type="application/json")

        return made


@asynccontextmanager
async def served(app: Any, port: int = 0) -> AsyncIterator[str]:
    """The app on a real socket; its URL."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    await wait_until(lambda: server.started, what="the server to start")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


MakeGateway = Callable[..., AbstractAsyncContextManager[Gateway]]

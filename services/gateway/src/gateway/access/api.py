"""Access tokens (OAuth 2.0 client credentials, RFC 6749 §4.4), the public key set, and clients."""

import base64
import binascii
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote_plus
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from chassis.clock import now
from chassis.http import problems
from chassis.http.auth import Principal, sign_token
from chassis.http.calls import Call, authenticated, requires
from chassis.http.paging import ListQuery, Page
from chassis.http.problems import Problem, ProblemBody, wrong_state
from chassis.service import Context
from contracts.values import Code, UtcTime
from gateway.access import commands, queries
from gateway.access.admission import too_many
from gateway.access.commands import ClientsFile
from gateway.access.keys import KeyFiles, SigningKey
from gateway.access.rates import Rates
from gateway.access.rules import granted_scopes, next_attempt, secret_digest, secret_matches
from gateway.settings import GatewaySettings

router = APIRouter(tags=["access"])
# Compared when the client is unknown, so that an answer does not tell by its time whether the client exists.
_NO_DIGEST = secret_digest("")
_UNPROVEN = "the client is unknown, disabled, or its secret is wrong"
_MAX_NAME_LENGTH = 255
_NOT_HERE = "Access tokens are made by an outside issuer, not here"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass
class Access:
    """What the token endpoint keeps for the life of the process."""

    context: Context
    keys: KeyFiles | None
    clients_file: ClientsFile
    # By address: who asks for a token has not shown yet who it is.
    rates: Rates

    @classmethod
    def create(cls, context: Context) -> "Access":
        """From the settings; raises OSError or ValueError when the signing key cannot be read."""
        settings: GatewaySettings = context.settings
        keys = KeyFiles(settings.signing_key_file, Path(settings.jwks)) if settings.signing_key_file else None
        if keys:
            keys.signing_key()
        rates = Rates(settings.token_requests_per_second, settings.token_request_burst)
        return cls(context, keys, ClientsFile(settings.clients_file), rates)

    def key_files(self) -> KeyFiles:
        """The keys; raises 404 where an outside issuer makes the tokens."""
        if self.keys is None:
            raise Problem(404, "not_found", _NOT_HERE)
        return self.keys

    def signing_key(self) -> SigningKey:
        """The key to sign with; raises 404 where an outside issuer makes the tokens."""
        return self.key_files().signing_key()


class TokenRequest(BaseModel):
    """A token request (RFC 6749 §4.4.2)."""

    grant_type: str | None = Field(default=None, max_length=100, description="client_credentials")
    client_id: str | None = Field(default=None, max_length=_MAX_NAME_LENGTH)
    client_secret: str | None = Field(default=None, max_length=1024)
    scope: str | None = Field(
        default=None, max_length=2000, description="space-separated; all of the role's by default"
    )


class Token(BaseModel):
    """A granted access token (RFC 6749 §5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105
    expires_in: int = Field(description="seconds")
    scope: str


class OAuthError(ProblemBody):
    """A refused token request: RFC 6749 §5.2 members beside those of problem+json."""

    error: str
    error_description: str


def _refused(error: str, detail: str, status: int = 400, headers: dict[str, str] | None = None) -> Response:
    plain = problems.response(Problem(status, error, detail))
    body = OAuthError(**json.loads(bytes(plain.body)), error=error, error_description=detail)
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status,
        headers={**_NO_STORE, **(headers or {})},
        media_type=plain.media_type,
    )


def _basic(authorization: str | None) -> tuple[str, str] | None:
    """Client id and secret of HTTP Basic (form-encoded, RFC 6749 §2.3.1); None without; ValueError when malformed."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if not colon:
        raise ValueError("no colon")
    return unquote_plus(name), unquote_plus(secret)


@router.post(
    "/oauth/token",
    response_model=Token,
    responses={
        **{status: {"model": OAuthError} for status in (400, 401, 429)},
        404: {"model": ProblemBody, "description": _NOT_HERE},
    },
    summary="An access token for client credentials",
)
async def token(
    request: Request, form: Annotated[TokenRequest, Form()], authorization: Annotated[str | None, Header()] = None
) -> Response:
    """Client id and secret come in the form or by HTTP Basic; `scope` narrows what the token may do."""
    access: Access = request.app.state.access
    access.key_files()
    address = request.client.host if request.client else ""
    if wait := access.rates.take(address, time.monotonic()):
        return _slowed(wait)
    if form.grant_type != "client_credentials":
        return _refused_grant_type(form.grant_type)
    try:
        credentials = _basic(authorization)
    except ValueError as error:
        return _invalid_client(f"the Authorization header is malformed: {error}")
    if credentials and form.client_secret is not None:
        return _refused("invalid_request", "send the client secret once: in the form or by HTTP Basic")
    name, secret = credentials or (form.client_id, form.client_secret)
    if not name or not secret:
        return _refused("invalid_request", "client_id and client_secret are needed")
    return await _grant(access, name, secret, form.scope, address)


async def _grant(access: Access, name: str, secret: str, scope: str | None, address: str) -> Response:
    if not name.isprintable() or len(name) > _MAX_NAME_LENGTH:
        return _invalid_client(_UNPROVEN)
    database = access.context.database
    await access.clients_file.sync(database)
    async with database.read() as reader:
        failed = await queries.failures(reader, name, address, now())
        if failed and (wait := (next_attempt(failed["failures"], failed["last_at"]) - now()).total_seconds()) > 0:
            return _slowed(wait)
        row = await queries.by_client_id(reader, name)
    if not secret_matches(secret, row["secret_sha256"] if row else _NO_DIGEST) or row is None:
        await database.write(lambda tx: commands.note_failure(tx, name, address))
        return _invalid_client(_UNPROVEN)
    if failed:
        await database.write(lambda tx: commands.forget_failures(tx, name, address))
    scopes = granted_scopes(row["role"], scope)
    if scopes is None:
        return _refused("invalid_scope", f"the role {row['role']} does not have all of: {scope}")
    settings: GatewaySettings = access.context.settings
    principal = Principal(name, row["role"], scopes, row["customer"])
    made = Token(
        access_token=sign_token(
            access.signing_key().jwk, settings.issuer, settings.audience, principal, settings.token_seconds
        ),
        expires_in=settings.token_seconds,
        scope=" ".join(sorted(scopes)),
    )
    return JSONResponse(made.model_dump(), headers=_NO_STORE)


def _refused_grant_type(given: str | None) -> Response:
    if not given:
        return _refused("invalid_request", "grant_type is missing")
    return _refused("unsupported_grant_type", "only client_credentials is supported")


def _slowed(seconds: float) -> Response:
    problem = too_many(seconds)
    return _refused("slow_down", problem.detail, problem.status, problem.headers)


def _invalid_client(detail: str) -> Response:
    return _refused("invalid_client", detail, 401, {"WWW-Authenticate": 'Basic realm="orderloop"'})


class KeySet(BaseModel):
    """JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


@router.get(
    "/.well-known/jwks.json",
    summary="Public keys that verify access tokens",
    responses={404: {"model": ProblemBody, "description": _NOT_HERE}},
)
async def jwks(request: Request) -> KeySet:
    """The public half of the signing key, and of the next or the last one while they change."""
    access: Access = request.app.state.access
    return KeySet(keys=access.key_files().public_keys())


class Me(BaseModel):
    """The caller, as its token says."""

    client: str
    role: str
    scopes: list[str]
    customer: str | None


@router.get("/v1/me", summary="Who is calling and what it may do")
async def me(call: Annotated[Call, authenticated()]) -> Me:
    """Client, role, scopes and customer of the token."""
    who = call.principal
    return Me(client=who.client_id, role=who.role, scopes=sorted(who.scopes), customer=who.customer)


class Client(BaseModel):
    """A client that may ask for access tokens."""

    id: UUID
    number: str = Field(description="the same as client_id")
    client_id: str
    role: str
    customer: str | None
    disabled: bool
    version: int
    created_at: UtcTime
    updated_at: UtcTime


class NewClient(Client):
    """A client just made."""

    client_secret: str = Field(description="shown this once")


class ClientRequest(BaseModel):
    """A client to make."""

    model_config = ConfigDict(extra="forbid")

    client_id: Code | None = None
    role: str
    customer: Code | None = Field(default=None, description="number of the customer a customer client is bound to")


async def _manager(request: Request, call: Annotated[Call, requires("clients:write")]) -> Call:
    """A caller who may manage clients, those of the file included."""
    access: Access = request.app.state.access
    await access.clients_file.sync(call.database)
    return call


Manager = Annotated[Call, Depends(_manager)]


@router.get("/v1/clients", response_model=Page[Client], summary="Clients")
async def list_clients(call: Manager, paging: Annotated[ListQuery, Query()]) -> dict[str, Any]:
    """One page of clients, oldest first; never their secrets."""
    async with call.read() as reader:
        rows, cursor = await queries.clients(reader, paging)
    return {"items": rows, "next_cursor": cursor}


@router.post("/v1/clients", response_model=NewClient, status_code=201, summary="Make a client")
async def create_client(request: Request, call: Manager, body: ClientRequest) -> Response:
    """Makes a client and shows its secret. Only the secret's digest is kept, also for repeats of the request.

    A repeat after the signing key was changed is 409: the secret cannot be shown again.
    """
    access: Access = request.app.state.access
    secret_of = access.signing_key().secret_of
    reply = await call.write(
        lambda tx: commands.create(tx, body.client_id, body.role, body.customer, secret_of), Client, 201
    )
    record = json.loads(bytes(reply.body))
    secret = secret_of(record["id"])
    if "Idempotent-Replay" in reply.headers:
        async with call.read() as reader:
            if not secret_matches(secret, await queries.secret_digest_of(reader, record["id"])):
                raise wrong_state("the signing key was changed since this client was made", "secret_gone")
    headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
    return JSONResponse({**record, "client_secret": secret}, reply.status_code, {**headers, **_NO_STORE})


@router.delete("/v1/clients/{client}", response_model=Client, summary="Disable a client")
async def disable_client(call: Manager, client: str) -> Response:
    """The client gets no new tokens; those it has live on until they expire. Not oneself, nor the last admin."""
    return await call.write(lambda tx: commands.disable(tx, client, call.principal.client_id), Client)

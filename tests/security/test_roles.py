"""Each role can do exactly what its scopes say, on every operation of every document."""

from collections import Counter

import pytest
from contract.surface import Surface
from fastapi import FastAPI
from starlette.routing import Route

from gateway.access.rules import ROLES

PUBLIC = {("post", "/oauth/token"), ("get", "/.well-known/jwks.json")}
# Answered without a token and not in the documents: health, metrics and the documents themselves.
DOCUMENTS = {"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
UNDOCUMENTED = DOCUMENTS | {"/livez", "/healthz", "/readyz", "/metrics"}
# Which role may write what, so that no scope reaches a role unnoticed.
WRITES = {
    "customer": {"orders:write"},
    "sales": {"customers:write", "orders:write"},
    "planner": {"items:write", "production:write", "purchasing:write"},
    "operator": {"execution:write"},
    "warehouse": {"purchasing:write", "shipping:write", "stock:write"},
    "quality": {"quality:write"},
    "finance": set[str](),
    "people": set[str](),
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_can_do_exactly_what_its_scopes_say(surface: Surface, role: str) -> None:
    customer = "C-1" if role == "customer" else None
    headers = surface.bearer(*ROLES[role], role=role, customer=customer, client=f"role-{role}")
    wrong, seen = [], Counter[bool]()
    for operation in surface.operations():
        if operation.scopes is None or operation.path.endswith("/stream"):
            continue
        allowed = operation.scopes <= ROLES[role]
        answer = await surface.send(operation, headers=headers)
        seen[allowed] += 1
        if (answer.status_code == 403) == allowed or answer.status_code == 401 or answer.status_code >= 500:
            wrong.append(f"{operation} for {role}: {answer.status_code} {answer.text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert seen[True] if role != "admin" else not seen[False]
    assert seen.total() > 150


async def test_without_a_token_only_the_public_paths_answer(surface: Surface) -> None:
    wrong, public = [], set()
    for operation in surface.operations():
        answer = await surface.send(operation)
        if operation.scopes is None:
            public.add((operation.method, operation.path))
        elif answer.status_code != 401 or not answer.headers["www-authenticate"].startswith("Bearer"):
            wrong.append(f"{operation}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert public == PUBLIC


@pytest.mark.parametrize("kind", ["expired", "of another issuer", "for another audience", "unsigned", "of a customer"])
async def test_a_token_must_be_ours_and_alive(surface: Surface, kind: str) -> None:
    """Each operation needs each of its checks; a customer's token opens nothing of the staff's."""
    if kind == "of a customer":
        operations = [o for o in surface.operations() if o.scopes and not o.scopes <= ROLES["customer"]]
        headers, status = surface.bearer(*ROLES["customer"], role="customer", customer="C-1"), 403
    else:
        operations = [o for o in surface.operations() if o.scopes is not None]
        headers, status = {"Authorization": f"Bearer {surface.bad_token(kind)}"}, 401
    answers = [(operation, await surface.send(operation, headers=headers)) for operation in operations]
    wrong = [f"{operation}: {answer.status_code}" for operation, answer in answers if answer.status_code != status]
    assert not wrong, "\n".join(wrong)
    assert len(operations) > 50


@pytest.mark.parametrize("app", ["crm", "erp", "mes", "gateway"])
def test_every_route_is_documented_or_known_to_be_open(surface: Surface, app: str) -> None:
    documented = set(surface.apps[app].openapi()["paths"])
    inner = {"/v1/{path:path}"} if app == "gateway" else {"/internal/applied"}
    assert _paths(surface.apps[app]) - documented == UNDOCUMENTED | inner


def _paths(app: FastAPI) -> set[str]:
    included = [router.original_router for router in app.routes if not isinstance(router, Route)]
    routes = [*app.routes, *(route for router in included for route in router.routes)]
    return {route.path for route in routes if isinstance(route, Route)}


def test_each_role_writes_only_what_is_its_own() -> None:
    for role, scopes in ROLES.items():
        if role != "admin":
            assert {scope for scope in scopes if scope.endswith(":write")} == WRITES[role]
    assert [role for role, scopes in ROLES.items() if "clients:write" in scopes] == ["admin"]


def test_people_opens_nothing_yet() -> None:
    assert ROLES["people"] == frozenset()

"""Roles, secrets, key ids and the slowing of guesses."""

from datetime import UTC, datetime

import pytest

from gateway.access.rates import Rates
from gateway.access.rules import (
    FREE_FAILURES,
    ROLES,
    SCOPES,
    binding_error,
    granted_scopes,
    next_attempt,
    secret_digest,
    secret_matches,
    thumbprint,
)


def test_a_customer_may_only_use_what_is_its_own() -> None:
    assert ROLES["customer"] == {"orders:read", "orders:write", "shipping:read", "invoices:read"}


def test_admin_may_do_everything_and_nobody_else_manages_clients() -> None:
    assert ROLES["admin"] == set(SCOPES)
    assert [role for role, scopes in ROLES.items() if "clients:write" in scopes] == ["admin"]


@pytest.mark.parametrize("role", ROLES)
def test_roles_only_have_scopes_that_exist(role: str) -> None:
    assert ROLES[role] <= set(SCOPES)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("sales", "orders:write", "items:write"),
        ("planner", "items:write", "stock:write"),
        ("operator", "execution:write", "production:write"),
        ("warehouse", "stock:write", "orders:write"),
        ("quality", "quality:write", "execution:write"),
        ("finance", "finance:read", "stock:write"),
    ],
)
def test_each_role_has_its_own_work(role: str, may: str, may_not: str) -> None:
    assert may in ROLES[role]
    assert may_not not in ROLES[role]


def test_every_scope_is_somebodys() -> None:
    assert set().union(*(scopes for role, scopes in ROLES.items() if role != "admin")) | {"clients:write"} == set(
        SCOPES
    )


def test_a_token_can_be_narrowed_but_not_widened() -> None:
    assert granted_scopes("sales", None) == ROLES["sales"]
    assert granted_scopes("sales", "  ") == ROLES["sales"]
    assert granted_scopes("sales", "orders:read") == {"orders:read"}
    assert granted_scopes("sales", "orders:read finance:read") is None


def test_only_customers_are_bound_to_a_customer() -> None:
    assert binding_error("customer", "C-1") is None
    assert binding_error("sales", None) is None
    assert binding_error("customer", None)
    assert binding_error("sales", "C-1")


def test_secrets_are_compared_by_digest() -> None:
    assert secret_matches("right", secret_digest("right"))
    assert not secret_matches("wrong", secret_digest("right"))


def test_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    published = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(published) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_guessing_is_slowed_after_the_free_failures_and_ever_more() -> None:
    last = datetime(2026, 1, 1, tzinfo=UTC)
    pauses = [(next_attempt(failures, last) - last).total_seconds() for failures in range(FREE_FAILURES + 10)]
    assert pauses[:FREE_FAILURES] == [0] * FREE_FAILURES
    assert pauses[FREE_FAILURES : FREE_FAILURES + 3] == [5, 10, 20]
    assert pauses[-1] == max(pauses) == 300


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    rates = Rates(per_second=2, burst=3)
    assert [rates.take("app", 0) for _ in range(3)] == [0, 0, 0]
    assert rates.take("app", 0) == 0.5
    assert rates.take("other", 0) == 0
    assert rates.take("app", 0.5) == 0
    assert rates.take("app", 0.5) == 0.5
    assert [rates.take("app", 1000) for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_of_those_who_stopped_asking_are_dropped() -> None:
    rates = Rates(per_second=1, burst=1)
    for index in range(20_000):
        rates.take(f"app-{index}", index)
    assert len(rates._buckets) == 10_000

"""Operator verbs refuse what they cannot do in words a person can act on; what they do is tried end to end."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from devkit.cli import app
from devkit.ops.services import Answers
from devkit.ops.show import age
from devkit.platform import PlatformError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "--group", "crm.order-state", "--from", "yesterday"], "beginning, a time or an offset"),
        (["replay", "--group", "crm.order-state", "--from", "2026-11-23T05:00:00"], "needs its zone"),
        (["replay", "--group", "crm.nobody", "--from", "beginning"], "no group crm.nobody"),
        (["replay", "--group", "crm.catalogue", "--from", "0", "--topic", "mes.lot.events.v1"], "does not read"),
        (["parked", "list", "--service", "hr"], "no service hr"),
        (["outbox", "skip", "7"], "--service"),
        (["events", "get", "not-an-id"], "valid UUID"),
        (["invariants", "--settle", "-1"], "greater than or equal to 0"),
    ],
)
def test_bad_usage_is_said(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["lag"], ["parked", "list"], ["topics", "plan"], ["events", "trace", "SO-1"]])
def test_without_a_platform_it_says_what_to_run(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERLOOP_STATE", str(tmp_path / "nothing"))
    with pytest.raises(PlatformError, match="run `orderloop up`"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_who_has_not_what_is_asked_for_is_left_out_unless_nobody_has_it() -> None:
    missing = {"service": "crm", "code": "nothing_such", "error": "key k is not parked"}
    refused = {"service": "mes", "code": "refused", "error": "still fails"}
    found = Answers({"erp": {"parked": [{"key": "k"}]}}, [missing]).found()
    assert (found.rows("parked"), found.errors) == ([{"service": "erp", "key": "k"}], [])
    with pytest.raises(PlatformError, match="not parked"):
        Answers({}, [missing]).found()
    with pytest.raises(PlatformError, match="still fails"):
        Answers({"erp": {"parked": []}}, [missing, refused]).found()


def test_ages_are_told_in_the_unit_that_fits() -> None:
    assert [age(seconds) for seconds in (None, 0.25, 90, 5400, 200_000)] == ["-", "0.2 s", "1.5 min", "1.5 h", "2.3 d"]

"""A short run under fire: every kind of fault that needs no disk of its own, and not one guarantee broken."""

from pathlib import Path
from typing import get_args

from chaos.run import Plan, run
from chaos.schedule import Kind

_SEED = 7


async def test_the_guarantees_hold_under_fire(tmp_path: Path) -> None:
    report = await run(Plan(_SEED, 0, "short"), tmp_path / "state", print)
    found = "\n".join(f"{violation.check}: {violation.sentence}" for violation in report.violations)
    assert not found, f"{found}\nlogs, data and history.jsonl are in {tmp_path / 'state'}"
    assert report.accepted > 20
    assert {recovery.kind for recovery in report.recoveries} == {*get_args(Kind)} - {"full disk"}

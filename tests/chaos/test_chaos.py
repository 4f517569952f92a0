"""A short run under fire: every kind of fault that needs no disk of its own, and not one guarantee broken."""

from pathlib import Path

from chaos.run import Plan, run

_SEED = 7


async def test_the_guarantees_hold_under_fire(tmp_path: Path, capsys: object) -> None:
    report = await run(Plan(_SEED, 0, "short"), tmp_path / "state", print)
    assert not report.violations, "\n".join(f"{v.check}: {v.sentence}" for v in report.violations)
    assert report.accepted > 30
    assert len({recovery.kind for recovery in report.recoveries}) == 12

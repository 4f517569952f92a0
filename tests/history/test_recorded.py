"""A recorded run of the real platform passes, and whatever is then taken from it or added to it is missed.

`data/run.jsonl.gz` holds a small run as `collect` saved it: seven orders, one amended, one cancelled, one lot rejected,
and the floor stopped with work left on it.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from history import NAMES, History, Violation, check_all
from history.platform import FOLDS

LOST, PHANTOM, ORDER, _, ONCE, AHEAD, CONSERVED, ENDS = NAMES
# Every so many rows are tried, to keep the tests short.
_STEP = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> History:
    file = tmp_path_factory.mktemp("history") / "run.jsonl"
    file.write_bytes(gzip.decompress((Path(__file__).parent / "data" / "run.jsonl.gz").read_bytes()))
    return History.load(file)


def found(history: History, **changed: Any) -> list[Violation]:
    return check_all(replace(history, **changed), FOLDS)


def checks(violations: Sequence[Violation]) -> set[str]:
    return {violation.check for violation in violations}


def without_each(rows: Sequence[Any], step: int = _STEP) -> Iterator[tuple[Any, list[Any]]]:
    """Some of the rows, each with the list of all others."""
    for index in range(0, len(rows), step):
        yield rows[index], [*rows[:index], *rows[index + 1 :]]


def test_the_run_has_no_violation(run: History) -> None:
    assert found(run) == []
    assert {effect.fold for effect in run.effects} == {fold.name for fold in FOLDS}
    assert {process.terminal for process in run.processes} == {True, False}


def test_no_record_can_be_lost_unnoticed(run: History) -> None:
    for lost, rest in without_each(run.latest):
        seen = found(run, records=rest)
        assert checks(seen) & {LOST, ORDER, ONCE, PHANTOM}, lost.name
        assert any(lost.event_id in v.sentence or str(lost.key) in v.sentence for v in seen), lost.name


def test_no_version_can_be_wrong_unnoticed(run: History) -> None:
    for later in [record for record in run.latest if (record.aggregate_version or 0) > 1][::_STEP]:
        renamed = {later.place: replace(later, aggregate_version=(later.aggregate_version or 0) - 1)}
        assert ORDER in checks(found(run, records=[renamed.get(r.place, r) for r in run.latest])), later.name


def test_no_inbox_row_can_be_missing_unnoticed(run: History) -> None:
    for row, rest in without_each(run.inbox):
        assert AHEAD in checks(found(run, inbox=rest)), row


def test_no_effect_can_be_missing_or_doubled_unnoticed(run: History) -> None:
    for effect, rest in without_each([effect for effect in run.effects if effect.amount], 1):
        assert checks(found(run, effects=rest)) == {ONCE}, effect
        assert checks(found(run, effects=[*run.effects, effect])) == {ONCE}, effect


def test_no_stock_or_money_can_vanish_unnoticed(run: History) -> None:
    for part in ("ledger", "journal", "balances"):
        for row, rest in without_each(getattr(run, part), 3):
            if part != "balances" or row.on_hand:
                assert checks(found(run, **{part: rest})) == {CONSERVED}, row


def test_no_order_line_can_be_short_unnoticed(run: History) -> None:
    for line, rest in without_each(run.order_lines, 1):
        assert checks(found(run, order_lines=[*rest, replace(line, open=line.open + Decimal(1))])) == {CONSERVED}, line


def test_no_open_process_can_be_forgotten_unnoticed(run: History) -> None:
    for process, rest in without_each([process for process in run.processes if not process.terminal], 1):
        others = [*rest, *(other for other in run.processes if other.terminal)]
        forgotten = replace(process, waits_for=())
        assert checks(found(run, processes=[*others, forgotten])) == {ENDS}, process

"""A valid history passes; each planted violation is found, by exactly the check it belongs to."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from history import NAMES, Command, Fold, History, Injected, Record, Run, Violation, check_all
from history.__main__ import main
from history.model import (
    Balance,
    CommittedOffset,
    DeadLetter,
    Effect,
    Group,
    InboxRow,
    JournalLine,
    Lot,
    OrderLine,
    OutboxRow,
    ParkedEvent,
    Process,
    StockRow,
    StoredAnswer,
)

BEGAN = datetime(2026, 11, 23, 5, tzinfo=UTC)
TOPIC, GROUP, TYPE, CAUSED = "t.thing.events.v1", "s.hearing", "t.Made.v1", "t.Noted.v1"
NOTES = "t.note.events.v1"


def event_id(number: int) -> str:
    return str(UUID(int=number))


def record(number: int, key: str, version: int, offset: int, **more: object) -> Record:
    made = Record(
        topic=TOPIC,
        partition=0,
        offset=offset,
        key=key,
        event_id=event_id(number),
        type=TYPE,
        causation_id=None,
        correlation_id=key,
        time=BEGAN + timedelta(seconds=1),
        aggregate_version=version,
        timestamp=0,
        digest=f"d{number}",
    )
    return replace(made, **more)  # type: ignore[arg-type]


HEARD = Fold("heard", GROUP, frozenset({TYPE}), lambda records: {r.event_id: Decimal(1) for r in records})


def valid() -> History:
    """Three commands and one refused; key b is poisoned at its second event, key a's note is caused by its first."""
    history = History(Run(BEGAN, BEGAN + timedelta(minutes=1)))
    at = BEGAN, BEGAN + timedelta(seconds=1)
    history.commands = [
        Command("k1", "place", *at, "ok", (event_id(1), event_id(2))),
        Command("k2", "place", *at, "ok"),
        Command("k3", "place", *at, "unknown", (event_id(97),)),
        Command("k4", "place", *at, "fail"),
        Command("k5", "count", *at, "ok", (event_id(6),)),
    ]
    history.answers = [StoredAnswer("s", "k2", (event_id(3), event_id(4), event_id(5)))]
    history.records = [
        record(1, "a", 1, 0),
        record(2, "a", 2, 1),
        record(1, "a", 1, 2),
        record(3, "b", 1, 3),
        record(4, "b", 2, 4),
        record(5, "b", 3, 5),
        record(6, "c", 1, 6),
        record(7, "a", 1, 0, topic=NOTES, type=CAUSED, causation_id=event_id(1)),
        record(0, "poison", 0, 7, event_id="", type="", aggregate_version=None),
    ]
    history.injected = [Injected(TOPIC, 0, 7)]
    history.groups = [Group(GROUP, (TOPIC,), (TYPE,))]
    history.offsets = [CommittedOffset(GROUP, TOPIC, 0, 8)]
    history.inbox = [InboxRow(GROUP, event_id(n)) for n in (1, 2, 3, 6)]
    history.effects = [Effect("heard", event_id(n), Decimal(1)) for n in (1, 2, 3, 6)]
    history.dead_letters = [DeadLetter(GROUP, TOPIC, 0, 4, event_id(4)), DeadLetter(GROUP, TOPIC, 0, 7, "")]
    history.parked = [ParkedEvent(GROUP, TOPIC, 0, offset, "b", event_id(offset)) for offset in (4, 5)]
    _with_plant(history)
    return history


def _with_plant(history: History) -> None:
    ten = Decimal(10)
    history.ledger = [
        StockRow("X", 1, "L1", ten, ten),
        StockRow("X", 2, "L2", Decimal(5), Decimal(15)),
        StockRow("X", 3, "L1", Decimal(-4), Decimal(11)),
    ]
    history.balances = [Balance("X", Decimal(11), Decimal(6), Decimal(5))]
    history.lots = [Lot("X", "L1", Decimal(6), False), Lot("X", "L2", Decimal(5), True)]
    history.order_lines = [
        OrderLine("SO-1", 1, Decimal(4), Decimal(0), Decimal(4), Decimal(0)),
        OrderLine("SO-2", 1, Decimal(6), Decimal(0), Decimal(0), Decimal(6)),
        OrderLine("SO-3", 1, Decimal(9), Decimal(9), Decimal(0), Decimal(0)),
    ]
    history.journal = [JournalLine("JE-1", "1000", ten, Decimal(0)), JournalLine("JE-1", "2000", Decimal(0), ten)]
    history.processes = [
        Process("order/1", "closed", True),
        Process("order/2", "open", False, ("plan/1",)),
        Process("plan/1", "released", False, ("work-order/1",)),
        Process("work-order/1", "scheduled", False, ("role/operator",)),
        Process("recall/1", "running", False, deadline=BEGAN + timedelta(hours=1)),
    ]


def found(history: History) -> list[Violation]:
    return check_all(history, [HEARD])


def test_a_valid_history_has_no_violation() -> None:
    assert found(valid()) == []


Plant = Callable[[History], None]


def _change(part: str, index: int, **values: object) -> Plant:
    def plant(history: History) -> None:
        rows = getattr(history, part)
        rows[index] = replace(rows[index], **values)

    return plant


def _drop(part: str, *indexes: int) -> Plant:
    def plant(history: History) -> None:
        setattr(history, part, [row for n, row in enumerate(getattr(history, part)) if n not in indexes])

    return plant


def _add(part: str, *rows: object) -> Plant:
    def plant(history: History) -> None:
        getattr(history, part).extend(rows)

    return plant


def _all(*plants: Plant) -> Plant:
    def plant(history: History) -> None:
        for one in plants:
            one(history)

    return plant


def _undisturbed(history: History) -> None:
    history.run = replace(history.run, undisturbed=True)


def _read_again(history: History) -> None:
    history.records += [replace(one, read=2) for one in history.records]


def _without_effect_of_6(history: History) -> None:
    history.inbox = [row for row in history.inbox if row.event_id != event_id(6)]
    history.effects = [effect for effect in history.effects if effect.key != event_id(6)]


LOST, PHANTOM, ORDER, OFFSETS, ONCE, AHEAD, CONSERVED, ENDS = NAMES
_OTHER = event_id(50)

PLANTED: dict[str, tuple[str, Plant]] = {
    # No lost write.
    "an acknowledged command's last event never reaches its topic": (
        LOST,
        _all(_drop("records", 6), _without_effect_of_6),
    ),
    "a committed command's answer names an event that is nowhere": (
        LOST,
        _change("answers", 0, event_ids=(event_id(3), event_id(4), event_id(5), event_id(55))),
    ),
    "an acknowledged command nobody remembers": (LOST, _change("commands", 1, key="k9")),
    "half of a command whose outcome is unknown": (LOST, _change("commands", 2, event_ids=(event_id(6), event_id(97)))),
    "an event stays in the outbox": (LOST, _add("outbox", OutboxRow("s", event_id(60), TOPIC, "z", 1, parked=False))),
    # No phantom.
    "an event of a refused command": (PHANTOM, _change("commands", 4, outcome="fail")),
    "a refused command that was committed": (PHANTOM, _add("answers", StoredAnswer("s", "k4", ()))),
    "an event nobody asked for": (PHANTOM, _add("records", record(50, "z", 1, 9, type="t.Other.v1"))),
    "an event whose cause is on no topic": (PHANTOM, _change("records", 7, causation_id=event_id(99))),
    # Per-key order.
    "two events of a key are swapped": (
        ORDER,
        _all(_drop("records", 2), _change("records", 0, offset=1), _change("records", 1, offset=0)),
    ),
    "a version is missing": (ORDER, _change("records", 6, aggregate_version=2)),
    "two events have the same version": (ORDER, _change("records", 1, aggregate_version=1)),
    "a key is in two partitions": (ORDER, _change("records", 1, partition=1)),
    "an event is published twice though nothing failed": (ORDER, _undisturbed),
    # Offset uniqueness.
    "a record reads differently later": (OFFSETS, _all(_read_again, _change("records", 0, digest="other"))),
    "a record is gone later": (OFFSETS, _all(_read_again, _add("records", record(50, "z", 1, 9)))),
    "two records at one offset": (OFFSETS, _add("records", record(1, "a", 1, 1, digest="other"))),
    # Effect once.
    "an effect twice": (ONCE, _add("effects", Effect("heard", event_id(1), Decimal(1)))),
    "an effect missing": (ONCE, _drop("effects", 0)),
    "an effect of no event": (ONCE, _add("effects", Effect("heard", _OTHER, Decimal(1)))),
    "an inbox row of an event that is on no topic": (ONCE, _add("inbox", InboxRow(GROUP, _OTHER))),
    "an inbox row twice": (ONCE, _add("inbox", InboxRow(GROUP, event_id(1)))),
    "an event left unread": (ONCE, _all(_without_effect_of_6, _change("offsets", 0, offset=6))),
    "a later event applied over one given up": (
        ONCE,
        _all(
            _drop("parked", 0, 1),
            _add("inbox", InboxRow(GROUP, event_id(5))),
            _add("effects", Effect("heard", event_id(5), Decimal(1))),
        ),
    ),
    # Offset never ahead.
    "an offset committed past an event that was not applied": (AHEAD, _drop("inbox", 3)),
    "an offset of another group committed past an event": (
        AHEAD,
        _all(
            _add("groups", Group("s.other", (NOTES,), (CAUSED,))),
            _add("offsets", CommittedOffset("s.other", NOTES, 0, 1)),
        ),
    ),
    "an offset committed past a record nobody can read": (AHEAD, _drop("dead_letters", 1)),
    # Conservation.
    "stock from nowhere": (CONSERVED, _change("balances", 0, on_hand=Decimal(12))),
    "a ledger row that does not add up": (CONSERVED, _change("ledger", 2, balance=Decimal(12))),
    "a ledger row gone": (CONSERVED, _drop("ledger", 1)),
    "an oversold item": (CONSERVED, _change("balances", 0, reserved=Decimal(7))),
    "a lot with another quantity": (CONSERVED, _change("lots", 0, quantity=Decimal(7))),
    "held stock counted as free": (CONSERVED, _change("lots", 1, held=False)),
    "a ledger without a balance": (CONSERVED, _drop("balances", 0)),
    "more shipped than ordered": (CONSERVED, _change("order_lines", 0, shipped=Decimal(5))),
    "an order line nobody fulfils": (CONSERVED, _change("order_lines", 1, open=Decimal(2))),
    "a cancelled line still open": (CONSERVED, _change("order_lines", 2, open=Decimal(9))),
    "debits without credits": (CONSERVED, _drop("journal", 1)),
    # Processes end.
    "an order waits for nobody": (ENDS, _change("processes", 1, waits_for=())),
    "an order waits for a plan that is closed": (ENDS, _change("processes", 1, waits_for=("order/1",))),
    "an order waits for what does not exist": (ENDS, _change("processes", 1, waits_for=("plan/9",))),
    "a deadline that passed": (ENDS, _change("processes", 4, deadline=BEGAN)),
    "two processes wait for each other": (
        ENDS,
        _add(
            "processes", Process("plan/7", "released", False, ("plan/8",)), Process("plan/8", "x", False, ("plan/7",))
        ),
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found_by_its_check_alone(planted: str) -> None:
    check, plant = PLANTED[planted]
    history = valid()
    plant(history)
    assert {violation.check for violation in found(history)} == {check}


def test_every_check_has_planted_violations() -> None:
    assert {check for check, _ in PLANTED.values()} == set(NAMES)


TOLERATED: dict[str, Plant] = {
    "a command of unknown outcome was not done at all": _change("commands", 2, event_ids=()),
    "a command of unknown outcome was done": _change("commands", 4, outcome="unknown"),
    "what was there before the load began": _add(
        "records", record(50, "z", 1, 9, type="t.Other.v1", time=BEGAN - timedelta(seconds=1))
    ),
    "an event that cannot be sent, and the later one of its key": _add(
        "outbox",
        OutboxRow("s", event_id(60), TOPIC, "z", 1, parked=True),
        OutboxRow("s", event_id(61), TOPIC, "z", 2, parked=False),
    ),
    "an event that was given up, released and applied": _all(
        _drop("parked", 0, 1),
        _add("inbox", *(InboxRow(GROUP, event_id(n)) for n in (4, 5))),
        _add("effects", *(Effect("heard", event_id(n), Decimal(1)) for n in (4, 5))),
    ),
    "an event that was given up and skipped": _all(
        _drop("parked", 0, 1),
        _add("inbox", *(InboxRow(GROUP, event_id(n)) for n in (4, 5))),
        _add("effects", Effect("heard", event_id(5), Decimal(1))),
    ),
    "everything read again": _read_again,
    "old events sent again after newer ones": _all(
        _add("records", record(1, "a", 1, 8), record(3, "b", 1, 9)),
        _add("injected", Injected(TOPIC, 0, 8), Injected(TOPIC, 0, 9)),
    ),
}


@pytest.mark.parametrize("tolerated", TOLERATED)
def test_what_may_happen_is_no_violation(tolerated: str) -> None:
    history = valid()
    TOLERATED[tolerated](history)
    assert found(history) == []


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("abc"), max_size=30),
    st.sets(st.integers(0, 60), max_size=5),
    st.sets(st.integers(0, 29), max_size=3),
)
def test_any_interleaving_of_keys_with_repeats_is_in_order_until_one_event_is_lost(
    keys: list[str], repeats: set[int], lost: set[int]
) -> None:
    """An event may be repeated anywhere behind itself; losing one shows unless it was the last of its key."""
    history = History(Run(BEGAN, BEGAN))
    versions: dict[str, int] = {}
    written: list[tuple[int, str, int]] = []
    for number, key in enumerate(keys, 1):
        versions[key] = versions.get(key, 0) + 1
        written.append((number, key, versions[key]))
    kept = [one for index, one in enumerate(written) if index not in lost]
    log = [*kept]
    for place in sorted(repeats):
        if place < len(log):
            log.insert(min(place * 2, len(log)), log[place])
    history.records = [record(*one, offset) for offset, one in enumerate(log)]
    history.commands = [Command("k", "place", BEGAN, BEGAN, "ok", tuple(event_id(n) for n, _, _ in kept))]
    missing = [written[index] for index in lost if index < len(written)]
    gap = any(
        key == lost_key and version > lost_version for _, lost_key, lost_version in missing for _, key, version in kept
    )
    assert {violation.check for violation in found(history) if violation.check == ORDER} == ({ORDER} if gap else set())


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    history = valid()
    _read_again(history)
    history.save(file)
    assert History.load(file) == history


@pytest.mark.parametrize("content", ["", "nonsense\n", '["records",{}]\n'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError):  # noqa: PT011
        History.load(file)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "history.jsonl"
    history = valid()
    history.effects = []
    history.groups = []
    PLANTED["an oversold item"][1](history)
    history.save(file)
    assert main([str(file), "--json"]) == 1
    [violation] = json.loads(capsys.readouterr().out)
    assert violation["check"] == CONSERVED
    assert "7 reserved of 11 on hand" in violation["sentence"]
    assert main([str(file)]) == 1
    assert violation["sentence"] in capsys.readouterr().out


def test_a_large_history_is_checked_in_seconds() -> None:
    """40,000 events of 2,000 keys; the bound is generous, it catches a check that became quadratic."""
    history = History(Run(BEGAN, BEGAN))
    history.groups = [Group(GROUP, (TOPIC,), (TYPE,))]
    for number in range(1, 40_001):
        history.records.append(record(number, f"k{number % 2000}", (number - 1) // 2000 + 1, number))
        history.inbox.append(InboxRow(GROUP, event_id(number)))
        history.effects.append(Effect("heard", event_id(number), Decimal(1)))
        history.commands.append(Command(f"c{number}", "place", BEGAN, BEGAN, "ok", (event_id(number),)))
    history.offsets = [CommittedOffset(GROUP, TOPIC, 0, 40_001)]
    began = datetime.now(UTC)
    assert found(history) == []
    assert datetime.now(UTC) - began < timedelta(seconds=60)

"""The eight checks: what must be true of every history, whatever was killed whenever."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from history.folds import Fold, bounds, stepped_over
from history.model import Command, History, Place, Process, Record

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never happen, in one sentence that names the ids."""

    check: str
    sentence: str


Check = Callable[[History], list[Violation]]


def check_all(history: History, folds: Sequence[Fold] = ()) -> list[Violation]:
    """Every check; `folds` say what the consumers' state must be."""
    checks: list[Check] = [
        no_lost_write,
        no_phantom,
        per_key_order,
        offsets_unique,
        lambda h: effect_once(h, folds),
        offset_never_ahead,
        conservation,
        processes_end,
    ]
    return [violation for check in checks for violation in check(history)]


NAMES = (
    "no lost write",
    "no phantom",
    "per-key order",
    "offset uniqueness",
    "effect once",
    "offset never ahead",
    "conservation",
    "processes end",
)
"""Of the checks, in their order."""


def no_lost_write(history: History) -> list[Violation]:
    """Each acknowledged command's events are on their topics, and each committed one's; all of a command's or none."""
    return _violations(NAMES[0], _lost_writes(history))


def no_phantom(history: History) -> list[Violation]:
    """Each event comes from a command that was not refused, or from an event that is on a topic."""
    return _violations(NAMES[1], _phantoms(history))


def per_key_order(history: History) -> list[Violation]:
    """Per key, first copies taken alone, aggregate versions go 1, 2, 3 and so on, in one partition."""
    return _violations(NAMES[2], _disorder(history))


def offsets_unique(history: History) -> list[Violation]:
    """One record per topic, partition and offset, which every later read finds unchanged."""
    return _violations(NAMES[3], _changed_records(history))


def effect_once(history: History, folds: Sequence[Fold] = ()) -> list[Violation]:
    """A consumer's state is the fold of the events, each once and in order; its inbox holds their ids and no others."""
    return _violations(NAMES[4], [*_inbox_differences(history), *_fold_differences(history, folds)])


def offset_never_ahead(history: History) -> list[Violation]:
    """Every event that concerns a group below its committed offset was applied, waits parked, or is a dead letter."""
    return _violations(NAMES[5], _skipped(history))


def conservation(history: History) -> list[Violation]:
    """Stock, order quantities and money neither appear nor vanish."""
    return _violations(NAMES[6], [*_stock(history), *_order_lines(history), *_journal(history)])


def processes_end(history: History) -> list[Violation]:
    """Every process has ended, or has a deadline to come, or waits for somebody who can move it."""
    return _violations(NAMES[7], _stuck(history))


def _violations(check: str, sentences: Iterable[str]) -> list[Violation]:
    return [Violation(check, sentence) for sentence in sentences]


def _lost_writes(history: History) -> Iterator[str]:
    stored = {answer.key: answer for answer in history.answers}
    for command in history.commands:
        answer = stored.get(command.key)
        if command.outcome == "ok" and answer is None and not command.event_ids:
            yield f"{_named(command)} was answered ok, but no service remembers it"
        if command.outcome != "fail":
            committed = command.outcome == "ok" or answer is not None
            yield from _missing(history, _named(command), command.event_ids, committed)
    for answer in history.answers:
        yield from _missing(history, f"the write {answer.key} committed by {answer.service}", answer.event_ids, True)
    for row in history.outbox:
        if not row.parked and not _behind_parked(history, row.topic, row.key):
            yield f"event {row.event_id} of {row.topic} key {row.key} is still in the outbox of {row.service}"


def _missing(history: History, what: str, event_ids: Sequence[str], committed: bool) -> Iterator[str]:
    there = [i for i in event_ids if i in history.events or i in history.outbox_ids]
    gone = [i for i in event_ids if i not in there]
    if gone and (committed or there):
        yield f"{what} wrote {len(event_ids)} events, but {', '.join(gone)} never reached a topic"


def _behind_parked(history: History, topic: str, key: str) -> bool:
    return any(row.parked for row in history.outbox if (row.topic, row.key) == (topic, key))


def _named(command: Command) -> str:
    about = f" on {command.record}" if command.record else ""
    return f"{command.kind}{about} ({command.key})"


def _phantoms(history: History) -> Iterator[str]:
    refused = {command.key: command for command in history.commands if command.outcome == "fail"}
    for answer in history.answers:
        if answer.key in refused:
            yield f"{_named(refused[answer.key])} was refused, but {answer.service} committed it"
    known = {i for command in history.commands if command.outcome != "fail" for i in command.event_ids}
    known |= {i for answer in history.answers for i in answer.event_ids}
    causes = {record.event_id for record in history.latest}
    for record in history.events.values():
        if record.event_id in known:
            continue
        if record.causation_id is not None:
            if record.causation_id not in causes:
                yield f"{record.name} is caused by {record.causation_id}, which is on no topic"
        elif record.type not in history.run.spontaneous and not _before_the_load(history, record):
            yield f"{record.name} belongs to no command that was accepted"


def _before_the_load(history: History, record: Record) -> bool:
    return record.time is not None and record.time < history.run.began


def _disorder(history: History) -> Iterator[str]:
    streams: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record in history.own:
        if history.events[record.event_id] is record:
            streams[record.topic, record.key].append(record)
        elif history.run.undisturbed:
            yield f"{record.name} was published again: it is at {history.events[record.event_id].place} already"
    for (topic, key), records in streams.items():
        where = f"{topic} key {key}"
        if len(partitions := {record.partition for record in records}) > 1:
            yield f"{where} is spread over the partitions {sorted(partitions)}"
        expected = 1
        for record in records:
            version = record.aggregate_version
            if version != expected:
                yield f"{where}: version {expected} was due, but {record.name} came"
            expected = (version or expected) + 1


def _changed_records(history: History) -> Iterator[str]:
    seen: dict[Place, Record] = {}
    for record in sorted(history.records, key=lambda r: r.read):
        first = seen.setdefault(record.place, record)
        if first.digest != record.digest:
            yield f"{record.place} holds {record.name} in read {record.read}, but held {first.name} before"
    reads = sorted({record.read for record in history.records})
    for earlier, later in pairwise(reads):
        kept = {record.place for record in history.records if record.read == later}
        for record in history.records:
            if record.read == earlier and record.place not in kept:
                yield f"{record.name} was there in read {earlier} and is gone in read {later}"


def _inbox_differences(history: History) -> Iterator[str]:
    on_topics = {record.event_id for record in history.latest}
    for row, times in Counter(history.inbox).items():
        if times > 1:
            yield f"{row.group} has {times} inbox rows of event {row.event_id}"
        if row.event_id not in on_topics:
            yield f"{row.group} applied event {row.event_id}, which is on no topic"
    for group in history.groups:
        committed = {(o.topic, o.partition): o.offset for o in history.offsets if o.group == group.group}
        settled = history.waiting(group) | history.given_up(group)
        for record in history.handled(group):
            behind = record.offset >= committed.get((record.topic, record.partition), 0)
            if behind and record.event_id not in history.applied[group.group] and record.place not in settled:
                yield f"{group.group} never applied {record.name}"
        for lost, record in stepped_over(history, group):
            yield f"{group.group} gave up {lost.name} and then applied {record.name} of the same key"


def _fold_differences(history: History, folds: Sequence[Fold]) -> Iterator[str]:
    for fold in folds:
        actual: dict[str, Decimal] = defaultdict(Decimal)
        for effect in history.effects:
            if effect.fold == fold.name:
                actual[effect.key] += effect.amount
        least, most = bounds(history, fold)
        for key in sorted({*actual, *most}):
            low, high = least.get(key, _ZERO), most.get(key, _ZERO)
            if not min(low, high) <= actual.get(key, _ZERO) <= max(low, high):
                told = high if low == high else f"{low} to {high}"
                yield f"{fold.name}: {key} is {actual.get(key, _ZERO)} in the state, but {told} by the events"


def _skipped(history: History) -> Iterator[str]:
    for group in history.groups:
        committed = {(o.topic, o.partition): o.offset for o in history.offsets if o.group == group.group}
        settled = history.waiting(group) | history.given_up(group)
        applied = history.applied[group.group]
        for record in history.handled(group):
            at = committed.get((record.topic, record.partition), 0)
            if record.offset < at and record.event_id not in applied and record.place not in settled:
                yield f"{group.group} committed offset {at}, but did not apply {record.name}"


def _stock(history: History) -> Iterator[str]:
    moved: dict[str, Decimal] = defaultdict(Decimal)
    versions: dict[str, int] = defaultdict(int)
    for row in sorted(history.ledger, key=lambda r: (r.item, r.version)):
        moved[row.item] += row.quantity
        versions[row.item] += 1
        if (row.version, row.balance) != (versions[row.item], moved[row.item]):
            due = f"row {versions[row.item]} with balance {moved[row.item]}"
            yield f"stock ledger of {row.item}: row {row.version} says {row.balance}, due was {due}"
    in_lots: dict[str, Decimal] = defaultdict(Decimal)
    held: dict[str, Decimal] = defaultdict(Decimal)
    for lot in history.lots:
        in_lots[lot.item] += lot.quantity
        held[lot.item] += lot.quantity if lot.held else _ZERO
    for stock in history.balances:
        if stock.on_hand < 0:
            yield f"{stock.item}: {stock.on_hand} on hand"
        if stock.on_hand != moved[stock.item]:
            yield f"{stock.item}: {stock.on_hand} on hand, but the ledger adds up to {moved[stock.item]}"
        if (stock.on_hand, stock.held) != (in_lots[stock.item], held[stock.item]):
            lots = f"{in_lots[stock.item]}, {held[stock.item]} held"
            yield f"{stock.item}: {stock.on_hand} on hand, {stock.held} held, but the lots hold {lots}"
        if not 0 <= stock.reserved <= stock.on_hand - stock.held:
            yield f"{stock.item}: {stock.reserved} reserved of {stock.on_hand} on hand and {stock.held} held"
    for item in sorted(moved.keys() - {stock.item for stock in history.balances}):
        yield f"{item} has a stock ledger but no balance"


def _order_lines(history: History) -> Iterator[str]:
    for line in history.order_lines:
        where = f"order {line.order} line {line.line}"
        parts = f"{line.shipped} shipped, {line.open} open, {line.cancelled} cancelled"
        if line.shipped > line.ordered:
            yield f"{where}: {line.shipped} shipped of {line.ordered} ordered"
        if min(line.shipped, line.open, line.cancelled) < 0 or (
            line.ordered != line.shipped + line.open + line.cancelled
        ):
            yield f"{where}: {line.ordered} ordered is not {parts}"


def _journal(history: History) -> Iterator[str]:
    entries: dict[str, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
    for line in history.journal:
        entries[line.entry][0] += line.debit
        entries[line.entry][1] += line.credit
    for entry, (debit, credit) in entries.items():
        if debit != credit:
            yield f"journal entry {entry} has {debit} debit and {credit} credit"


def _stuck(history: History) -> Iterator[str]:
    known = {process.name: process for process in history.processes}
    alive = {process.name for process in history.processes if _moves(process, history)}
    waiting = [p for p in history.processes if not p.terminal and p.name not in alive]
    while found := {p.name for p in waiting if alive.intersection(p.waits_for)} - alive:
        alive |= found
    for process in waiting:
        if process.name not in alive:
            reasons = [f"{name} ({_state(known, name)})" for name in process.waits_for]
            yield f"{process.name} is {process.state} and waits for {', '.join(reasons) or 'nobody'}"


def _moves(process: Process, history: History) -> bool:
    """Whether time or a person will move it on."""
    if process.terminal:
        return False
    if process.deadline is not None and process.deadline > history.run.collected:
        return True
    return any(name.startswith("role/") for name in process.waits_for)


def _state(known: Mapping[str, Process], name: str) -> str:
    return known[name].state if name in known else "unknown"

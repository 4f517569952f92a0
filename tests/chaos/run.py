"""One run: start, load, faults, heal, wait for quiet, collect what happened, check it."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import asyncpg
from aiokafka.errors import KafkaError
from history.checks import Violation, check_all
from history.model import History, Place, Record
from history.platform import FOLDS, collect, read_topics

from chaos.disk import mounted
from chaos.faults import Inflicted, inflict
from chaos.load import Load, Notes, Rates
from chaos.poison import Hand, persist
from chaos.progress import Progress
from chaos.proxy import listening
from chaos.quiet import Standing, on_its_way, standing
from chaos.report import FAULT, Recovery, Report
from chaos.rig import Rig, make_layout
from chaos.schedule import Fault, Profile, schedule
from chassis.clock import now

_WATCH_SECONDS = 1.0
_SAY_SECONDS = 15.0
# When nothing has moved for so long, nothing will.
_STILL_SECONDS = 120.0
_POLL_SECONDS = 1.0
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to run; `seconds` is how long faults go on in the long profile."""

    seed: int
    seconds: float
    profile: Profile
    rates: Rates = field(default_factory=Rates)
    # The servers that get a disk of their own, to be filled.
    disks: Sequence[str] = ()
    skipped: Sequence[str] = ()


async def run(plan: Plan, state: Path, say: Say) -> Report:
    """Run it in a new state folder, which stays. Raises only when the run itself cannot be held."""
    rig = Rig.make(state, make_layout())
    faults = schedule(plan.seed, plan.seconds, rig.platform.layout, plan.profile, plan.disks)
    say(f"seed {plan.seed}: {len(faults)} faults")
    for fault in faults:
        say(f"  {fault}")
    async with AsyncExitStack() as stack:
        rig.disks = stack.enter_context(mounted(state, plan.disks))
        await stack.enter_async_context(listening(*rig.links.values()))
        stack.push_async_callback(rig.stop)
        say("starting PostgreSQL, Kafka and the services")
        await asyncio.to_thread(rig.platform.start)
        stack.push_async_callback(rig.heal)
        return await _Run(plan, rig, faults, say).go()


class _Run:
    def __init__(self, plan: Plan, rig: Rig, faults: Sequence[Fault], say: Say) -> None:
        self._plan = plan
        self._rig = rig
        self._faults = faults
        self._say = say
        self._notes = Notes()
        self._load = Load(rig.platform, random.Random(plan.seed), plan.rates, self._notes)
        self._hand = Hand(rig, random.Random(plan.seed))
        self._progress = Progress()
        self._inflicted: list[Inflicted] = []
        self._failures: list[str] = []
        self._earlier: list[Record] = []

    async def go(self) -> Report:
        """The run from the first order to the report."""
        began = now()
        await self._load.prepare()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(work)
                for work in (
                    self._watch(),
                    self._rig.keep_running(),
                    self._rig.watch_readiness(),
                    self._progress.watch(self._rig.platform),
                )
            ]
            working = group.create_task(self._load.run())
            fire = now()
            await self._open_fire()
            ceased = now()
            self._say("all is healed; waiting until every order is finished and every event applied")
            self._load.stopping.set()
            await self._rig.heal()
            await self._settle()
            settled = now()
            for task in (*background, working):
                task.cancel()
        await self._load.disconnect()
        self._say("collecting and checking what happened")
        history = await collect(
            self._rig.platform, self._notes.commands, began=began, earlier=self._earlier, injected=self._hand.injected
        )
        history.save(self._rig.platform.folder.path / "history.jsonl")
        violations = await asyncio.to_thread(check_all, history, FOLDS)
        violations += [Violation(FAULT, sentence) for sentence in self._own_violations(history)]
        return self._report(history, violations, (fire, ceased, settled), await standing(self._rig.platform))

    async def _open_fire(self) -> None:
        started = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_halfway())
            for fault in self._faults:
                group.create_task(self._inflict(fault, started))

    async def _inflict(self, fault: Fault, started: float) -> None:
        await asyncio.sleep(max(0.0, started + fault.at - asyncio.get_running_loop().time()))
        self._say(str(fault))
        try:
            self._inflicted.append(await inflict(self._rig, self._hand, fault, self._load.order_at_once))
        except AssertionError as error:
            self._failures.append(f"{fault}: {error}")
            self._say(f"  {fault} did not heal: {error}")

    async def _read_halfway(self) -> None:
        """A first read of the topics, which the last one must repeat."""
        await asyncio.sleep(self._faults[-1].at / 2 if self._faults else 0.0)
        async with self._rig.claim("kafka"):
            self._earlier += await persist(lambda: read_topics(self._rig.platform, 1))

    async def _watch(self) -> None:
        """Tell the load how many orders are open, and people how it goes."""
        loop = asyncio.get_running_loop()
        said = loop.time()
        while True:
            try:
                now_standing = await standing(self._rig.platform)
            except _AWAY:
                await asyncio.sleep(_WATCH_SECONDS)
                continue
            self._load.open_orders = now_standing.open
            if loop.time() - said > _SAY_SECONDS:
                said = loop.time()
                self._say(f"{now_standing}; {len(self._notes.commands)} writes, {len(self._inflicted)} faults healed")
            await asyncio.sleep(_WATCH_SECONDS)

    async def _settle(self) -> None:
        """Wait until every order is finished, then, the floor being closed, until every event is applied."""
        if left := await self._until_nothing_left(self._orders_left):
            self._failures.append(f"orders stand still unfinished for {_STILL_SECONDS:g} s: {left}")
        await self._load.close()
        if left := await self._until_nothing_left(lambda: on_its_way(self._rig.platform)):
            self._failures.append(f"nothing moves for {_STILL_SECONDS:g} s although there is work: {left}")

    async def _orders_left(self) -> dict[str, int]:
        await self._load.tidy()
        orders = await standing(self._rig.platform)
        return dict(orders.orders) if orders.open else {}

    async def _until_nothing_left(self, look: Callable[[], Awaitable[dict[str, int]]]) -> dict[str, int]:
        """Wait until `look` finds nothing; returns what it found when that has not changed for too long."""
        loop = asyncio.get_running_loop()
        seen: dict[str, int] = {}
        changed = loop.time()
        while True:
            try:
                left = await look()
            except _AWAY:
                # A busy machine takes its time; what stays away does not change either.
                left = seen or {"an answer": 1}
            if not left:
                return {}
            if left != seen:
                seen, changed = left, loop.time()
            elif loop.time() - changed > _STILL_SECONDS:
                return left
            await asyncio.sleep(_POLL_SECONDS)

    def _own_violations(self, history: History) -> Iterator[str]:
        """What the history's checks leave to the run: dead letters are poison, and all poison was given up."""
        yield from self._failures
        yield from self._notes.faults
        poisoned = {Place(p.topic, p.partition, p.offset): groups for p, groups in self._hand.poisoned.items()}
        for letter in history.dead_letters:
            if letter.group not in poisoned.get(letter.place, ()):
                yield f"{letter.group} gave up {letter.event_id or 'a record'} at {letter.place}, which is no poison"
        given_up = {(letter.group, letter.place) for letter in history.dead_letters}
        for place, groups in poisoned.items():
            yield from (f"{group} never gave up {place}" for group in groups if (group, place) not in given_up)
        yield from (f"{event.group} still keeps {event.place} of a parked key" for event in history.parked)

    def _report(
        self,
        history: History,
        violations: list[Violation],
        times: tuple[datetime, datetime, datetime],
        orders: Standing,
    ) -> Report:
        fire, ceased, settled = times
        commands: dict[str, Counter[str]] = defaultdict(Counter)
        for command in self._notes.commands:
            commands[command.kind][command.outcome] += 1
        recoveries = [
            Recovery(
                one.fault.kind,
                one.target,
                (one.healed - fire).total_seconds(),
                one.ready_seconds,
                self._progress.recovery(one.healed, self._notes.commands),
            )
            for one in self._inflicted
        ]
        return Report(
            seed=self._plan.seed,
            seconds=(ceased - fire).total_seconds(),
            settled_seconds=(settled - ceased).total_seconds(),
            orders=dict(orders.orders),
            commands={kind: dict(outcomes) for kind, outcomes in sorted(commands.items())},
            events=len(history.events),
            records=len(history.latest),
            longest_stall=self._progress.longest_stall(fire, ceased),
            recoveries=recoveries,
            ended_alone=dict(self._rig.ended_alone),
            floor_gave_up=self._notes.gave_up,
            skipped=list(self._plan.skipped),
            violations=violations,
        )

"""The crash trial: programs and servers are killed at random while the fleet works, and then it is judged.

Who judges is the simulator: what it was called for, when, and what these calls did. Beside its account stands the
ledger's, of who was allowed to work at what and when.
"""

import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.fleet import Fleet, wall
from tests.support.number_trial import LOOKS, NAME
from tests.support.servers import RunningPostgres, RunningRedis
from tests.support.waiting import until
from tests.support.witness import Attempt, attempts, mirrored, open_attempts
from wabajobs.errors import LedgerUnavailable
from wabajobs.intake import Request
from wabajobs.operation import Operation, State
from wabajobs.simulator.world import numbers

KINDS = ("tests.support.number_trial",)
_DISPATCHERS, _WORKERS = 2, 3
_SOON = 1.5
"""Within how many seconds what was killed is started again, as a supervisor would."""


@dataclass(frozen=True)
class Kill:
    """Somebody was killed."""

    at: float
    whom: str
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """How long it took until something was worked at again whose worker was killed, and what that time was."""

    seconds: float
    lease: float
    """Until the ledger took it back."""
    turn: float
    """That it then lay in the ledger: nobody led, or no worker had room."""
    lost: float
    """That a message was on its way which nobody began."""
    message: float
    """That the message was on its way which was begun."""
    operation: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a trial. Everything but the times ought to be empty."""

    operations: int
    calls: int
    attempts: int
    lost_attempts: int
    """Attempts whose worker was killed."""
    lost: list[str]
    """Operations that were accepted and have not succeeded."""
    duplicates: list[str]
    """Effects that happened again, or never."""
    at_once: list[str]
    """Calls that nobody was allowed to make, and attempts at the same thing that overlap."""
    gave_up: list[str]
    """Programs that ended although nobody killed them."""
    unmirrored: list[str]
    """WABAs whose templates we have other than they are."""
    standstills: list[float]
    """Seconds in which no call succeeded though there was work, the ten longest."""
    resumed: list[Resumed]
    """From the kill of a worker to the next attempt at what it was working at."""
    after: dict[str, list[float]]
    """The longest standstill between each kill and the next, in seconds, by who was killed."""

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        return [*self.lost, *self.duplicates, *self.at_once, *self.gave_up, *self.unmirrored]


@dataclass
class Trial:
    """A fleet under load, and someone who kills."""

    fleet: Fleet
    redis: RunningRedis
    postgres: RunningPostgres | None
    random: random.Random
    open_at_once: int = 40
    """Operations that are open at any time; fewer than there are slots would leave some without work."""
    kills: list[Kill] = field(default_factory=list)
    gave_up: list[str] = field(default_factory=list)
    accepted: dict[str, Operation] = field(default_factory=dict)
    _began: float = 0.0
    _ended: float = 0.0
    _enough: threading.Event = field(default_factory=threading.Event)

    def run(
        self, kills: int, *, every: tuple[float, float], tell: Callable[[str], object] = lambda _: None
    ) -> None:
        """Kill so many, with a random pause (seconds, least and most) before each; then let all be finished.

        The last one is no matter of chance: it is a worker, and it dies over an attempt.
        """
        self._let_all_be_registered()
        names = [f"dispatcher-{i}" for i in range(_DISPATCHERS)] + [f"worker-{i}" for i in range(_WORKERS)]
        mortals = [*names, "redis", *(["postgresql", "session"] if self.postgres else [])]
        for name in names:
            self._start(name)
        self.fleet.ready(workers=_WORKERS)
        feeder = threading.Thread(target=self._feed, name="feeder")
        feeder.start()
        try:
            until(lambda: self.fleet.calls() > self.open_at_once, what="work is under way", within=30)
            self._began = wall()
            for number in range(kills):
                self._enough.wait(self.random.uniform(*every))
                if not feeder.is_alive():
                    raise AssertionError(f"the feeder has failed\n{self.fleet.logs()}")
                if number < kills - 1:
                    self._kill_one(self.random.choice(mortals))
                else:
                    until(self._kill_the_busiest, within=60, what="a worker dies over an attempt")
                self._start_what_has_ended()
                tell(f"{number + 1} of {kills}: {self.kills[-1].whom}")
            self._ended = wall()
        finally:
            self._enough.set()
            feeder.join()
        self.fleet.finished(list(self.accepted.values()), within=150)

    # ── killing ──────────────────────────────────────────────────────────────────────────────────────────

    def _kill_the_busiest(self) -> bool:
        """Kill the worker that has most attempts open; False when it had ended them all by then."""
        names = {str(process.pid): name for name, process in self.fleet.processes.items()}
        open_ = Counter({pid: number for pid, number in self._open_attempts().items() if pid in names})
        if not open_:
            return False
        [(pid, _)] = open_.most_common(1)
        self._kill_one(names[pid])
        return self._open_attempts()[pid] > 0

    def _open_attempts(self) -> Counter[str]:
        """Count them by the process that works at them."""
        try:
            return open_attempts(self.fleet)
        except LedgerUnavailable:  # its server is starting again
            return Counter()

    def _kill_one(self, name: str) -> None:
        rest = self.random.uniform(0, _SOON)
        pid = self.fleet.processes[name].pid if name in self.fleet.processes else None
        self.kills.append(Kill(wall(), name, pid))
        match name:
            case "redis":
                self.redis.kill()
                time.sleep(rest)
                self.redis.start()
            case "postgresql":
                assert self.postgres is not None
                self.postgres.kill()
                time.sleep(rest)
                self.postgres.start()
            case "session":
                assert self.postgres is not None
                self.postgres.kill_a_session(self.random)
            case _:
                self.fleet.kill(name)
                time.sleep(rest)
                self._start(name)

    def _start_what_has_ended(self) -> None:
        """Do what a supervisor does when a program ends by itself, and remember it."""
        for name, process in list(self.fleet.processes.items()):
            if process.poll() is not None:
                last = self.fleet.log(name).strip().rpartition("\n")[2]
                self.gave_up.append(f"{name} ended by itself: {last}")
                self._start(name)

    def _start(self, name: str) -> None:
        if name.startswith("dispatcher"):
            self.fleet.start(name)
            return
        argv = [sys.executable, "-m", "celery", "-A", "tests.support.trial_worker", "worker"]
        self.fleet.start_program(name, [*argv, "--loglevel=INFO", "--hostname", f"{name}@%h"])

    # ── work ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _halves(self) -> tuple[list[str], list[str]]:
        """WABAs whose templates are synced, and WABAs whose numbers are registered."""
        world = self.fleet.simulator.world
        wabas, idle = world.waba_ids, world.config.inactive_wabas
        return wabas[: len(wabas) - idle], wabas[len(wabas) - idle :]

    def _let_all_be_registered(self) -> None:
        """Let the owner of each number have proved that it is his."""
        world = self.fleet.simulator.world
        for waba in self._halves[1]:
            numbers.mark_verified(world, world.waba(waba).numbers[0])

    def _requests(self) -> Iterator[Request]:
        synced, registered = self._halves
        world = self.fleet.simulator.world
        fresh = iter(registered)
        for number in range(1_000_000):
            waba = next(fresh, None) if number % 3 == 0 else None
            partner = f"partner-{number % 7}"
            if waba:
                payload = {"number": world.waba(waba).numbers[0].id}
                yield Request(kind=NAME, partner=partner, waba=waba, payload=payload, key=f"trial-{number}")
            else:
                waba = self.random.choice(synced)
                # A WABA is always the same partner's: two who synced it at once would not be a fault.
                yield Request(kind="template_sync", partner=f"partner-{waba}", waba=waba, key=f"trial-{number}")

    def _feed(self) -> None:
        """Keep so many operations open; who does not know whether one was accepted asks again with its key."""
        for request in self._requests():
            while not self._enough.is_set():
                try:
                    if self._open() < self.open_at_once:
                        (operation,) = self.fleet.client.enqueue_many([request])
                        self.accepted[operation.id] = operation
                        break
                except LedgerUnavailable:
                    pass
                self._enough.wait(0.05)
            if self._enough.is_set():
                return

    def _open(self) -> int:
        return sum(number for _, _, number, _ in self.fleet.house.ledger.operations.count_open())

    # ── judging ──────────────────────────────────────────────────────────────────────────────────────────

    def verdict(self) -> Verdict:
        """Hold the two accounts against each other."""
        done = [self.fleet.client.get(id_) for id_ in self.accepted]
        tries = {one.id: attempts(self.fleet, one) for one in done}
        by_waba: dict[str, list[Attempt]] = defaultdict(list)
        for one in done:
            by_waba[one.waba or ""] += tries[one.id]
        return Verdict(
            operations=len(done),
            calls=self.fleet.calls(),
            attempts=sum(map(len, tries.values())),
            lost_attempts=sum(attempt.outcome == "lost" for those in tries.values() for attempt in those),
            lost=[f"{one.kind} {one.id} is {one.state}" for one in done if one.state is not State.SUCCEEDED],
            duplicates=self._duplicates(done),
            at_once=[*self._not_allowed(by_waba), *self._out_of_order(done)],
            gave_up=self.gave_up,
            unmirrored=[
                waba
                for waba in {one.waba for one in done if one.kind == "template_sync" and one.waba}
                if not mirrored(self.fleet, [waba])
            ],
            standstills=self._standstills(),
            resumed=self._resumed(done),
            after=self._after(),
        )

    def _duplicates(self, done: Sequence[Operation]) -> list[str]:
        effects = self.fleet.simulator.judge.effects
        registered = Counter(one.subject for one in effects.all(kind="number_registered"))
        wanted = {one.payload["number"] for one in done if one.kind == NAME}
        return [f"{one.kind} of {one.subject} again" for one in effects.duplicates()] + [
            f"number {number} was registered {registered[number]} times"
            for number in wanted | registered.keys()
            if registered[number] != 1 or number not in wanted
        ]

    def _not_allowed(self, by_waba: dict[str, list[Attempt]]) -> Iterator[str]:
        """Yield the attempts at a WABA that overlap, and the calls about it that fall into none of them."""
        for waba, those in by_waba.items():
            those.sort(key=lambda one: one.begun_at)
            for before, after in pairwise(those):
                if before.ended_at is None or before.ended_at > after.begun_at:
                    yield f"WABA {waba}: two attempts at once, {before} and {after}"
        for call in self.fleet.simulator.judge.calls():
            spans = by_waba.get(call.waba or "", [])
            if not any(
                one.begun_at.timestamp() <= call.wall
                and (one.ended_at is None or call.wall <= one.ended_at.timestamp())
                for one in spans
            ):
                yield f"WABA {call.waba}: a call at {call.wall:.3f} that belongs to no attempt"

    def _out_of_order(self, done: Sequence[Operation]) -> Iterator[str]:
        """Yield the WABAs about which an older attempt has called after a newer one, or too often."""
        leases: dict[str, list[int]] = defaultdict(list)
        for call in self.fleet.simulator.judge.calls():
            if call.path.endswith("/phone_numbers") and call.waba and call.limit:
                leases[call.waba].append(call.limit)
        for waba, order in leases.items():
            if order != sorted(order):
                yield f"WABA {waba}: calls under leases {order}"
            if len(order) > LOOKS + len(set(order)) - 1:
                yield f"WABA {waba}: one attempt has looked too often: {order}"

    def _standstills(self) -> list[float]:
        return sorted(self._gaps(self._began, self._ended), reverse=True)[:10]

    def _after(self) -> dict[str, list[float]]:
        after: dict[str, list[float]] = defaultdict(list)
        for kill, following in pairwise([*self.kills, Kill(self._ended, "")]):
            after[kill.whom.rstrip("-0123456789")].append(max(self._gaps(kill.at, following.at)))
        return dict(after)

    def _gaps(self, since: float, till: float) -> list[float]:
        """Return how long there was no successful call, each time."""
        good = [call.wall for call in self.fleet.simulator.judge.calls() if call.status == 200]
        during = [since, *(at for at in good if since < at < till), till]
        return [after - before for before, after in pairwise(during)]

    def _resumed(self, done: Sequence[Operation]) -> list[Resumed]:
        killed = {str(one.pid): one.at for one in self.kills if one.pid is not None}
        found = []
        for operation in done:
            at: float | None = None
            worker, since, spent = "", 0.0, Counter[str]()
            for event in self.fleet.house.ledger.operations.story(operation.id):
                moment = event.at.timestamp()
                if at is not None:
                    # What has just ended is named by what ended it.
                    spent[_SPENT.get(event.name, "turn")] += moment - since
                if event.name == "begun":
                    if at is not None:
                        found.append(Resumed(seconds=moment - at, operation=operation.id, **_parts(spent)))
                    worker, at = event.actor.rpartition(":")[2], None
                elif event.name == "reclaimed" and worker in killed:
                    at = killed[worker]
                    spent = Counter({"lease": moment - at})
                since = moment
        return found


_SPENT = {"begun": "message", "unclaimed": "lost", "taken back": "lost", "released": "turn"}
"""What came before an event of an operation that was taken back."""


def _parts(spent: Counter[str]) -> dict[str, float]:
    return {name: spent[name] for name in ("lease", "turn", "lost", "message")}

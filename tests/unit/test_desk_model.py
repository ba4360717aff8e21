"""The Desk under random crashes, lost answers and refusals: what happens once has happened once."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import ReusedFile
from tests.support.fakes import a_wait, answering, failing
from tests.unit.conftest import Bay, some_settings
from wabajobs.capability import Capability
from wabajobs.errors import AppLimitReached, Ask, Transient
from wabajobs.graph import Exchange, GraphRequest
from wabajobs.kinds import Catalogue, Kind, Step, Work
from wabajobs.ledger import Ledger
from wabajobs.operation import Operation, State
from wabajobs.secret import Secret, of_operation
from wabajobs.vault import new_key

OK = "goes well"
OF_A_CALL = (OK, "dies before", "dies after", "answer lost", "never arrives", "refused", "no permit")
OF_A_WRITE = (OK, "dies before", "dies after")
_ROUNDS = 200
_KEYS = new_key()


class Killed(BaseException):
    """The worker is dead: nothing of it runs any more."""


@dataclass
class Fates:
    """What befalls the calls and the writes, as long as there is something on the list."""

    of_calls: Iterator[str]
    of_writes: Iterator[str]
    met: list[str] = field(default_factory=list)

    def of_call(self) -> str:
        return self._next(self.of_calls)

    def of_write(self) -> str:
        return self._next(self.of_writes)

    def _next(self, fates: Iterator[str]) -> str:
        fate = next(fates, OK)
        self.met.append(fate)
        return fate

    @contextmanager
    def befall(self, fate: str) -> Iterator[None]:
        if fate == "dies before":
            raise Killed
        yield
        if fate == "dies after":
            raise Killed


@dataclass
class Meta:
    """Things that can be made, as often as somebody asks for it, and looked for."""

    fates: Fates
    made: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    looks: int = 0

    def exchange(self, request: GraphRequest) -> Exchange:
        fate = self.fates.of_call()
        if fate == "never arrives":
            return failing(Transient("the connection failed"))
        if fate == "refused":
            return failing(AppLimitReached("too many calls", code=4))
        with self.fates.befall(fate):
            answer = self._answer(request)
        return failing(Transient("the connection broke")) if fate == "answer lost" else answer

    def _answer(self, request: GraphRequest) -> Exchange:
        if request.method == "GET":
            self.looks += 1
            return answering({"there": self.made[request.path] > 0})
        self.made[request.path] += 1
        self.order.append(request.path)
        return answering({"id": request.path})


def once(name: str) -> Step:
    def run(work: Work) -> dict[str, Any]:
        return {name: work.graph.post(name)["id"]}

    def reads_back(work: Work) -> dict[str, Any] | None:
        return {name: name} if work.graph.get(name)["there"] else None

    return Step(name=name, run=run, capability=Capability.PROFILE, happens_once=True, reads_back=reads_back)


def again(name: str) -> Step:
    """A step that may be repeated, and remembers half of its way."""

    def run(work: Work) -> dict[str, Any]:
        if not work.progress():
            work.graph.post(f"{name}/a")
            work.keep({"half": True})
        work.graph.post(f"{name}/b")
        return {name: name}

    return Step(name=name, run=run, capability=Capability.UPLOADS)


def asking(name: str) -> Step:
    """A step that takes the second answer, and acts on it."""

    def run(work: Work) -> dict[str, Any]:
        given = work.secret(name)
        if given is None or given.reveal() != "right":
            if given is not None:
                work.keep({}, **{name: None})
            work.ask("say", Ask(name=name, about="something"), within=timedelta(days=1))
        return {name: name}

    return Step(name=name, run=run)


MAKERS: dict[str, Callable[[str], Step]] = {"once": once, "again": again, "asking": asking}


@dataclass
class Trial:
    """One operation, driven to its end by workers that die."""

    bay: Bay
    meta: Meta
    given: Counter[str] = field(default_factory=Counter)

    def run(self, operation: Operation) -> Operation:
        for _ in range(_ROUNDS):
            now = self.bay.get(operation)
            if now.state.finished:
                return now
            if now.needs:
                self._give(now, now.needs.asks[0].name)
                continue
            if now.state is State.HELD:
                self.bay.pass_time(max(0.0, (now.due_at - self.bay.clock.now()).total_seconds()))
            try:
                self.bay.perform(self.bay.release("trial"))
            except Killed:
                self.bay.pass_time(16)
                self.bay.ledger.operations.reclaim(now=self.bay.clock.now(), max_attempts=1000)
        raise AssertionError(f"it does not end: {self.bay.get(operation).as_json()}")

    def _give(self, operation: Operation, name: str) -> None:
        self.given[name] += 1
        vault = self.bay.bench.vault
        sealed = vault.seal(Secret("right" if self.given[name] > 1 else "wrong"))
        self.bay.ledger.operations.provide(
            operation.id,
            {of_operation(operation.id, name): sealed},
            given=[name],
            actor="anna",
            now=self.bay.clock.now(),
        )


def with_fates(ledger: Ledger, fates: Fates) -> None:
    """Let every write of an attempt meet its fate."""
    operations = ledger.operations
    for name in ("record_checkpoint", "record_all"):
        real = getattr(operations, name)

        def write(*args: Any, real: Callable[..., Any] = real, **more: Any) -> Any:
            with fates.befall(fates.of_write()):
                return real(*args, **more)

        setattr(operations, name, write)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kinds=st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, max_size=4),
    calls=st.lists(st.sampled_from(OF_A_CALL), max_size=12),
    writes=st.lists(st.sampled_from(OF_A_WRITE), max_size=12),
)
def test_what_happens_once_has_happened_once_whatever_came(
    ledger_for_stages: ReusedFile,
    tmp_path_factory: Any,
    kinds: list[str],
    calls: list[str],
    writes: list[str],
) -> None:
    ledger = ledger_for_stages.fresh()
    keys = tmp_path_factory.getbasetemp() / "keys-of-the-desk"
    keys.write_text(_KEYS)
    fates = Fates(iter(calls), iter(writes))
    with_fates(ledger, fates)
    meta = Meta(fates)
    steps = tuple(MAKERS[kind](f"{kind}{place}") for place, kind in enumerate(kinds))
    last = Step(
        name="last", run=lambda work: {"last": work.graph.get("end")["there"]}, capability=Capability.FLOWS
    )
    bay = Bay(
        ledger,
        settings=some_settings(
            vault={"keys": {"file": str(keys)}}, dispatch={"max_attempts": 1000, "short_wait_seconds": 0}
        ),
        kinds=Catalogue([Kind(name="trial", summary="a trial", steps=(*steps, last))]),
    )
    bay.graph = meta  # type: ignore[assignment]
    bay.gate.answers.extend(a_wait(5) if fate == "no permit" else None for fate in calls)

    done = Trial(bay, meta).run(bay.accept("trial"))

    assert done.state is State.SUCCEEDED, done.as_json()
    names = [step.name for step in steps]
    assert done.result == {**{name: name for name in names}, "last": False}
    assert {name: meta.made[name] for name in names if name.startswith("once")} == dict.fromkeys(
        [name for name in names if name.startswith("once")], 1
    )
    assert all(meta.made[f"{name}/{half}"] for name in names if name.startswith("again") for half in "ab")
    first = list(dict.fromkeys(path.partition("/")[0] for path in meta.order))
    assert first == [name for name in names if not name.startswith("asking")], "each step after the one before"
    if set(fates.met) == {OK}:
        assert meta.looks == 1, "who is not disturbed looks for nothing"
        assert max(meta.made.values(), default=1) == 1

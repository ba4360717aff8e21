"""Stand-ins with a memory: a gate, a Graph and a presence that do as a test says and remember what was asked."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import GraphError, HeavyPage, NotReady
from wabajobs.gate import (
    AppReading,
    Because,
    BreakerReading,
    Call,
    Change,
    Outcome,
    Permit,
    Report,
    Wait,
    WindowReading,
)
from wabajobs.graph import Exchange, GraphRequest, Usage
from wabajobs.operation import Operation
from wabajobs.signals import Worker


def a_wait(seconds: float | None, *, because: Because = Because.BUDGET, **changes: Any) -> Wait:
    """A refusal of the gate."""
    delay = None if seconds is None else timedelta(seconds=seconds)
    facts = {"delay": delay, "because": because, "scope": "app:10001", "reason": "the app's budget is spent"}
    return Wait(**(facts | changes))


@dataclass
class FakeGate:
    """Grants, unless something else was said; knows which permits are still out."""

    answers: deque[Wait | Exception | None] = field(default_factory=deque)
    """What it says next; None, and nothing, is a grant."""
    refusals: deque[Exception] = field(default_factory=deque)
    """What `settle` raises next."""
    shut: Callable[[Call], Wait | None] = lambda call: None
    """What a forecast says."""
    forecasts: list[list[Call]] = field(default_factory=list)
    """What was asked together."""
    limit: int = 3600
    """Calls that the app may make in an hour."""
    others: int = 0
    """How many of them somebody else makes."""
    broken: dict[str, str] = field(default_factory=dict)
    """Breakers that are not closed, by scope."""
    start_within: float = 60.0
    changes: tuple[Change, ...] = ()
    probes: tuple[str, ...] = ()
    """The breakers that each call probes."""
    asked: list[Call] = field(default_factory=list)
    out: dict[str, Permit] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    activity: dict[str, bool] = field(default_factory=dict)
    _ids: "count[int]" = field(default_factory=count)

    def admit(self, call: Call) -> Permit | Wait:
        self.asked.append(call)
        answer = self.answers.popleft() if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Wait):
            return answer
        number = next(self._ids)
        start_before = time.monotonic() + self.start_within
        permit = Permit(id=str(number), call=call, start_before=start_before, probes=self.probes)
        self.out[permit.id] = permit
        return permit

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        if self.refusals:
            raise self.refusals.popleft()
        del self.out[permit.id]
        self.reports.append(report)
        return self.changes

    def note_activity(self, app: str, waba: str, *, active: bool) -> bool:
        self.activity[waba] = active
        return True

    def forecast(self, calls: Sequence[Call]) -> list[Wait | None]:
        self.forecasts.append(list(calls))
        return [self.shut(call) for call in calls]

    def read(self, app: str) -> AppReading:
        window = WindowReading(
            scope=f"app:{app}",
            limit=self.limit,
            used=0,
            others=self.others,
            window=timedelta(hours=1),
            usable=dict.fromkeys(ServiceClass, self.limit),
        )
        breakers = tuple(
            BreakerReading(scope=scope, state=state, retry_in=timedelta(seconds=30), trips=1, evidence="code 4")
            for scope, state in self.broken.items()
        )
        return AppReading(app=app, told=True, learning=False, in_flight=0, windows=(window,), breakers=breakers)

    @property
    def outcomes(self) -> list[Outcome]:
        return [report.outcome for report in self.reports]


Surprise = Callable[[GraphRequest], Exchange | None]


@dataclass
class FakeGraph:
    """Template lists by WABA, read page by page; surprises come before the answers."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    heaviest_page: int = 1000
    surprises: deque[Surprise | Exchange | Exception | None] = field(default_factory=deque)
    """What happens to the next calls instead; None: nothing. A function may do something, and return None."""
    requests: list[GraphRequest] = field(default_factory=list)

    def exchange(self, request: GraphRequest) -> Exchange:
        self.requests.append(request)
        surprise = self.surprises.popleft() if self.surprises else None
        if isinstance(surprise, Exception) and not isinstance(surprise, GraphError):
            raise surprise
        if isinstance(surprise, GraphError):
            return failing(surprise)
        if isinstance(surprise, Exchange):
            return surprise
        if surprise is not None and (instead := surprise(request)) is not None:
            return instead
        return self._page(request)

    @property
    def asked_for(self) -> list[tuple[object, object]]:
        """Cursor and page size of each call."""
        return [(request.params["after"], request.params["limit"]) for request in self.requests]

    def _page(self, request: GraphRequest) -> Exchange:
        waba, size = request.path.partition("/")[0], request.params["limit"]
        assert isinstance(size, int)
        if size > self.heaviest_page:
            return failing(HeavyPage("reduce the amount of data you're asking for", code=1))
        templates = self.lists.get(waba, [])
        start = int(str(request.params["after"] or "c0")[1:])
        end = start + size
        paging: dict[str, Any] = {"cursors": {"before": f"c{start}", "after": f"c{end}"}}
        if end < len(templates):
            paging["next"] = f"https://graph/{waba}?after=c{end}"
        return answering({"data": templates[start:end], "paging": paging})


def answering(answer: dict[str, Any]) -> Exchange:
    """An exchange that went well."""
    return Exchange(usage=Usage(), status=200, answer=answer)


def failing(error: GraphError) -> Exchange:
    """An exchange that ended in an error of Meta's."""
    return Exchange(usage=Usage(), status=400, error=error)


def templates(number: int, **changes: Any) -> list[dict[str, Any]]:
    """So many different templates."""
    facts = {"language": "en", "status": "APPROVED", "category": "UTILITY"}
    return [{"id": f"{n}", "name": f"t{n:05}", **facts, **changes} for n in range(number)]


@dataclass
class FakeLifelines:
    """The lines of these are cut."""

    gone: set[str] = field(default_factory=set)

    def cut(self) -> set[str]:
        return self.gone


@dataclass
class FakePresence:
    """So many slots for each queue."""

    slots: dict[str, list[int]] = field(default_factory=dict)
    away: bool = False
    complaints: list[str] = field(default_factory=list)

    def complain(self, queue: str) -> None:
        self.complaints.append(queue)

    def living(self, queues: Iterable[str]) -> dict[str, list[Worker]]:
        if self.away:
            raise NotReady("Redis cannot be reached")
        return {
            queue: [
                Worker(name=f"{queue}@{number}", queue=queue, slots=slots)
                for number, slots in enumerate(self.slots.get(queue, []))
            ]
            for queue in queues
        }


@dataclass
class FakeRetryBudget:
    """Grants so many retries; remembers the first tries that it was told of."""

    left: int = 1_000_000
    rule: str = "10 a minute and 10% of the first tries"
    tries: Counter[tuple[str, Capability]] = field(default_factory=Counter)

    def note(self, tries: Mapping[tuple[str, Capability], int]) -> None:
        self.tries.update(tries)

    def take(self, app: str, capability: Capability, wanted: int) -> int:
        granted = min(self.left, wanted)
        self.left -= granted
        return granted


@dataclass
class FakeBroker:
    """Takes what is sent, until it is full."""

    room: int = 1_000_000
    sent: list[Operation] = field(default_factory=list)

    def __call__(self, released: Sequence[Operation]) -> Sequence[Operation]:
        taken, left = released[: self.room], released[self.room :]
        self.room -= len(taken)
        self.sent += taken
        return left

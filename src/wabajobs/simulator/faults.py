"""Faults by rule: which calls go wrong, when, how often, and in what way."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from wabajobs.simulator.calls import Call, Reply
from wabajobs.simulator.errors import GraphError, too_much_data
from wabajobs.simulator.randomness import put_state, state_of


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_is_pattern)]


class FaultRule(BaseModel):
    """Calls that match it go wrong in the way it says. Of several rules in force the first one decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Its name, for its removal; given out when there is none."""

    # Which calls
    path: Pattern | None = None
    """Regular expression, searched for in the path, version included."""
    method: Pattern | None = None
    """Regular expression for the whole method, in any case."""
    app: str | None = None
    """Id of the app that calls."""
    capability: str | None = None
    """Part of the API that the endpoint belongs to, such as `uploads`."""
    heavy_over: int | None = Field(default=None, ge=1)
    """Only calls for a page larger than this; unless another answer is named they get code 1."""
    after: int = Field(default=0, ge=0)
    """So many matching calls pass first."""
    times: int | None = Field(default=None, ge=1)
    """So many go wrong, then the rule is spent; none: every one."""
    since: float = Field(default=0.0, ge=0)
    """Simulated seconds since the start at which it comes into force."""
    until: float | None = Field(default=None, ge=0)
    """Simulated seconds since the start at which it ends."""
    chance: float = Field(default=1.0, gt=0, le=1)
    """Share of the matching calls that go wrong, drawn from the seed."""

    # In what way: an answer in place of the Graph's own
    status: int | None = Field(default=None, ge=200, le=599)
    """HTTP status of the answer; alone, with an empty body."""
    code: int | None = None
    """Code of a Graph error."""
    subcode: int | None = None
    """Its `error_subcode`."""
    message: str | None = None
    """Its message; one that names the code when there is none."""
    type: str = "OAuthException"
    """Its type."""
    is_transient: bool | None = None
    """Its `is_transient`; none leaves the field out."""
    body: str | None = None
    """Any body, as from a proxy before the Graph; such an answer has no usage headers."""
    content_type: str = Field(default="text/html; charset=utf-8", pattern=r"^[ -~]+$")
    """Content type of `body`."""
    counted: bool = True
    """Whether a call that is answered by the rule counts in the windows."""
    took_effect: bool = False
    """Whether the call takes effect first and then gets the rule's answer, as from a proxy that timed out."""

    # In what way: what happens to the Graph's own answer, or to the rule's
    latency: float = Field(default=0.0, ge=0)
    """Simulated seconds that the answer takes longer."""
    reset_before: bool = False
    """The connection breaks before the call is handled or counted."""
    reset_after: bool = False
    """The connection breaks after the call took effect, in place of the answer."""
    hang: bool = False
    """The call is never handled, counted or answered."""
    upload_keeps: int | None = Field(default=None, ge=0)
    """Of a file that is sent only so many bytes come, then the connection breaks; what came is kept."""
    usage_headers: Literal["as usual", "missing", "malformed"] = "as usual"
    """What becomes of the usage headers."""
    stale: float | None = Field(default=None, ge=0)
    """Reads answer with how things were so many simulated seconds ago."""
    repeat_cursor: bool = False
    """A list's `after` cursor leads back to the page it came with, for ever."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        ways = (self.reset_before, self.reset_after, self.hang, self.repeat_cursor, self.latency > 0)
        others = self.usage_headers != "as usual" or self.stale is not None or self.upload_keeps is not None
        if not (self.answers or any(ways) or others):
            raise ValueError(
                "a fault needs an effect: status, code, body, heavy_over, latency, reset_before, "
                "reset_after, hang, upload_keeps, usage_headers, stale or repeat_cursor"
            )
        if self.code is not None and self.body is not None:
            raise ValueError("a fault answers with a code or with a body, not with both")
        if self.took_effect and not self.answers:
            raise ValueError("took_effect needs an answer beside it: status, code, body or heavy_over")
        if self.took_effect and self.unhandled:
            raise ValueError("a call that is never handled takes no effect")
        if self.reset_before + self.reset_after + self.hang > 1:
            raise ValueError("a fault has one of reset_before, reset_after and hang")
        return self

    @property
    def answers(self) -> bool:
        """Whether the rule has an answer of its own."""
        return any(given is not None for given in (self.status, self.code, self.body, self.heavy_over))

    @property
    def unhandled(self) -> bool:
        """Whether the call never reaches the Graph."""
        return self.reset_before or self.hang

    def error(self) -> GraphError | None:
        """The rule's Graph error, if its answer is one."""
        if self.code is not None:
            return GraphError(
                message=self.message or f"(#{self.code}) An error by a fault rule",
                code=self.code,
                status=self.status or 400,
                type=self.type,
                subcode=self.subcode,
                is_transient=self.is_transient,
            )
        if self.heavy_over is not None and self.body is None and self.status is None:
            return too_much_data()
        return None

    def reply(self) -> Reply:
        """The rule's answer when it is no Graph error."""
        return Reply(status=self.status or 200, body=(self.body or "").encode(), content_type=self.content_type)


@dataclass
class _InForce:
    """A rule and how often it met a call."""

    rule: FaultRule
    path: re.Pattern[str] | None
    method: re.Pattern[str] | None
    matched: int = 0
    used: int = 0


class Faults:
    """The rules in force, in order. Methods may be called from any thread."""

    def __init__(
        self, rules: tuple[FaultRule, ...] = (), *, seed: int = 1, lock: threading.RLock | None = None
    ) -> None:
        self._lock = lock or threading.RLock()
        self._random = Random(f"faults:{seed}")
        self._made = 0
        self.changed = 0
        """Counts the changes, so that who saves the rules knows whether it must."""
        self._rules: dict[str, _InForce] = {}
        for rule in rules:
            self.add(rule)

    def add(self, rule: FaultRule | None = None, /, **fields: Any) -> str:
        """Put a rule at the end: a FaultRule, or its fields. Returns its id."""
        rule = rule or FaultRule(**fields)
        with self._lock:
            name = rule.id or self._unused_name()
            if name in self._rules:
                raise ValueError(f"there is a fault {name} already")
            self._rules[name] = _InForce(
                rule=rule.model_copy(update={"id": name}),
                path=re.compile(rule.path) if rule.path is not None else None,
                method=re.compile(rule.method, re.IGNORECASE) if rule.method is not None else None,
            )
            self.changed += 1
            return name

    def add_first(self, rules: Iterable[FaultRule], *, name: str) -> list[str]:
        """Put rules in front of all others, in their order. Returns their ids, which are made from the name."""
        with self._lock:
            others = dict(self._rules)
            # Checked as a whole, so that half of them never comes into force.
            named: list[FaultRule] = []
            for rule in rules:
                taken = {*others, *(one.id for one in named)}
                if rule.id in taken:
                    raise ValueError(f"there is a fault {rule.id} already")
                named.append(rule.model_copy(update={"id": rule.id or _unused(_slug(name), taken)}))
            self._rules.clear()
            added = [self.add(rule) for rule in named]
            self._rules.update(others)
            return added

    def remove(self, name: str) -> None:
        """Take a rule out; KeyError when there is none of this id."""
        with self._lock:
            del self._rules[name]
            self.changed += 1

    def discard(self, name: str) -> None:
        """Take a rule out, if it is still there."""
        with self._lock:
            if self._rules.pop(name, None) is not None:
                self.changed += 1

    def clear(self) -> None:
        """Take every rule out."""
        with self._lock:
            self._rules.clear()
            self.changed += 1

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        with self._lock:
            return {
                "made": self._made,
                "random": state_of(self._random),
                "rules": [
                    [held.rule.model_dump(mode="json", exclude_unset=True), held.matched, held.used]
                    for held in self._rules.values()
                ],
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of everything."""
        with self._lock:
            self._made = state["made"]
            put_state(self._random, state["random"])
            self._rules.clear()
            for rule, matched, used in state["rules"]:
                held = self._rules[self.add(FaultRule.model_validate(rule))]
                held.matched, held.used = matched, used

    def listed(self) -> list[dict[str, Any]]:
        """The rules in order, with how many calls each matched and how many went wrong by it."""
        with self._lock:
            return [
                {**held.rule.model_dump(exclude_defaults=True), "matched": held.matched, "used": held.used}
                for held in self._rules.values()
            ]

    def used(self, name: str) -> int:
        """How many calls went wrong by this rule."""
        with self._lock:
            return self._rules[name].used

    def pick(self, call: Call, *, app: str | None, page: int, capability: str, now: float) -> FaultRule | None:
        """The rule that decides about this call; this uses the rule up by one."""
        for held in self._rules.values():
            rule = held.rule
            if now < rule.since or (rule.until is not None and now >= rule.until):
                continue
            if rule.times is not None and held.used >= rule.times:
                continue
            if not _matches(held, call, app=app, page=page, capability=capability):
                continue
            held.matched += 1
            if held.matched <= rule.after or (rule.chance < 1 and self._random.random() >= rule.chance):
                continue
            held.used += 1
            return rule
        return None

    def __bool__(self) -> bool:
        return bool(self._rules)

    def _unused_name(self) -> str:
        while True:
            self._made += 1
            if (name := f"fault-{self._made}") not in self._rules:
                return name


def _slug(name: str) -> str:
    """A name with only the signs that a rule's id may have."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")[:50] or "phase"


def _unused(name: str, taken: Collection[str | None]) -> str:
    """The name, or the first of name-2, name-3 and so on that is not taken."""
    numbers = itertools.count(2)
    candidate = name
    while candidate in taken:
        candidate = f"{name}-{next(numbers)}"
    return candidate


def _matches(held: _InForce, call: Call, *, app: str | None, page: int, capability: str) -> bool:
    rule = held.rule
    return (
        (rule.app is None or rule.app == app)
        and (rule.capability is None or rule.capability == capability)
        and (held.method is None or held.method.fullmatch(call.method) is not None)
        and (held.path is None or held.path.search(call.path) is not None)
        and (rule.heavy_over is None or page > rule.heavy_over)
        and (rule.upload_keeps is None or (call.binary and len(call.body) > rule.upload_keeps))
    )

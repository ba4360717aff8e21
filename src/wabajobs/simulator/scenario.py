"""Scenarios: what goes wrong at Meta, and when, as phases on a time line; and who plays them.

A phase turns knobs, lets calls go wrong, lets other clients of an app call, revokes tokens, and pulls any lever
of the control plane. What it sets goes back at its end; a phase without an end lasts until its scenario is
stopped.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from wabajobs.simulator.faults import FaultRule

if TYPE_CHECKING:
    from wabajobs.simulator.agenda import Agenda
    from wabajobs.simulator.faults import Faults
    from wabajobs.simulator.limits import Limits, Setting
    from wabajobs.simulator.world import World

_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")

log = logging.getLogger(__name__)


def seconds_of(value: Any) -> Any:
    """Seconds, from a number of them or from text such as `90s`, `12m` or `1h30m`."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+(?:\.\d+)?", value):
        return float(value)
    if not _DURATION.fullmatch(value):
        raise ValueError('a time is a number of seconds, or text such as "90s", "12m" or "1h30m"')
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


class PhaseError(ValueError):
    """A phase that cannot be played in this world; its text names the phase and the key."""


Seconds = Annotated[float, BeforeValidator(seconds_of), Field(ge=0, allow_inf_nan=False)]
"""Simulated seconds, or text such as `90s`, `12m`, `1h30m`, `2d`."""
Reference = Annotated[int, Field(ge=0)] | str
"""A place, from 0 in the order of the world, or an id."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class OtherClients(_Part):
    """Other clients of an app, who eat of its budget."""

    app: Reference | None = None
    """The app; the phase's, or the first."""
    per_second: float | None = Field(default=None, ge=0, le=100_000, allow_inf_nan=False)
    """Their calls in each simulated second while the phase lasts."""
    calls: int | None = Field(default=None, ge=1, le=100_000_000)
    """Their calls at the beginning of the phase, all at once."""

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.per_second is None and self.calls is None:
            raise ValueError("others need calls or per_second")
        return self


class PhaseAction(_Part):
    """A lever of the control plane, pulled once when the phase begins."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)

    post: str | None = None
    """Path below `/_simulator/` that gets a POST, such as `templates`."""
    delete: str | None = None
    """Path that gets a DELETE."""
    body: dict[str, Any] = Field(default_factory=dict, alias="with")
    """The JSON body. `app:0`, `waba:3`, `number:0` and `template:0:7` stand for ids, by their places."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.post is None) == (self.delete is None):
            raise ValueError("an action has either post or delete")
        return self

    @property
    def what(self) -> tuple[str, str]:
        """Method and path."""
        return ("POST", self.post) if self.post is not None else ("DELETE", self.delete or "")


class Phase(_Part):
    """A time in which something is different."""

    name: str = Field(min_length=1, max_length=80)
    """How reports and errors call it."""
    at: Seconds = 0.0
    """When it begins: seconds since the scenario began, or text such as `12m`."""
    until: Seconds | None = None
    """When it ends, in the same way; none: never by itself."""
    app: Reference | None = None
    """The app that limits, faults, others and tokens are about, where they name none; none: every app."""
    limits: dict[str, Any] = Field(default_factory=dict)
    """Knobs and their values: `app_limit`, or any other that can be changed while the simulator runs;
    `waba_limit` with a `waba`; an `app` for `app_limit` and `claimed_app_limit`."""
    faults: tuple[FaultRule, ...] = ()
    """Rules in force in this phase, before those that were in force already."""
    others: OtherClients | None = None
    """Other clients of an app."""
    revoke_tokens: bool = False
    """Whether the tokens of users and system users are refused."""
    restore_tokens: bool = False
    """Whether tokens that were revoked are good again."""
    stale_reads: Seconds | None = None
    """Reads answer with how things were so many seconds ago."""
    actions: tuple[PhaseAction, ...] = ()
    """Levers that are pulled when the phase begins, in order."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.until is not None and self.until <= self.at:
            raise ValueError("until must be later than at")
        if self.revoke_tokens and self.restore_tokens:
            raise ValueError("a phase has revoke_tokens or restore_tokens, not both")
        for place, rule in enumerate(self.faults):
            if rule.since or rule.until is not None:
                raise ValueError(f"faults.{place}: a phase's fault has no since and until, the phase has")
        tokens = self.revoke_tokens or self.restore_tokens
        if not (
            self.limits or self.faults or self.others or tokens or self.stale_reads is not None or self.actions
        ):
            raise ValueError(
                "a phase needs one of limits, faults, others, revoke_tokens, restore_tokens, stale_reads, actions"
            )
        return self

    def rules(self) -> tuple[FaultRule, ...]:
        """Its faults, those of its stale reads included."""
        if self.stale_reads is None:
            return self.faults
        return (*self.faults, FaultRule(method="GET", stale=self.stale_reads))


class Scenario(_Part):
    """Phases to be played, and what holds for as long as they are."""

    description: str | None = None
    """What happens, in one line."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """Knobs that hold from its beginning."""
    faults: tuple[FaultRule, ...] = ()
    """Rules in force, their times counted from its beginning."""
    phases: tuple[Phase, ...] = ()
    """What happens, and when."""

    def all_phases(self) -> tuple[Phase, ...]:
        """Its phases, and one for its knobs and for each of its faults."""
        standing = [Phase(name="knobs", limits=self.knobs)] if self.knobs else []
        for number, rule in enumerate(self.faults, 1):
            bare = rule.model_copy(update={"since": 0.0, "until": None})
            standing.append(
                Phase(name=rule.id or f"fault {number}", at=rule.since, until=rule.until, faults=(bare,))
            )
        return (*standing, *self.phases)


@dataclass(slots=True)
class Playing:
    """A phase on the simulator's time line."""

    play: str
    """Id of the play that it belongs to."""
    phase: Phase
    begins: float
    """Simulated second since the start of the simulator."""
    ends: float | None
    state: Literal["to come", "now", "over"] = "to come"
    fault_ids: tuple[str, ...] = ()
    """Rules that it put into force."""
    revoked: tuple[str, ...] = ()
    """Tokens that it revoked."""
    problems: tuple[str, ...] = ()
    """What of it could not be done, one sentence each."""

    def told(self) -> dict[str, Any]:
        """What the control plane shows of it."""
        told = {"name": self.phase.name, "state": self.state, "begins": self.begins, "ends": self.ends}
        return {**told, "problems": list(self.problems)} if self.problems else told


@dataclass(slots=True)
class Play:
    """A scenario that is being played."""

    id: str
    began: float
    description: str | None = None
    phases: list[Playing] = field(default_factory=list)

    def over(self) -> bool:
        """Whether nothing of it is in force or to come."""
        return all(one.state == "over" for one in self.phases)


_UNFIT = frozenset({"clock", "scenario"})
"""Levers that a phase cannot pull, because it is itself in the middle of them."""

Perform = Callable[[str, str, dict[str, Any]], Any]
"""`perform(method, path, body)`: pull a lever of the control plane; ValueError says why not."""

_PLAYS = TypeAdapter(list[Play])


class Player:
    """Plays scenarios. Methods may be called from any thread."""

    def __init__(
        self,
        *,
        world: World,
        limits: Limits,
        faults: Faults,
        agenda: Agenda,
        perform: Perform,
        knows: Callable[[str, str], bool],
        lock: threading.RLock,
    ) -> None:
        self._world = world
        self._limits = limits
        self._faults = faults
        self._agenda = agenda
        self._perform = perform
        self._knows = knows
        self._lock = lock
        self._plays: dict[str, Play] = {}
        self._made = 0
        self.changed = 0
        """Counts the changes, so that who saves the plays knows whether it must."""
        agenda.when("scenario.begin", self._begin)
        agenda.when("scenario.end", self._end)

    def play(self, scenario: Scenario, *, at: float) -> str:
        """Play a scenario from a simulated moment on; a PhaseError tells what of it cannot be."""
        with self._lock:
            phases = scenario.all_phases()
            for phase in phases:
                self._check(phase)
            self._made += 1
            play = Play(f"play-{self._made}", at, scenario.description)
            for phase in phases:
                ends = None if phase.until is None else at + phase.until
                play.phases.append(Playing(play.id, phase, at + phase.at, ends))
            self._plays[play.id] = play
            # An end comes before a beginning of the same moment, so that the next phase starts from what was.
            for place, one in enumerate(play.phases):
                if one.ends is not None:
                    self._agenda.plan(one.ends, "scenario.end", play.id, str(place))
            for place, one in enumerate(play.phases):
                self._agenda.plan(one.begins, "scenario.begin", play.id, str(place))
            self.changed += 1
            return play.id

    def stop(self, *, at: float) -> None:
        """End everything that is played: what is in force goes back, what is to come does not come."""
        with self._lock:
            for play in self._plays.values():
                for one in reversed(play.phases):
                    if one.state == "now":
                        self._undo(one, at=at)
            self._plays.clear()
            self.changed += 1

    def told(self, now: float) -> dict[str, Any]:
        """What is played: the phases in order, which are in force, and what comes next."""
        with self._lock:
            every = sorted(
                (one for play in self._plays.values() for one in play.phases), key=lambda one: one.begins
            )
            coming = next((one for one in every if one.state == "to come"), None)
            return {
                "time": now,
                "playing": [
                    {"id": play.id, "began": play.began, "description": play.description, "over": play.over()}
                    for play in self._plays.values()
                ],
                "current": [one.phase.name for one in every if one.state == "now"],
                "next": coming and {"name": coming.phase.name, "in": max(0.0, coming.begins - now)},
                "phases": [one.told() for one in every],
            }

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        with self._lock:
            plays = _PLAYS.dump_python(list(self._plays.values()), mode="json", exclude_unset=True)
            return {"made": self._made, "plays": plays}

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of everything; what is planned is the agenda's."""
        with self._lock:
            self._made = state["made"]
            self._plays = {play.id: play for play in _PLAYS.validate_python(state["plays"])}

    # What a phase does

    def _begin(self, due: float, play: str, place: str) -> None:
        one = self._playing(play, place)
        if one is None or one.state != "to come":
            return
        one.state = "now"
        self.changed += 1
        steps = (self._set_limits, self._let_others_call, self._add_faults, self._turn_tokens, self._pull_levers)
        for step in steps:
            try:
                step(one, due)
            except (ValueError, LookupError, OverflowError) as error:
                self._complain(one, error)

    def _end(self, due: float, play: str, place: str) -> None:
        one = self._playing(play, place)
        if one is not None and one.state == "now":
            self._undo(one, at=due)
            self.changed += 1

    def _undo(self, one: Playing, *, at: float) -> None:
        one.state = "over"
        self._limits.end_layer(_layer(one), at=at)
        for name in one.fault_ids:
            self._faults.discard(name)
        for token in one.revoked:
            self._world.restore_token(token)

    def _set_limits(self, one: Playing, due: float) -> None:
        changes = self._settings(one.phase)
        others = one.phase.others
        if others and others.per_second is not None:
            changes["others_per_second", self._app_of_others(one.phase)] = others.per_second
        if changes:
            self._limits.change(changes, layer=_layer(one), at=due)

    def _let_others_call(self, one: Playing, due: float) -> None:
        others = one.phase.others
        if others and others.calls is not None:
            self._limits.add_others(self._app_of_others(one.phase), others.calls, at=due)

    def _add_faults(self, one: Playing, _due: float) -> None:
        app = None if one.phase.app is None else self._app(one.phase.app)
        rules = [
            rule if rule.app is not None or app is None else rule.model_copy(update={"app": app})
            for rule in one.phase.rules()
        ]
        one.fault_ids = tuple(self._faults.add_first(rules, name=one.phase.name))

    def _turn_tokens(self, one: Playing, _due: float) -> None:
        phase, world = one.phase, self._world
        app = None if phase.app is None else self._app(phase.app)
        held = [token.text for token in world.tokens.values() if app is None or token.app_id == app]
        if phase.restore_tokens:
            for text in held:
                if text in world.revoked:
                    world.restore_token(text)
        if phase.revoke_tokens:
            # An app's own token is made of its secret, so no password change ends it.
            good = [text for text in held if text not in world.revoked and world.tokens[text].type != "APP"]
            one.revoked = tuple(good)
            for text in good:
                world.revoke_token(text)

    def _pull_levers(self, one: Playing, _due: float) -> None:
        for action in one.phase.actions:
            try:
                self._perform(*action.what, _resolved(self._world, action.body))
            except (ValueError, LookupError, OverflowError) as error:
                self._complain(one, error)

    def _complain(self, one: Playing, error: Exception) -> None:
        problem = f"{error.args[0] if isinstance(error, LookupError) and error.args else error}"
        one.problems = (*one.problems, problem)
        log.warning("phase %r of the scenario: %s", one.phase.name, problem)

    # What it means

    def _check(self, phase: Phase) -> None:
        where = f"phase {phase.name!r}"
        looks: dict[str, Callable[[], object]] = {
            "app": lambda: None if phase.app is None else self._app(phase.app),
            "limits": lambda: self._limits.check(self._settings(phase)),
            "others": lambda: phase.others and self._app_of_others(phase),
        }
        for key, look in looks.items():
            try:
                look()
            except (ValueError, LookupError) as error:
                raise PhaseError(f"{where}, {key}: {error.args[0] if error.args else error}") from error
        for place, action in enumerate(phase.actions):
            method, path = action.what
            if path in _UNFIT or not self._knows(method, path):
                raise PhaseError(f"{where}, actions.{place}: the control plane knows no {method} {path}")
        for place, rule in enumerate(phase.faults):
            if rule.app is not None and self._world.app_by_id(rule.app) is None:
                raise PhaseError(f"{where}, faults.{place}.app: there is no app {rule.app}")

    def _settings(self, phase: Phase) -> dict[Setting, Any]:
        values = dict(phase.limits)
        app, waba = values.pop("app", phase.app), values.pop("waba", None)
        app_id = "" if app is None else self._app(app)
        changes: dict[Setting, Any] = {}
        for name, value in values.items():
            of = app_id if name in ("app_limit", "claimed_app_limit") else ""
            if name == "waba_limit":
                if waba is None:
                    raise ValueError("waba_limit needs a waba")
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise ValueError("waba_limit must be a whole number from 1")
                of = self._waba(waba)
            changes[name, of] = value
        if not changes and phase.limits:
            raise ValueError("app and waba need a limit beside them")
        return changes

    def _app_of_others(self, phase: Phase) -> str:
        named = phase.others.app if phase.others else None
        return self._app(named if named is not None else phase.app if phase.app is not None else 0)

    def _app(self, reference: Any) -> str:
        return _id("app", [app.id for app in self._world.apps], reference)

    def _waba(self, reference: Any) -> str:
        return _id("WABA", self._world.waba_ids, reference)

    def _playing(self, play: str, place: str) -> Playing | None:
        held = self._plays.get(play)
        return held.phases[int(place)] if held else None


def _layer(one: Playing) -> str:
    return f"{one.play}:{one.phase.name}:{one.begins}"


def _id(kind: str, ids: Iterable[str], reference: Any) -> str:
    """The id that a place or an id stands for."""
    every = list(ids)
    if isinstance(reference, int) and not isinstance(reference, bool):
        if not 0 <= reference < len(every):
            raise ValueError(f"there is no {kind} {reference}; there are {len(every)}, counted from 0")
        return every[reference]
    if reference not in every:
        raise ValueError(f"there is no {kind} {reference}")
    return str(reference)


_PLACED = re.compile(r"(?P<kind>app|waba|number|template):(?P<place>\d+)(?::(?P<of>\d+))?")


def _resolved(world: World, value: Any) -> Any:
    """The value with ids in place of `waba:3` and the like."""
    if isinstance(value, Mapping):
        return {key: _resolved(world, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(world, one) for one in value]
    match = _PLACED.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    place = int(match["place"])
    if match["kind"] == "template" and match["of"] is not None:
        waba = _id("WABA", world.waba_ids, place)
        return _id("template", [one.id for one in world.templates(waba)], int(match["of"]))
    if match["of"] is not None or match["kind"] == "template":
        return value
    ids = {
        "app": [app.id for app in world.apps],
        "waba": world.waba_ids,
        "number": world.number_ids,
    }
    return _id({"waba": "WABA"}.get(match["kind"], match["kind"]), ids[match["kind"]], place)

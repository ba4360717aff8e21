"""An operation's steps, worked off one after the other, and what each of them works with.

What a step has done is written down before the next one begins. A step that happens once is marked before its
call leaves, and read back where nobody knows what became of it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from wabajobs import events
from wabajobs.bench import Bench
from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import (
    Ask,
    ConfigurationError,
    DeadlinePassed,
    Held,
    InputNeeded,
    LeaseLost,
    LedgerUnavailable,
    NotFound,
    StopAsked,
    WabajobsError,
)
from wabajobs.gate import Call
from wabajobs.kinds import Graph, Media, Step, Templates
from wabajobs.ledger import Media as StoredMedia
from wabajobs.ledger import why_expired
from wabajobs.operation import Operation
from wabajobs.outcome import End, Failed, NeedsInput
from wabajobs.permits import PermittedGraph
from wabajobs.secret import REFERENCE, Secret, of_operation
from wabajobs.settings import Settings
from wabajobs.vault import Vault


@dataclass
class _GoBack(Exception):
    """What an earlier step has made is of no use any more."""

    step: str


@dataclass(frozen=True)
class _Files:
    """The files of one operation: the `Media` of the kinds."""

    whose: str
    bench: Bench

    def put(self, content: bytes, *, type: str) -> str:
        file = StoredMedia.of(content, type=type)
        self.bench.ledger.media.put(self.whose, file, now=self.bench.clock.now())
        return file.sha256

    def read(self, sha256: str, *, start: int = 0, length: int | None = None) -> bytes:
        found = self.bench.ledger.media.read(self.whose, sha256, start=start, length=length)
        if found is None:
            raise NotFound("the operation's file is no longer kept: ask for the operation anew, with its file")
        return found


@dataclass
class Desk:
    """What a step works with: the `Work` of the kinds."""

    operation: Operation
    bench: Bench
    may_go_on: Callable[[], None]
    _kept: dict[str, Any] = field(init=False)
    _done: dict[str, dict[str, Any]] = field(init=False)
    _progress: dict[str, dict[str, Any]] = field(init=False)
    _begun: dict[str, str | bool] = field(init=False)
    """Steps that happen once, and whose changing call may have left; and when the last of them did."""
    _again: dict[str, bool] = field(init=False)
    """Steps that were gone back to."""
    _left_out: dict[str, str] = field(init=False)
    _found: str | None = None
    """The WABA, where the operation came without one."""
    _step: Step = field(init=False)
    _charged_at: datetime = field(init=False)
    _changes: int = field(init=False, default=0)
    """Calls of the step, in this attempt, that may have changed something."""

    def __post_init__(self) -> None:
        """Take up what earlier attempts have kept."""
        self._kept = {**(self.operation.checkpoint or {})}
        for part in ("done", "progress", "begun", "again", "left_out"):
            self._kept[part] = dict(self._kept.get(part, {}))
            setattr(self, f"_{part}", self._kept[part])

    def work_off(self, steps: Sequence[Step]) -> None:
        """Run the steps that no earlier attempt has done, remembering each that is followed by another."""
        steps = [step for step in steps if step.when(self.operation.payload)]
        place = 0
        while place < len(steps):
            step = steps[place]
            place += 1
            if step.name in self._done:
                continue
            self._step, self._changes = step, 0
            events.about(capability=step.capability)
            try:
                self._done[step.name] = self._do(step)
            except _GoBack as back:
                place = self._forget(steps, back.step)
                continue
            self._progress.pop(step.name, None)
            self._begun.pop(step.name, None)
            if place < len(steps):  # the end of the last step is recorded with the outcome
                self._write(capability=steps[place].capability)

    def _forget(self, steps: Sequence[Step], name: str) -> int:
        """Let a step that was done, and those after it, be done again; return its place."""
        place = [step.name for step in steps].index(name)
        for step in steps[place:]:
            self._done.pop(step.name, None)
        self._again[name] = True
        self._write(capability=steps[place].capability)
        return place

    def _do(self, step: Step) -> dict[str, Any]:
        """Run a step; what may have happened already is read back first."""
        try:
            if step.name in self._begun and step.reads_back is not None:
                self._let_land(step)
                found = step.reads_back(self)
                if found is not None:
                    return found
                self._take_mark_back()
            return step.run(self)
        except (LeaseLost, LedgerUnavailable):
            raise
        except WabajobsError as error:
            if step.required or not isinstance(verdict_ := self.bench.verdict(error, self.operation), Failed):
                raise
            self._left_out[step.name] = verdict_.reason
            return {}

    def _let_land(self, step: Step) -> None:
        """Raise `Held` while a call of the step may be on its way: its caller may have died, and the call not."""
        left = self._begun[step.name]
        if not isinstance(left, str):  # marked by an earlier version, which did not say when
            return
        landed = datetime.fromisoformat(left) + timedelta(seconds=self.settings.graph.in_flight_seconds)
        if (wait := landed - self.now()) > timedelta():
            raise Held(
                reason=f"a call of step {step.name} may still be on its way; then it is looked what it has done",
                by="in_flight",
                wait=wait,
            )

    def explained(self, outcome: End) -> End:
        """Return how the attempt ended; a failure with its step, and how to undo those before it.

        Past the point of no return a person is waited for as long as it takes.
        """
        if isinstance(outcome, NeedsInput) and "past_return" in self._kept:
            return replace(outcome, until=None)
        if not isinstance(outcome, Failed) or not hasattr(self, "_step"):
            return outcome
        steps = self.bench.kinds[self.operation.kind].steps
        undo = {step.name: step.undo for step in steps if step.undo and step.name in self._done}
        facts = {"step": self._step.name, **({"to_undo": undo} if undo else {})}
        return Failed(outcome.reason, {**outcome.error, **facts})

    # ── what a step is given ────────────────────────────────────────────────────────────────────────────

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.bench.settings

    @property
    def templates(self) -> Templates:
        """The mirror of templates."""
        return self.bench.ledger.templates

    @property
    def results(self) -> dict[str, Any]:
        """What the steps before this one have returned, together; and what was left out, and why."""
        told = {name: value for facts in self._done.values() for name, value in facts.items()}
        return told | ({"left_out": dict(self._left_out)} if self._left_out else {})

    @property
    def media(self) -> Media:
        """The files of the operation."""
        return _Files(self.operation.id, self.bench)

    @property
    def graph(self) -> Graph:
        """The Graph API, behind the gate."""
        if self._step.capability is None:
            raise RuntimeError(f"step {self._step.name!r} makes calls but declares no capability")
        return PermittedGraph(
            gate=self.bench.gate,
            client=self.bench.client,
            operation=self.operation,
            capability=self._step.capability,
            may_go_on=self._may_call,
            before_change=self._mark_begun,
            not_changed=self._mark_not_begun,
            charge=self._charge,
            give_back=self._give_back,
            tell=self.bench.tell,
            short_wait=self.settings.dispatch.short_wait,
        )

    def now(self) -> datetime:
        """Return the present moment."""
        return self.bench.clock.now()

    def secret(self, name: str) -> Secret | None:
        """Return a secret of the operation, else the one that its payload refers to."""
        found = self.bench.vault.get(of_operation(self.operation.id, name))
        reference = self.operation.payload.get(name)
        if found is None and isinstance(reference, str) and REFERENCE.fullmatch(reference):
            if reference == f"vault:{of_operation(self.operation.id, name)}":
                return None  # it was the operation's own, and a step has forgotten it
            return self.bench.vault.resolve(reference)
        return found

    @property
    def vault(self) -> Vault:
        """The vault."""
        return self.bench.vault

    def app_secret(self) -> Secret:
        """Return the secret of the operation's app."""
        app = self.operation.app
        found = self.bench.vault.app_secret(app, self.settings.app(app))
        if found is None:
            raise ConfigurationError(f"app {self.operation.app} has no secret: say where it is, [apps] secret")
        return found

    def is_about(self, waba: str) -> None:
        """Let the operation be that of a WABA that it did not know; the next checkpoint writes it down."""
        if self.operation.waba not in (None, waba):
            raise ValueError(f"operation {self.operation.id} is about WABA {self.operation.waba}, not {waba}")
        self.operation = replace(self.operation, waba=waba)
        self._found = waba
        events.about(waba=waba)

    def enqueue(self, kind: str, *, key: str, service_class: ServiceClass | None = None) -> str:
        """Accept another operation for the same WABA, once for each key, and return its id."""
        key = f"{self.operation.id}/{key}"
        return self.bench.enqueue(self.operation, kind, key=key, service_class=service_class)

    def ask(self, reason: str, *asks: Ask, within: timedelta) -> NoReturn:
        """End this attempt, and wait for a person."""
        raise InputNeeded(reason, asks, within)

    def go_back(self, step: str, *, asked: bool = False) -> None:
        """Go on from a step before this one, once, or whenever a person asks; else return."""
        if asked or step not in self._again:
            raise _GoBack(step)

    # ── memory ──────────────────────────────────────────────────────────────────────────────────────────

    def progress(self) -> dict[str, Any]:
        """Return what this step has kept."""
        return dict(self._progress.get(self._step.name, {}))

    def checkpoint(self, progress: dict[str, Any]) -> dict[str, Any]:
        """Return the whole checkpoint with this step's progress."""
        self._progress[self._step.name] = progress
        return self._whole()

    def keep(self, progress: dict[str, Any], **secrets: Secret | None) -> None:
        """Remember this step's progress, and secrets with it, at once."""
        self._progress[self._step.name] = progress
        self._write(capability=self._step.capability, secrets=secrets)

    def settle(self, progress: dict[str, Any], **secrets: Secret | None) -> None:
        """Remember what has come of the step's calls so far: none of them needs to be looked for any more."""
        self._begun.pop(self._step.name, None)
        self._changes = 0
        self.keep(progress, **secrets)

    def _may_call(self) -> None:
        """Raise when no further call may be made: the lease, the deadline or a person says so.

        What was taken back may be out with another worker already, long before its old lease would have ended.
        """
        self.may_go_on()
        timely = {"past_return", "in_time"} & self._kept.keys()
        if not timely and self.operation.is_overdue(self.now()):
            raise DeadlinePassed(why_expired(self.operation))
        # A read by primary key, beside a call over the Internet. While the database is away, the lease decides.
        with suppress(LedgerUnavailable):
            if stop := self.bench.ledger.operations.stop_asked(self.operation):
                raise StopAsked(stop["reason"], stop["by"])

    def _mark_begun(self) -> None:
        """Write down, before a call leaves, that nobody may make it again without looking."""
        step = self._step
        self._changes += 1
        final = step.point_of_no_return and "past_return" not in self._kept
        if step.happens_once:
            self._begun[step.name] = self.now().isoformat()
        if final:
            deadline = self.operation.deadline_at
            self._kept["past_return"] = {
                "step": step.name,
                "deadline": deadline.isoformat() if deadline else None,
            }
        if step.happens_once or final:
            # Nobody is cancelled beyond the point of no return unless he was told so, and insisted.
            self._write(capability=step.capability, unless_stopped=final)

    def _mark_not_begun(self) -> None:
        """Take that back: Meta has said no. But not where another call of the step has gone through."""
        self._changes -= 1
        if not self._changes:
            self._take_mark_back()

    def _take_mark_back(self) -> None:
        """Write down that nothing of the step has happened."""
        step, deadline = self._step, None
        begun = self._begun.pop(step.name, None)
        if past := self._kept.get("past_return", {}).get("step") == step.name:
            deadline = self._kept.pop("past_return")["deadline"]
        if begun or past:
            self._write(capability=step.capability, deadline=deadline and datetime.fromisoformat(deadline))

    def _charge(self, call: Call) -> None:
        """Write down that a number is about to be registered: the gate forgets that when Redis is emptied."""
        gate, self._charged_at = self.settings.gate, self.now()
        wait = self.bench.ledger.number_calls.charge(
            str(call.number),
            str(call.quota),
            most=gate.registrations,
            window=timedelta(seconds=gate.registration_window_seconds + gate.spread_seconds),
            now=self._charged_at,
        )
        if wait is not None:
            raise Held(
                reason=f"number {call.number} has had as many calls to {call.quota} it as it may have in"
                f" {gate.registration_window_seconds / 3600:g} h ({gate.registrations})",
                by="budget",
                wait=wait,
            )

    def _give_back(self, call: Call) -> None:
        """Take that back: the call has not come to the number."""
        with suppress(LedgerUnavailable):  # then it counts as one that has
            number, quota = str(call.number), str(call.quota)
            self.bench.ledger.number_calls.give_back(number, quota, at=self._charged_at)

    def _whole(self) -> dict[str, Any]:
        return {name: dict(part) if isinstance(part, dict) else part for name, part in self._kept.items() if part}

    def _write(
        self,
        *,
        capability: Capability | None,
        secrets: Mapping[str, Secret | None] | None = None,
        deadline: datetime | None = None,
        unless_stopped: bool = False,
    ) -> None:
        vault, whose = self.bench.vault, self.operation.id
        if self.bench.kinds[self.operation.kind].begins_within:
            self._kept["in_time"] = True
        self.bench.ledger.operations.record_checkpoint(
            whose,
            self.operation.fence,
            self._whole(),
            capability=capability or self.operation.capability,
            secrets={
                of_operation(whose, name): vault.seal(secret) if secret else None
                for name, secret in (secrets or {}).items()
            },
            waba=self._found,
            deadline=deadline,
            unless_stopped=unless_stopped,
            now=self.now(),
        )

"""A dry run: what a request would lead to, told without any effect. Nothing is written, nobody is called."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from wabajobs.clock import Clock
from wabajobs.errors import GateUnavailable, NotReady, WabajobsError
from wabajobs.gate import Call, Gate
from wabajobs.kinds import Catalogue, Step
from wabajobs.ledger import DISPATCHER, Ledger, NewOperation
from wabajobs.secret import REFERENCE, of_operation
from wabajobs.settings import Settings
from wabajobs.signals import Presence
from wabajobs.vault import Vault

_HIDDEN: Final = "***"


@dataclass(frozen=True, kw_only=True)
class DryCall:
    """A call that would be made."""

    method: str
    path: str
    """With what is known filled in; names in braces are told by earlier calls."""
    cost: int
    note: str = ""
    """How often, or when, where that is not always once."""


@dataclass(frozen=True, kw_only=True)
class DryStep:
    """A step that would be taken."""

    name: str
    capability: str | None
    required: bool
    happens_once: bool
    point_of_no_return: bool
    undo: str
    asks: dict[str, str]
    """What a person will be asked for: name, and what it is."""
    calls: tuple[DryCall, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a request would lead to."""

    kind: str
    partner: str
    app: str
    waba: str | None
    service_class: str
    payload: dict[str, Any]
    """As it was understood; `***` for a secret."""
    steps: tuple[DryStep, ...]
    known: str | None
    """The operation that its idempotency key stands for already: nothing new would be accepted."""
    joins: str | None
    """The pending operation that it would join."""
    missing: tuple[str, ...]
    """What it would wait for, or fail by: a sentence each."""
    waits: str | None
    """Why its first call could not be made right now."""

    @property
    def cost(self) -> int:
        """Calls of Meta's budget when nothing goes wrong; those with a note counted once."""
        return sum(call.cost for step in self.steps for call in step.calls)

    @property
    def is_exact(self) -> bool:
        """Whether it costs just that, because each call is made once."""
        return not any(call.note for step in self.steps for call in step.calls)

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "kind": self.kind,
            "partner": self.partner,
            "app": self.app,
            "waba": self.waba,
            "class": self.service_class,
            "payload": self.payload,
            "steps": [
                {
                    "name": step.name,
                    "capability": step.capability,
                    "required": step.required,
                    "happens_once": step.happens_once,
                    "point_of_no_return": step.point_of_no_return,
                    "undo": step.undo,
                    "asks": step.asks,
                    "calls": [
                        {"method": one.method, "path": one.path, "cost": one.cost, "note": one.note}
                        for one in step.calls
                    ],
                }
                for step in self.steps
            ],
            "cost": self.cost,
            "cost_is_exact": self.is_exact,
            "known": self.known,
            "joins": self.joins,
            "missing": list(self.missing),
            "waits": self.waits,
        }


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Looks ahead, and touches nothing."""

    ledger: Ledger
    gate: Gate
    presence: Presence
    kinds: Catalogue
    vault: Vault
    settings: Settings
    clock: Clock

    def plan(self, new: NewOperation) -> Plan:
        """Say what a checked request would lead to. Raises `IdempotencyConflict`, `LedgerUnavailable`."""
        now = self.clock.now()
        steps = [step for step in self.kinds[new.kind].steps if step.when(new.payload)]
        known, joins = self.ledger.operations.foresee(new)
        operation = new.accepted(now).under(self.ledger.decisions.pauses(now=now))
        return Plan(
            kind=new.kind,
            partner=new.partner,
            app=new.app,
            waba=new.waba,
            service_class=str(new.service_class),
            payload={name: _shown(name, value, new) for name, value in new.payload.items()},
            steps=tuple(_step(step, new) for step in steps),
            known=known,
            joins=joins,
            missing=(*self._secrets_missing(new, steps), *self._programs_missing(new.kind)),
            waits=operation.hold.reason if operation.hold else self._wait(Call.of(operation)),
        )

    def _secrets_missing(self, new: NewOperation, steps: Sequence[Step]) -> Iterator[str]:
        app, vault = self.settings.app(new.app), self.vault
        yield from _trouble(lambda: vault.token(new.app, app))
        yield from _trouble(lambda: vault.app_secret(new.app, app))
        if new.secrets or any(step.asks for step in steps):
            yield from _trouble(vault.require_keys)
        for name, value in new.payload.items():
            if isinstance(value, str) and REFERENCE.fullmatch(value) and not _is_own(name, new):
                yield from _trouble(partial(vault.resolve, value))

    def _programs_missing(self, queue: str) -> Iterator[str]:
        if self.ledger.leaderships.holder(DISPATCHER, now=self.clock.now()) is None:
            yield "no dispatcher runs: nothing leaves the ledger (wabajobs dispatcher)"
        try:
            if not self.presence.living([queue])[queue]:
                yield f"no worker is alive for {queue}"
        except NotReady as error:
            yield f"whether a worker is alive for {queue} cannot be said: {error}"

    def _wait(self, call: Call) -> str | None:
        try:
            [wait] = self.gate.forecast([call])
        except GateUnavailable as error:
            return f"no calls are made: {error}"
        return str(wait) if wait else None


def _is_own(name: str, new: NewOperation) -> bool:
    return of_operation(new.id, name) in new.secrets


def _shown(name: str, value: object, new: NewOperation) -> object:
    return _HIDDEN if _is_own(name, new) else value


def _step(step: Step, new: NewOperation) -> DryStep:
    names = {**new.payload, "waba": new.waba, "app": new.app}
    return DryStep(
        name=step.name,
        capability=str(step.capability) if step.capability else None,
        required=step.required,
        happens_once=step.happens_once,
        point_of_no_return=step.point_of_no_return,
        undo=step.undo,
        asks={ask.name: ask.about for ask in step.asks},
        calls=tuple(
            DryCall(method=one.method, path=_filled(one.path, names), cost=one.cost, note=one.note)
            for one in step.calls(new.payload)
        ),
    )


def _filled(path: str, names: dict[str, Any]) -> str:
    return re.sub(
        r"\{(\w+)\}", lambda found: str(found[0] if names.get(found[1]) is None else names[found[1]]), path
    )


def _trouble(look: Callable[[], object]) -> Iterator[str]:
    try:
        look()
    except WabajobsError as error:
        yield str(error)

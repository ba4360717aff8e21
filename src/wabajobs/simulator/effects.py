"""What calls have done in the world: SMS sent, numbers registered, credit shared, templates created.

The judge of "an effect happens once". Most effects are to happen once for their subject until something
undoes them; one that happens again is a duplicate.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, NamedTuple

UNDONE_BY: dict[str, tuple[str, ...]] = {
    "code_exchanged": (),
    "number_added": (),
    "code_sent": ("number_verified", "code_lapsed"),
    "number_verified": ("number_deregistered",),
    "number_registered": ("number_deregistered", "number_renamed"),
    "number_deregistered": ("number_registered",),
    "number_migrated": (),
    "credit_shared": ("credit_revoked",),
    "credit_attached": ("credit_revoked",),
    "template_created": ("template_deleted",),
    "template_migrated": ("template_deleted",),
    "flow_created": ("flow_deleted", "flow_renamed"),
    "flow_published": ("flow_updated", "flow_deprecated"),
    "flow_deprecated": (),
    "flow_migrated": ("flow_deleted", "flow_renamed"),
    "migration_intended": (),
}
"""The effects that are to happen once for a subject, each with what makes it possible again."""


class Effect(NamedTuple):
    """Something that a call did."""

    seq: int
    """Its place in the order of effects, from 1."""
    call: int
    """The sequence number of the call that did it."""
    time: float
    """Simulated seconds since the start."""
    wall: float
    """Unix time by the machine's clock."""
    app: str
    waba: str | None
    kind: str
    """Such as `number_registered`."""
    subject: str
    """What it was done to: an id, or a WABA's id and a name."""
    details: dict[str, Any]
    repeated: bool
    """Whether it had been done already, and nothing undid it since."""


class Effects:
    """Every effect of one simulator. Methods may be called from any thread."""

    def __init__(self, *, lock: threading.RLock | None = None) -> None:
        self._lock = lock or threading.RLock()
        self._all: list[Effect] = []
        self._in_force: set[tuple[str, str]] = set()
        self._undoes: dict[str, list[str]] = {}
        for kind, undoers in UNDONE_BY.items():
            for undoer in undoers:
                self._undoes.setdefault(undoer, []).append(kind)

    def record(
        self,
        kind: str,
        subject: str,
        *,
        call: int,
        time: float,
        wall: float,
        app: str,
        waba: str | None,
        details: dict[str, Any],
    ) -> Effect:
        """A call did something."""
        with self._lock:
            repeated = kind in UNDONE_BY and (kind, subject) in self._in_force
            self._in_force.add((kind, subject))
            self._in_force.difference_update((undone, subject) for undone in self._undoes.get(kind, ()))
            effect = Effect(len(self._all) + 1, call, time, wall, app, waba, kind, subject, details, repeated)
            self._all.append(effect)
            return effect

    def undo(self, kind: str, subject: str) -> None:
        """Something else than a call made an effect possible again, such as a customer's own deletion."""
        with self._lock:
            self._in_force.discard((kind, subject))

    def all(self, *, kind: str | None = None, after: int = 0, limit: int | None = None) -> list[Effect]:
        """The effects with a higher sequence number, oldest first; of one kind, or all."""
        with self._lock:
            found = [one for one in self._all[max(0, after) :] if kind is None or one.kind == kind]
            return found if limit is None else found[:limit]

    def duplicates(self) -> list[Effect]:
        """The effects that had happened already."""
        with self._lock:
            return [one for one in self._all if one.repeated]

    def by_kind(self) -> dict[str, int]:
        """How often each effect happened."""
        with self._lock:
            return dict(Counter(one.kind for one in self._all))

    def clear(self) -> None:
        """Forget what was recorded, but not what is in force: the world is as it is."""
        with self._lock:
            self._all.clear()

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        with self._lock:
            return {
                "all": [list(one) for one in self._all],
                "in_force": sorted(list(one) for one in self._in_force),
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of everything."""
        with self._lock:
            self._all = [Effect(*one) for one in state["all"]]
            self._in_force = {(kind, subject) for kind, subject in state["in_force"]}

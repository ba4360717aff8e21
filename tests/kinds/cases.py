"""One case or more for each kind: an operation with everything it needs, for the crash matrix to disturb.

A kind's own test module adds its cases with `case(...)`; the matrix imports all modules `tests.kinds.test_*`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.stage import Stage
from wabajobs.operation import Operation


def _nothing(_stage: Stage) -> None:
    return None


def _nobody(operation: Operation, _stage: Stage) -> None:
    raise AssertionError(f"it needs what nobody gives: {operation.needs}")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operation whose undisturbed run is known, and that must end the same whatever is done to it."""

    name: str
    kind: str
    prepare: Callable[[Stage], Mapping[str, Any]]
    """Makes the world ready, and returns what `Stage.accept` takes beside the kind: `waba`, `payload`, …"""
    state: Callable[[Stage, Operation], Any] = lambda _stage, operation: operation.result
    """What must be the same at the end: of the simulator's world, and of the operation. It is compared between
    worlds of the same seed; leave out what depends on when something happened, and on the number of calls."""
    brought: frozenset[str] = frozenset()
    """Effects that come along with what a person gives: another signup's code is exchanged once more."""
    give: Callable[[Operation, Stage], object] = _nobody
    """Gives what it needs, as a person would: `stage.provide(operation, code=…)`."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """The simulator's."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """More tables of the configuration."""


CASES: dict[str, Case] = {}


def case(added: Case) -> Case:
    """Put a case on the list."""
    if CASES.setdefault(added.name, added) is not added:
        raise ValueError(f"there are two cases of the name {added.name!r}")
    return added

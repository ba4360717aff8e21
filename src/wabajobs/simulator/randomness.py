"""The state of a source of randomness, as JSON can hold it."""

from __future__ import annotations

from random import Random
from typing import Any


def state_of(random: Random) -> list[Any]:
    """Where a source of randomness is."""
    version, inner, gauss = random.getstate()
    return [version, list(inner), gauss]


def put_state(random: Random, state: list[Any]) -> None:
    """Let it go on from a `state_of`."""
    version, inner, gauss = state
    random.setstate((version, tuple(inner), gauss))

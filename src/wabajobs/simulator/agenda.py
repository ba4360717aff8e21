"""What happens later by itself: reviews, ends of pauses, phases of a scenario.

An entry is data and not a function, so that it can be kept across a restart.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

Action = Callable[..., None]
"""Called with the moment at which it was due, and the entry's words."""


class Entry(NamedTuple):
    """Something that will happen."""

    due: float
    """Simulated seconds since the start."""
    number: int
    what: str
    words: tuple[str, ...]


class Agenda:
    """Entries by their time. To be used under the simulator's lock."""

    def __init__(self, *, poke: Callable[[], object] = lambda: None) -> None:
        self.poke = poke
        """Called when an entry came in front of all others, so that who sleeps until the next may look again."""
        self.changed = 0
        """Counts the changes, so that who saves the agenda knows whether it must."""
        self._entries: list[Entry] = []
        self._numbers = itertools.count()
        self._actions: dict[str, Action] = {}

    def when(self, what: str, action: Action) -> None:
        """What is to be done when an entry of this name is due."""
        self._actions[what] = action

    def plan(self, due: float, what: str, *words: str) -> None:
        """Let something happen at a simulated moment."""
        if what not in self._actions:
            raise ValueError(f"nobody knows what to do at {what}")
        self.changed += 1
        heapq.heappush(self._entries, Entry(due, next(self._numbers), what, words))
        if self._entries[0].due == due:
            self.poke()

    def drop(self, what: str) -> list[Entry]:
        """Let nothing of this name happen any more; what would have, in its order."""
        dropped = sorted(one for one in self._entries if one.what == what)
        if dropped:
            # In place, because `catch_up` may be in the middle of them.
            self._entries[:] = [one for one in self._entries if one.what != what]
            heapq.heapify(self._entries)
            self.changed += 1
        return dropped

    @property
    def next_due(self) -> float:
        """When the next entry is due; infinity when there is none."""
        return self._entries[0].due if self._entries else math.inf

    def catch_up(self, now: float) -> None:
        """Do all that is due by now, in its order."""
        while self._entries and self._entries[0].due <= now:
            entry = heapq.heappop(self._entries)
            self.changed += 1
            self._actions[entry.what](entry.due, *entry.words)

    def state(self) -> list[dict[str, Any]]:
        """The entries as JSON can hold them."""
        return [{"due": one.due, "what": one.what, "words": list(one.words)} for one in sorted(self._entries)]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Put the entries of a `state` in place of all entries."""
        self._entries.clear()
        for one in state:
            self.plan(one["due"], one["what"], *one["words"])

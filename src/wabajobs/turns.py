"""Whose turn it is: classes of service before each other, partners beside each other, by weight.

Each partner has a pass, which moves on by 1/weight with each operation of his that is served; the one with the
smallest is next. Who comes to an empty place starts where the others stand: nobody saves up turns by being idle.
Source: Waldspurger, Weihl: Stride scheduling, 1995.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from wabajobs.capability import ServiceClass
from wabajobs.ledger import Line

Pool = frozenset[str]
"""Queues that share their workers."""

_REMEMBERED: Final = 10_000


class _Ring:
    """What is remembered of one class in one pool."""

    def __init__(self) -> None:
        self.passes: dict[str, float] = {}
        self.here = 0.0
        """Where those stand who wait: the smallest pass among them."""
        self.last: dict[str, str] = {}
        """The line from which each partner was served last."""
        self.credit = 0.0
        """Of the classes below this one."""

    def enter(self, partners: Iterable[str]) -> list[tuple[float, str]]:
        """Return who stands where, as a heap."""
        standing = [(max(self.passes.get(partner, 0.0), self.here), partner) for partner in partners]
        heapify(standing)
        self.here = standing[0][0]
        if len(self.passes) > _REMEMBERED:  # who stands where a newcomer would start need not be remembered
            self.passes = {partner: at for partner, at in self.passes.items() if at > self.here}
            self.last = {partner: line for partner, line in self.last.items() if partner in self.passes}
        return standing


class _Class:
    """The lines of one class that have something now."""

    def __init__(self, ring: _Ring, lines: Iterable[Line], weight: Callable[[str], float]) -> None:
        self._ring = ring
        self._weight = weight
        self._lines: dict[str, dict[str, Line]] = {}
        for line in lines:
            self._lines.setdefault(line.partner, {})[line.name + line.kind] = line
        self._standing = ring.enter(self._lines)

    def next(self) -> Line | None:
        while self._standing:
            at, partner = heappop(self._standing)
            if theirs := self._lines[partner]:
                self._move(partner, at + 1 / self._weight(partner))
                names = sorted(theirs)
                name = names[bisect_right(names, self._ring.last.get(partner, "")) % len(names)]
                self._ring.last[partner] = name
                return theirs[name]
        return None

    def drop(self, line: Line, turns_back: int) -> None:
        self._lines[line.partner].pop(line.name + line.kind, None)
        self._ring.passes[line.partner] -= turns_back / self._weight(line.partner)

    def _move(self, partner: str, to: float) -> None:
        self._ring.passes[partner] = to
        heappush(self._standing, (to, partner))


class Round:
    """The lines of a pool, asked one after the other whose turn it is."""

    def __init__(self, classes: dict[ServiceClass, tuple[_Ring, _Class]], lower_share: float) -> None:
        """Begin with the highest class."""
        self._classes = classes
        self._lower_share = lower_share

    def next(self) -> Line | None:
        """Return the line whose turn it is, and count it as served; None when nobody is left."""
        left = [one for one in ServiceClass if one in self._classes]
        for service_class in left:
            ring, lines = self._classes[service_class]
            is_last = service_class is left[-1]
            if not is_last and ring.credit >= 1:
                ring.credit -= 1
                continue
            line = lines.next()
            if line is None:
                del self._classes[service_class]
                return self.next()
            if not is_last:
                ring.credit += self._lower_share
            return line
        return None

    def drop(self, line: Line, *, turns_back: int = 0) -> None:
        """Leave a line out from now on, and take back turns that it could not use."""
        if line.service_class in self._classes:
            self._classes[line.service_class][1].drop(line, turns_back)


class Turns:
    """Chooses from which lines the next operations come. Remembers who has been served."""

    def __init__(self, *, weight: Callable[[str], float], lower_share: float) -> None:
        """`lower_share` is the part of the turns that lower classes get while higher ones wait."""
        self._weight = weight
        self._lower_share = lower_share
        self._rings: dict[tuple[Pool, ServiceClass], _Ring] = {}

    def among(self, pool: Pool, lines: Iterable[Line]) -> Round:
        """Return the round of these lines of a pool."""
        by_class: dict[ServiceClass, list[Line]] = {}
        for line in lines:
            by_class.setdefault(line.service_class, []).append(line)
        classes = {}
        for service_class, theirs in by_class.items():
            ring = self._rings.setdefault((pool, service_class), _Ring())
            classes[service_class] = (ring, _Class(ring, theirs, self._weight))
        return Round(classes, self._lower_share)

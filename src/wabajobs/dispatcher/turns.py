"""Whose turn it is: classes of service before each other, partners beside each other, by weight.

Each partner has a pass, which moves on by 1/weight with each operation of his that is served; the one with the
smallest is next. Who comes, and who could not be served for a while, starts where the last one stood who was:
nobody saves up turns, be it that he is idle, at his cap or refused by the gate.
Source: Waldspurger, Weihl: Stride scheduling, 1995; the start is that of Goyal, Vin, Cheng: Start-time fair
queueing, 1997.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
        self.last: dict[str, str] = {}
        """The line from which each partner was served last."""
        self.credit = 0.0
        """Of the classes below this one."""
        self._passes: dict[str, float] = {}
        self._here = 0.0
        self._served: Counter[str] = Counter()

    def settle(self, weight: Callable[[str], float]) -> None:
        """Let those who come from now on start where the last one stood who has been served."""
        stood = (self._passes[one] - 1 / weight(one) for one, number in self._served.items() if number > 0)
        self._here = max(self._here, *stood, 0.0)
        self._served.clear()
        if len(self._passes) > _REMEMBERED:  # who stands where a newcomer would start need not be remembered
            self._passes = {partner: at for partner, at in self._passes.items() if at > self._here}
            self.last = {partner: line for partner, line in self.last.items() if partner in self._passes}

    def stands(self, partner: str) -> float:
        return max(self._passes.get(partner, 0.0), self._here)

    def serve(self, partner: str, turns: int, weight: float) -> None:
        """Count turns as used; fewer than none were not used after all."""
        self._passes[partner] = self.stands(partner) + turns / weight
        self._served[partner] += turns


class _Class:
    """The lines of one class that have something now."""

    def __init__(self, ring: _Ring, lines: Iterable[Line], weight: Callable[[str], float]) -> None:
        self._ring = ring
        self._weight = weight
        self._lines: dict[str, dict[str, Line]] = {}
        for line in lines:
            self._lines.setdefault(line.partner, {})[line.name + line.kind] = line
        self._standing = [(ring.stands(partner), partner) for partner in self._lines]
        heapify(self._standing)

    def next(self) -> Line | None:
        while self._standing:
            at, partner = heappop(self._standing)
            theirs = self._lines[partner]
            if not theirs or at != self._ring.stands(partner):  # he has been given turns back since
                continue
            self._serve(partner, 1)
            names = sorted(theirs)
            name = names[bisect_right(names, self._ring.last.get(partner, "")) % len(names)]
            self._ring.last[partner] = name
            return theirs[name]
        return None

    def drop(self, line: Line, turns_back: int) -> None:
        self._lines[line.partner].pop(line.name + line.kind, None)
        if turns_back:
            self._serve(line.partner, -turns_back)

    def _serve(self, partner: str, turns: int) -> None:
        self._ring.serve(partner, turns, self._weight(partner))
        heappush(self._standing, (self._ring.stands(partner), partner))


class Round:
    """What one pool releases at one time: its lines are asked one after the other whose turn it is."""

    def __init__(
        self, rings: Mapping[ServiceClass, _Ring], *, weight: Callable[[str], float], lower_share: float
    ) -> None:
        """Begin with nobody; `among` says who is there."""
        self._rings = rings
        self._weight = weight
        self._lower_share = lower_share
        self._classes: dict[ServiceClass, _Class] = {}
        self._left: list[ServiceClass] = []

    def among(self, lines: Iterable[Line]) -> None:
        """Go on with these lines; everybody stands where the turns so far have brought him."""
        by_class: dict[ServiceClass, list[Line]] = {}
        for line in lines:
            by_class.setdefault(line.service_class, []).append(line)
        self._classes = {one: _Class(self._rings[one], its, self._weight) for one, its in by_class.items()}
        self._left = [one for one in ServiceClass if one in by_class]

    def next(self) -> Line | None:
        """Return the line whose turn it is, and count it as served; None when nobody is left."""
        for service_class in self._left:
            ring, is_last = self._rings[service_class], service_class is self._left[-1]
            if not is_last and ring.credit >= 1:
                ring.credit -= 1
                continue
            line = self._classes[service_class].next()
            if line is None:
                self._left.remove(service_class)
                return self.next()
            if not is_last:
                ring.credit += self._lower_share
            return line
        return None

    def drop(self, line: Line, *, turns_back: int = 0) -> None:
        """Leave a line out from now on, and take back turns that it could not use."""
        self._classes[line.service_class].drop(line, turns_back)


class Turns:
    """Chooses from which lines the next operations come. Remembers who has been served."""

    def __init__(self, *, weight: Callable[[str], float], lower_share: float) -> None:
        """`lower_share` is the part of the turns that lower classes get while higher ones wait."""
        self._weight = weight
        self._lower_share = lower_share
        self._rings: dict[tuple[Pool, ServiceClass], _Ring] = {}

    def round(self, pool: Pool) -> Round:
        """Begin the next round of a pool; what the one before it has brought is settled."""
        rings = {one: self._rings.setdefault((pool, one), _Ring()) for one in ServiceClass}
        for ring in rings.values():
            ring.settle(self._weight)
        return Round(rings, weight=self._weight, lower_share=self._lower_share)

"""How many more operations of each queue the living workers can begin, when some of them serve several queues."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wabajobs.signals import Worker

_AHEAD: Final = 2
"""How many operations may be on their way for each slot that will be free by the time that they arrive."""


@dataclass
class _Group:
    """The workers that serve the same queues: their slots are as good as one."""

    queues: frozenset[str]
    slots: int = 0
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return sum(self.taken.values()) >= self.slots


class Slots:
    """The slots of the living workers, and what is out already.

    Nobody knows which worker will fetch a message. So it counts as the most favourable one: what is out moves to
    a worker that serves fewer queues, if that makes room (an augmenting path; Ford and Fulkerson, 1956).
    """

    def __init__(
        self, workers: Iterable[Worker], out: Mapping[str, int], *, ending: Mapping[str, int] | None = None
    ) -> None:
        """Seat what is `out`, by queue; what finds no room was released to a worker that is gone.

        What is `ending`, by queue, frees its slot before a message could arrive: so many need no seat, of those
        that are out and then of those that are sent. Never more than twice the slots, as a rate that was true a
        moment ago may be no more.
        """
        served: dict[str, tuple[set[str], int]] = {}
        for worker in workers:
            queues, _ = served.setdefault(worker.name, (set(), worker.slots))
            queues.add(worker.queue)
        self._groups: dict[frozenset[str], _Group] = {}
        for queues, slots in served.values():
            group = self._groups.setdefault(frozenset(queues), _Group(frozenset(queues)))
            group.slots += slots
        self._ahead = {queue: min(number, _AHEAD * self.of(queue)) for queue, number in (ending or {}).items()}
        self._gone_ahead: Counter[str] = Counter()
        self._left_over: dict[str, int] = {}
        for queue, there in out.items():
            without_seat = min(there, self._ahead.get(queue, 0))
            if without_seat:
                self._ahead[queue] -= without_seat
            number = there - without_seat
            for seated in range(number):
                if not self._seat(queue, set()):
                    self._left_over[queue] = number - seated
                    break

    def take(self, queue: str) -> bool:
        """Take a slot for one more operation of a queue; False when there is none."""
        if self._ahead.get(queue):
            self._ahead[queue] -= 1
            self._gone_ahead[queue] += 1
            return True
        return queue not in self._left_over and self._seat(queue, set())

    def has(self, queue: str) -> bool:
        """Whether one more operation of a queue could begin."""
        has = self.take(queue)
        if has:
            self.give_back(queue)
        return has

    def give_back(self, queue: str) -> None:
        """Leave a slot that was taken: a seat, if the queue has one, as that is of use to others too."""
        group = next((one for one in self._groups.values() if one.taken.get(queue)), None)
        if group is not None:
            group.taken[queue] -= 1
        else:
            self._gone_ahead[queue] -= 1
            self._ahead[queue] += 1

    def of(self, queue: str) -> int:
        """Return how many slots serve a queue, taken or not."""
        return sum(group.slots for group in self._groups.values() if queue in group.queues)

    def taken(self, queue: str) -> int:
        """Return how many slots operations of a queue have."""
        return self._gone_ahead[queue] + sum(group.taken.get(queue, 0) for group in self._groups.values())

    def pools(self) -> list[frozenset[str]]:
        """Return which queues share workers with each other: what is released of one may cost another."""
        pools: list[frozenset[str]] = []
        for group in self._groups.values():
            touching = [pool for pool in pools if pool & group.queues]
            pools = [pool for pool in pools if pool not in touching]
            pools.append(group.queues.union(*touching))
        return pools

    def _seat(self, queue: str, seen: set[frozenset[str]]) -> bool:
        for group in self._groups.values():
            if queue not in group.queues or group.queues in seen:
                continue
            seen.add(group.queues)
            if group.full and not self._make_room(group, seen):
                continue
            group.taken[queue] = group.taken.get(queue, 0) + 1
            return True
        return False

    def _make_room(self, group: _Group, seen: set[frozenset[str]]) -> bool:
        for other, number in group.taken.items():
            if number and self._seat(other, seen):
                group.taken[other] -= 1
                return True
        return False

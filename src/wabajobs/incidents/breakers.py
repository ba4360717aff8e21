"""Signs of an incident: breakers that have opened."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from wabajobs.gate import AppReading
from wabajobs.ledger import Condition, Happening, Ledger, Sight

_MOST: Final = 1000
"""Openings of breakers that one look takes in."""


class Trips:
    """The openings of breakers that the workers have told, also of those that are closed again."""

    def __init__(self, ledger: Ledger) -> None:
        """Begin with what comes from now on."""
        self._ledger = ledger
        self._known: int | None = None

    def since_the_last_look(self) -> list[Happening]:
        """Return those that have come since this was asked last, the oldest first."""
        if self._known is None:
            self._known = self._ledger.happenings.newest()
            return []
        found = self._ledger.happenings.find(names=[Sight.BREAKER_OPENED], after=self._known, at_most=_MOST)
        self._known = max([self._known, *(one.id for one in found if one.id is not None)])
        return found


def broken(reading: AppReading, trips: Sequence[Happening], now: datetime) -> Iterable[Condition]:
    """Return the breakers of the app and its capabilities that are open, or were since the last look.

    One that a person holds open is no news to people.
    """
    of_app = (f"app:{reading.app}", f"app:{reading.app}/")
    told = {one.scope: one for one in reversed(trips) if one.scope and one.app == reading.app}
    for breaker in reading.breakers:
        if not (breaker.scope == of_app[0] or breaker.scope.startswith(of_app[1])) or breaker.held:
            continue
        trip = told.get(breaker.scope)
        if breaker.state == "closed" and trip is None:
            continue
        evidence = trip.detail.get("evidence") if trip else breaker.evidence
        yield Condition(
            cause="breaker",
            scope=breaker.scope,
            since=trip.at if trip else now,
            evidence=f"the breaker of {breaker.scope} has opened ({evidence})",
        )

"""Incidents as the page shows them: how they stand, and what happened, in one line of time."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.incidents.report import Entry, report
from wabajobs.ledger import Episode, Incident, Note
from wabajobs.wiring import House

_RECENT: Final = timedelta(days=3)
"""How long a closed one is still shown."""
_SHOWN: Final = 6
_IN_SHORT: Final = 8
_LEVELS: Final = {"episode": "alarm", "breaker": "alarm", "refused": "alarm", "decision": "warn", "diary": "warn"}
"""Which entries of the time line stand out."""


def recent(house: House) -> list[dict[str, Any]]:
    """Return the open ones and those that were closed of late, each with the end of its time line."""
    now = house.clock.now()
    found = house.ledger.incidents.find(at_most=_SHOWN)
    shown = [one for one in found if one.closed_at is None or now - one.closed_at < _RECENT]
    return [_json(one, now=now, line=_line(one)[-_IN_SHORT:]) for one in shown]


def whole(house: House, incident_id: int) -> dict[str, Any]:
    """Return the report of one, as JSON, and its time line as the page draws it. Raises `NotFound`."""
    told = report(house.ledger, incident_id, settings=house.settings, now=house.clock.now())
    return told.as_json() | {"line": [_of_entry(one) for one in told.timeline]}


def written(house: House, incident_id: int) -> str:
    """Return the report of one as Markdown. Raises `NotFound`."""
    return report(house.ledger, incident_id, settings=house.settings, now=house.clock.now()).markdown()


def _of_entry(one: Entry) -> dict[str, Any]:
    who = "" if one.who == "wabajobs" else f" ({one.who})"
    return _move(one.at, f"{one.text}{who}", _LEVELS.get(one.what))


def _json(incident: Incident, *, now: datetime, line: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": incident.id,
        "state": incident.state,
        "app": incident.app,
        "title": incident.title,
        "opened_by": incident.opened_by,
        "began_at": incident.began_at.isoformat(),
        "closed_at": incident.closed_at.isoformat() if incident.closed_at else None,
        "lasted_seconds": incident.lasted(now).total_seconds(),
        "episodes": [
            {
                "began_at": one.began_at.isoformat(),
                "ended_at": one.ended_at.isoformat() if one.ended_at else None,
                "lasted_seconds": one.lasted(now).total_seconds(),
            }
            for one in incident.episodes
        ],
        "line": line,
    }


def _line(incident: Incident) -> list[dict[str, Any]]:
    moves = [
        *(move for one in incident.episodes for move in _of_episode(one)),
        *(_of_note(one) for one in incident.notes if not _is_told(one)),
    ]
    return sorted(moves, key=lambda move: str(move["at"]))


def _move(at: datetime, sentence: str, level: str | None = None) -> dict[str, Any]:
    return {"at": at.isoformat(), "sentence": sentence, "level": level}


def _of_episode(episode: Episode) -> Iterable[dict[str, Any]]:
    for condition in episode.conditions:
        times = f" (seen {condition.times} times)" if condition.times > 1 else ""
        yield _move(condition.began_at, f"{condition.evidence}{times}", "alarm")
    if episode.ended_at:
        minutes = episode.lasted(episode.ended_at).total_seconds() / 60
        yield _move(episode.ended_at, f"the episode was over, after {minutes:.0f} minutes", "ok")


def _is_told(note: Note) -> bool:
    """Whether the product has written down only what the episode tells as well."""
    return (note.actor, note.name) == ("wabajobs", "opened")


def _of_note(note: Note) -> dict[str, Any]:
    if note.name == "alarmed":
        return _move(note.at, note.text)
    return _move(note.at, f"{note.name}: {note.text} ({note.actor})")

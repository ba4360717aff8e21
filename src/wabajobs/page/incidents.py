"""Incidents as the page shows them: how they stand, and what happened, in one line of time."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.ledger import Decision, Episode, Happening, Incident, Note
from wabajobs.wiring import House

_RECENT: Final = timedelta(days=3)
"""How long a closed one is still shown."""
_SHOWN: Final = 6
_IN_SHORT: Final = 8
_SEEN: Final = ("breaker_opened", "breaker_closed", "learning")


def recent(house: House) -> list[dict[str, Any]]:
    """Return the open ones and those that were closed of late, each with the end of its time line."""
    now = house.clock.now()
    found = house.ledger.incidents.find(at_most=_SHOWN)
    shown = [one for one in found if one.closed_at is None or now - one.closed_at < _RECENT]
    return [_json(one, now=now, line=_line(one)[-_IN_SHORT:]) for one in shown]


def whole(house: House, incident_id: int) -> dict[str, Any]:
    """Return one with its whole time line: also what was seen and decided meanwhile. Raises `NotFound`."""
    now = house.clock.now()
    incident = house.ledger.incidents.get(incident_id)
    since, until = incident.began_at, incident.ended_at(now) + timedelta(seconds=1)
    seen = house.ledger.happenings.find(names=_SEEN, app=incident.app, since=since, until=until)
    decided = house.ledger.audit.entries(since=since, until=until)
    return _json(incident, now=now, line=_line(incident, seen, decided))


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


def _line(
    incident: Incident, seen: Iterable[Happening] = (), decided: Iterable[Decision] = ()
) -> list[dict[str, Any]]:
    moves = [
        *(move for one in incident.episodes for move in _of_episode(one)),
        *(_of_note(one) for one in incident.notes if not _is_told(one)),
        *(_of_happening(one) for one in seen),
        *(_of_decision(one) for one in decided),
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


def _of_happening(one: Happening) -> dict[str, Any]:
    facts = ", ".join(f"{name} {value}" for name, value in one.detail.items() if value not in (None, ""))
    sentence = f"{one.name.replace('_', ' ')}: {one.scope or one.app}" + (f" ({facts})" if facts else "")
    return _move(one.at, sentence, {"breaker_opened": "alarm", "breaker_closed": "ok"}.get(one.name))


def _of_decision(one: Decision) -> dict[str, Any]:
    return _move(one.at, f"{one.action} {one.scope}: {one.reason} ({one.actor})", "warn")

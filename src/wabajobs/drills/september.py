"""September 2024: four outages in eighteen days, replayed. The moments are those of the public incident report.

In each episode Meta's limit of the app falls below what is asked for; when it is eased, uploads stay limited for
a while longer. Before the fourth, Meta says that it has doubled the limit, and has not.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from wabajobs.drills.calendar import Calendar, Episode, Stretch, september

LIMIT: Final = 480
"""Calls that Meta allows the app in an hour."""
CUT: Final = 190
"""What it allows in an episode: more than people need, and much less than people and syncs together."""
FLEET: Final = 36
"""WABAs whose templates are synced every hour; a sync takes some nine calls."""
EPISODES: Final = (
    Episode(1, september(12, "14:45"), september(14, "13:32"), september(14, "15:40")),
    Episode(2, september(16, "06:51"), september(16, "13:30"), september(16, "14:46")),
    Episode(3, september(25, "12:55"), september(27, "13:30"), september(27, "15:10")),
    Episode(4, september(30, "14:23"), september(30, "16:23"), september(30, "16:53")),
)
EXCEPTION: Final = september(27, "17:00")
"""Meta confirms an exception, which is misapplied: its headers count with it, its limit does not."""
HOUR: Final = timedelta(hours=1)


def calendar(length: str = "usual") -> Calendar:
    """Return which hours are played: of long episodes the middle is left out, unless all of it is wanted."""
    before, first, last, after = _HOURS[length]
    return Calendar(
        [
            stretch
            for one in EPISODES
            for stretch in (
                Stretch(one.begins - before * HOUR, min(one.ends, one.begins + first * HOUR)),
                Stretch(max(one.begins, one.eased - last * HOUR), one.ends + after * HOUR),
            )
        ]
    )


_HOURS: Final = {"whole": (4, 60, 60, 5), "usual": (4, 7, 5, 5), "quick": (1, 0.75, 0.75, 2)}
"""Hours before an episode, of its begin, before it is eased, and after its end."""


def phases(calendar: Calendar, *, load: float, count_refused: bool) -> list[dict[str, Any]]:
    """Return Meta's part: what it does, in simulated seconds since the begin."""
    played: list[dict[str, Any]] = []
    for one in EPISODES:
        begins, eased, ends = (calendar.hour_of(at) for at in (one.begins, one.eased, one.ends))
        played.append(
            _phase(
                f"episode {one.number}: the limit is too low",
                begins,
                eased,
                limits={"app_limit": round(CUT * load)},
            )
        )
        played.append(_phase(f"episode {one.number}: only uploads", eased, ends, faults=[_UPLOADS]))
    misapplied, mended = calendar.hour_of(EXCEPTION), calendar.hour_of(EPISODES[3].ends)
    claimed = {"claimed_app_limit": round(2 * LIMIT * load)}
    played.append(_phase("an exception, misapplied", misapplied, mended, limits=claimed))
    played.append(_phase("the exception, put right", mended, None, limits={"app_limit": round(2 * LIMIT * load)}))
    if not count_refused:
        played.append(_phase("refused calls do not count", 0.0, None, limits={"count_refused": False}))
    return played


def _phase(name: str, at: float, until: float | None, **what: Any) -> dict[str, Any]:
    end: Mapping[str, Any] = {} if until is None else {"until": until * 3600}
    return {"name": name, "at": at * 3600, **end, **what}


_UPLOADS: Final = {
    "id": "uploads-limited",
    "capability": "uploads",
    "code": 613,
    "status": 400,
    "is_transient": True,
    "message": "(#613) Calls to this api have exceeded the rate limit.",
}

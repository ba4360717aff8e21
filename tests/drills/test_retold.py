"""The incident report in September's time: moments, and spans as sentences tell them."""

from datetime import UTC, datetime, timedelta

from wabajobs.drills.retold import retold
from wabajobs.incidents.report import Entry, EpisodeReport, Felt, Report

BEGAN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SPEED = 360.0
"""Ten seconds are an hour."""


def told() -> Report:
    over = BEGAN + timedelta(seconds=20)
    nothing = dict.fromkeys(("trips", "probes", "calls", "refused", "unfinished", "delayed", "stopped"), 0)
    episode = EpisodeReport(
        **{
            "number": 1,
            "app": "1",
            "began_at": BEGAN,
            "ended_at": over,
            "seconds": 20,
            "quiet_before_seconds": None,
        },
        **{"causes": [], "highest_percent": None, "failed": 0, "expired": 0, "kinds": [], **nothing},
    )
    lines = [
        "episode 1 is over, after 20 s",
        "most lie unfinished: 7, the oldest for 1 min 40 s, at 12:00:10 UTC",
    ]
    return Report(
        **{"incident": 1, "title": "-", "state": "quiet", "app": "1", "generated_at": over, "began_at": BEGAN},
        **{"ended_at": over, "opened_by": "wabajobs", "closed_at": None, "closed_by": None, "close_reason": None},
        **{
            "seconds": 20,
            "span_seconds": 20,
            "kinds": [],
            "residue": [],
            "backlog": [],
            "calls": 0,
            "refused": 0,
        },
        **{"codes": [], "gaps": [], "episodes": [episode]},
        felt=Felt(partners=0, delayed=0, stopped=0, failed=0, expired=0, largest={}),
        timeline=[Entry(at=over, what="episode", who="wabajobs", text=text) for text in lines],
    )


def test_sentences_tell_spans_and_moments_of_the_story() -> None:
    """Between the first and the second hour of the episode a day is left out."""

    def date_of(at: datetime) -> datetime:
        hours = (at - BEGAN) / timedelta(seconds=10)
        return datetime(2024, 9, 12, 14, tzinfo=UTC) + timedelta(hours=hours, days=hours > 1)

    report = retold(told(), date_of, speed=SPEED)

    assert [one.text for one in report.timeline] == [
        "episode 1 is over, after 26 h 00 min",
        "most lie unfinished: 7, the oldest for 10 h 00 min, at 12 Sep 15:00 UTC",
    ]
    assert report.seconds == 26 * 3600

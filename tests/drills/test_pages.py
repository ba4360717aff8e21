"""What is written of a drill: in the time of the story, and without anything that a report could smuggle in."""

from datetime import UTC, datetime, timedelta

from wabajobs.drills.markdown import as_html
from wabajobs.drills.retold import retold
from wabajobs.incidents.report import Cause, EpisodeReport, Felt, Report


def test_a_report_becomes_headings_lists_and_tables() -> None:
    text = "# One\n\n- a\n- b\n\n## Two\n\n| x | y |\n|---|---|\n| 1 \\| 2 | <b> |\n\nSo it\nwas.\n"

    assert as_html(text).splitlines() == [
        "<h2>One</h2>",
        "<ul><li>a</li><li>b</li></ul>",
        "<h3>Two</h3>",
        "<div class=scroll><table>",
        "<tr><th>x</th><th>y</th></tr>",
        "<tr><td>1 | 2</td><td>&lt;b&gt;</td></tr>",
        "</table></div>",
        "<p>So it was.</p>",
    ]


def test_a_report_is_retold_in_the_time_of_the_story() -> None:
    run, story = datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2024, 9, 12, tzinfo=UTC)

    def date_of(at: datetime) -> datetime:
        return story + 3600 * (at - run)

    told = retold(a_report(run), date_of, speed=3600)

    first, second = told.episodes
    assert (first.began_at, first.seconds) == (story + timedelta(hours=2), 3 * 3600)
    assert second.quiet_before_seconds == 4 * 3600
    assert (told.seconds, told.span_seconds) == (6 * 3600, 12 * 3600)
    assert first.causes[0].evidence == "it has opened (12 Sep 02:00 UTC)"
    assert first.causes[0].seconds == 3600


def a_report(run: datetime) -> Report:
    def at(second: int) -> datetime:
        return run + timedelta(seconds=second)

    def episode(number: int, begins: int, ends: int) -> EpisodeReport:
        evidence = f"it has opened ({at(begins):%H:%M:%S} UTC)"
        cause = Cause(
            cause="breaker",
            scope="app:1",
            evidence=evidence,
            began_at=at(begins),
            seen_at=at(ends),
            seconds=1,
            times=1,
        )
        return EpisodeReport(
            number=number,
            app="1",
            began_at=at(begins),
            ended_at=at(ends),
            seconds=ends - begins,
            quiet_before_seconds=None,
            causes=[cause],
            trips=1,
            probes=0,
            calls=10,
            refused=1,
            highest_percent=None,
            unfinished=0,
            delayed=0,
            stopped=0,
            failed=0,
            expired=0,
            kinds=[],
        )

    return Report(
        incident=1,
        title="one",
        state="quiet",
        app="1",
        generated_at=at(20),
        began_at=at(0),
        ended_at=at(12),
        opened_by="wabajobs",
        closed_at=None,
        closed_by=None,
        close_reason=None,
        seconds=6,
        span_seconds=12,
        episodes=[episode(1, 2, 5), episode(2, 9, 12)],
        kinds=[],
        residue=[],
        felt=Felt(partners=0, delayed=0, stopped=0, failed=0, expired=0, largest={}),
        backlog=[],
        calls=20,
        refused=2,
        codes=[],
        timeline=[],
        gaps=[],
    )

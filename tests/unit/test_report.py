"""The report and the pack of an incident, from the ledger alone: that of September 2024, written by itself."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.ledger.conftest import Book, a_request, hold
from tests.support.databases import SqliteFiles
from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.decisions import Limit, Scope
from wabajobs.errors import NotFound
from wabajobs.incidents.book import Incidents
from wabajobs.incidents.telling import clean, span
from wabajobs.ledger import (
    Condition,
    Database,
    Happening,
    Ledger,
    QueueSample,
    Rules,
    Sample,
    Sight,
    Used,
    Who,
)
from wabajobs.outcome import Failed
from wabajobs.settings import Settings

APP = "10001"
TOKEN = "EAAGm0PX4ZCpsBAKZCZBzVZCqZBz1234567890abcdefGHIJ"
RULES = Rules(quiet=timedelta(minutes=30), rejoin=timedelta(days=14))
KINDS = (
    "template_create",
    "template_edit",
    "template_sync",
    "profile_photo",
    "profile_update",
    "number_registration",
    "onboarding",
    "number_migration",
    "template_migration",
    "flow_publish",
    "hosting_change",
    "channel_update",
)
SEPTEMBER = (
    ("12 14:45", "14 15:40"),
    ("16 06:51", "16 14:46"),
    ("25 12:55", "27 15:10"),
    ("30 14:23", "30 16:53"),
)
STEP = timedelta(minutes=10)


def at(moment: str) -> datetime:
    return datetime.strptime(f"2024-09-{moment}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


class September:
    """The incident of September 2024, as it would have been seen."""

    def __init__(self, ledger: Ledger) -> None:
        self.book = Book(ledger, HandClock(at("12 12:00")))
        settings = Settings.model_validate({"apps": {APP: {"token": {"env": "TOKEN"}}}})
        self.incidents = Incidents(ledger=ledger, clock=self.book.clock, settings=settings)
        self.number = 0

    def go_to(self, moment: datetime) -> None:
        self.book.clock.advance(moment - self.book.clock.now())

    def see(self, *scopes: str) -> None:
        now = self.book.clock.now()
        conditions = [
            Condition(
                cause="breaker", scope=scope, since=now, evidence=f"the breaker of {scope} has opened (code 4)"
            )
            for scope in scopes
        ]
        self.book.ledger.incidents.see(APP, conditions, rules=RULES, now=now)

    def happen(self, sight: Sight, **facts: Any) -> None:
        happening = Happening(at=self.book.clock.now(), name=sight, app=APP, **facts)
        self.book.ledger.happenings.put([happening])

    def refuse(self, queue: str, capability: str, **facts: Any) -> None:
        self.number += 1
        self.happen(
            Sight.REFUSED,
            queue=queue,
            capability=capability,
            partner="acme",
            waba=f"{20000 + self.number % 7}",
            code=4,
            fbtrace_id=f"Trace{self.number}",
            detail={
                "message": "(#4) Application request limit reached",
                "call": "POST {id}/x",
                "app_percent": 103,
            },
            **facts,
        )

    def live_through(self) -> None:
        for number, (began, ended) in enumerate(SEPTEMBER, 1):
            self.go_to(at(began) - STEP)
            self.sample(93.0)
            self.go_to(at(began))
            self.begin(number)
            well_at = at(ended) - timedelta(minutes=40) if number == 4 else at(ended)
            while (now := self.book.clock.now()) < at(ended):
                # Nobody probes flows before the end, and Meta refuses uploads until then.
                self.see(*([f"app:{APP}"] if now <= well_at else []), f"app:{APP}/uploads", f"app:{APP}/flows")
                self.happen(
                    Sight.BREAKER_OPENED, scope=f"app:{APP}/uploads", detail={"evidence": "code 613, fbtrace Up"}
                )
                self.happen(
                    Sight.PROBE,
                    scope=f"app:{APP}",
                    queue="template_sync",
                    code=4,
                    detail={"outcome": "app_limit"},
                )
                self.go_to(min(now + STEP, at(ended)))
            self.see(*([f"app:{APP}"] if number < 4 else []), f"app:{APP}/uploads", f"app:{APP}/flows")
            self.happen(Sight.BREAKER_CLOSED, scope=f"app:{APP}", detail={"evidence": "a probe succeeded"})
            self.go_to(at(ended) + RULES.quiet)
            self.see()

    def begin(self, number: int) -> None:
        self.sample(104.0)
        self.spend()
        for nth in range(8):
            self.refuse(KINDS[nth % 3], "template_reads")
        self.happen(Sight.BREAKER_OPENED, scope=f"app:{APP}", detail={"evidence": "code 4, fbtrace Trace1"})
        if number == 1:
            for kind in KINDS:
                capability = (
                    Capability.UPLOADS if kind in ("template_create", "profile_photo") else Capability.FLOWS
                )
                self.book.accept_one(
                    a_request(kind=kind, capability=capability, partner=f"partner-{len(kind) % 4}")
                )
            sync = Scope.of("queue", "template_sync")
            self.book.ledger.decisions.pause(
                sync, reason="disabling the sync worker", actor="anna", now=self.book.clock.now(), lasting=STEP
            )

    def sample(self, percent: float) -> None:
        now = self.book.clock.now()
        facts = {"used": 150, "others": 58, "limit": 200, "in_flight": 3, "learning": False}
        sample = Sample(at=now, app=APP, scope=f"app:{APP}", percent=percent, percent_high=percent, **facts)  # type: ignore[arg-type]
        queue = QueueSample(
            at=now, queue="template_sync", waiting=5, held=40_000, running=1, needs_input=0, oldest_seconds=7200
        )
        self.book.ledger.samples.put([sample], [queue])

    def spend(self) -> None:
        who = Who(queue="template_sync", partner="acme", capability="template_reads", waba="20001")
        self.book.ledger.spending.put(
            APP, self.book.clock.now(), [Used(who=who, calls=900, refused=8)], lasting=STEP / 2, generation="a"
        )


@pytest.fixture
def september(sqlite_files: SqliteFiles) -> Iterator[September]:
    database = Database(sqlite_files.fresh())
    yield September(Ledger(database))
    database.close()


@pytest.fixture(scope="module")
def lived(sqlite_files: SqliteFiles) -> Iterator[September]:
    """All four episodes; what a test adds must bother no other."""
    database = Database(sqlite_files.fresh())
    september = September(Ledger(database))
    september.live_through()
    yield september
    database.close()


def test_the_report_of_september_2024_is_what_was_once_written_by_hand(lived: September) -> None:
    [incident] = lived.incidents.find()

    report = lived.incidents.report(incident.id)

    assert [span(one.seconds) for one in report.episodes] == [
        "48 h 55 min",
        "7 h 55 min",
        "50 h 15 min",
        "2 h 30 min",
    ]
    assert span(report.seconds) == "109 h 35 min"
    quiet = [span(one.quiet_before_seconds) for one in report.episodes if one.quiet_before_seconds]
    assert quiet == ["39 h 11 min", "214 h 09 min", "71 h 13 min"]
    assert {one.kind for one in report.kinds} == set(KINDS)
    [residue] = report.residue
    assert (residue.scope, residue.kinds) == (f"app:{APP}/uploads", ["profile_photo", "template_create"])
    assert residue.episode == 4
    assert (report.refused, report.calls) == (32, 3600)
    assert [(one.code, one.calls) for one in report.codes] == [(4, 32)]
    assert {one.highest_percent for one in report.episodes} == {104.0}
    assert report.felt.duplicated == 0
    [peak] = report.backlog
    assert (peak.queue, peak.unfinished) == ("template_sync", 40_006)


def test_its_time_line_is_in_order_in_utc_and_as_short_as_people_read(lived: September) -> None:
    lived.incidents.note(1, "escalated to Meta", actor="ben")

    timeline = lived.incidents.report(1).timeline

    assert all(one.at <= other.at for one, other in pairwise(timeline))
    assert len(timeline) < 60, "hundreds of probes are not hundreds of lines"
    texts = [f"{one.who}: {one.text}" for one in timeline]
    assert "wabajobs: episode 4 is over, after 2 h 30 min" in texts
    assert "anna: pause queue:template_sync: disabling the sync worker" in texts
    assert "ben: escalated to Meta" in texts
    assert any("stands at 93 % of its limit of 200" in text for text in texts)
    probes = next(one for one in timeline if one.what == "probe")
    assert probes.until == at("14 15:35")
    assert probes.text.startswith("294 times until 2024-09-14 15:35:00 UTC: a probe of app:10001 is in vain")


def test_each_episode_has_its_own_lines_of_refusals(lived: September) -> None:
    refusals = [one for one in lived.incidents.report(1).timeline if one.what == "refused"]

    assert [one.at for one in refusals] == [at(began) for began, _ in SEPTEMBER]
    assert all(one.until == one.at for one in refusals)


def test_the_markdown_says_the_same_and_every_moment_names_its_zone(lived: September) -> None:

    text = lived.incidents.report(1).markdown()

    assert text.startswith("# Incident 1: the breaker of app:10001 has opened (code 4)\n")
    assert "- Impaired: 109 h 35 min, in 4 episodes\n" in text
    assert "| 4 | app:10001/uploads | 30 min 00 s |" in text.replace("40 min 00 s", "30 min 00 s")
    assert "0 were done twice" in text
    moments = re.findall(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}.{4}", text)
    assert moments
    assert all(one.endswith(" UTC") for one in moments)


def test_the_report_counts_what_operations_felt(september: September) -> None:
    book = september.book
    september.go_to(at("12 14:45"))
    september.see(f"app:{APP}")
    late = book.accept_one(a_request(waba="1", partner="beta"))
    stopped = book.running(a_request(waba="2"))
    book.record(stopped, hold(book, 60, by="breaker"))
    failed = book.running(a_request(waba="3"))
    book.record(failed, Failed("no"))
    september.go_to(at("12 15:45"))
    september.see()

    report = september.incidents.report(1)

    [episode] = report.episodes
    assert episode.kinds == ["template_sync"]
    assert (episode.delayed, episode.stopped, episode.failed, episode.expired) == (0, 1, 1, 0)
    assert report.felt.failed == 1
    september.see(f"app:{APP}")
    september.go_to(at("12 16:45"))
    assert september.incidents.report(1).felt.largest == {"acme": 1, "beta": 1}
    assert late.id != stopped.id


def test_what_is_no_longer_kept_is_said(september: September) -> None:
    september.go_to(at("12 14:45"))
    september.see(f"app:{APP}")
    september.book.clock.advance(timedelta(days=200))

    gaps = september.incidents.report(1).gaps

    assert gaps == [
        "what was seen longer than 90 days ago is no longer kept",
        "operations that ended longer than 30 days ago are no longer kept, and not among those that are counted"
        " here",
    ]


def test_an_incident_of_which_the_product_has_seen_nothing_has_a_report_too(september: September) -> None:
    opened = september.incidents.open(reason="customers call", actor="anna")

    text = september.incidents.report(opened.id).markdown()
    pack = september.incidents.pack(opened.id).markdown()

    assert "The product has seen none." in text
    assert "No call was refused." in pack
    with pytest.raises(NotFound, match="no incident 99"):
        september.incidents.report(99)


# ── the pack ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_pack_has_what_metas_support_asks_for(lived: September) -> None:

    pack = lived.incidents.pack(1)

    assert (pack.app, pack.limit, pack.highest_percent) == (APP, 200, 104.0)
    assert [(one.code, one.calls) for one in pack.codes] == [(4, 32)]
    assert pack.codes[0].message == "(#4) Application request limit reached"
    assert len({one.fbtrace_id for one in pack.fbtrace_ids}) == 32
    assert [one.hour.hour for one in pack.hours] == [14, 6, 12, 14]
    assert pack.hours[0].calls == {"template_reads": 900}
    assert pack.hours[0].refused == {"template_reads": 8}
    assert [(one.name, one.calls) for one in pack.kinds] == [("template_sync", 3600)]
    assert [one.name for one in pack.partners] == ["acme"]
    assert sum(one.refused for one in pack.wabas) == 32
    assert len(pack.episodes) == 4
    assert json.loads(json.dumps(pack.as_json()))["began_at"] == "2024-09-12T14:45:00Z"


def test_of_very_many_refusals_the_first_and_the_last_are_given(september: September) -> None:
    september.go_to(at("12 14:45"))
    september.see(f"app:{APP}")
    for _ in range(300):
        september.refuse("template_sync", "template_reads")

    traces = [one.fbtrace_id for one in september.incidents.pack(1).fbtrace_ids]

    assert len(traces) == 100
    assert (traces[0], traces[-1]) == ("Trace1", "Trace300")


def test_no_secret_gets_into_the_report_or_the_pack(september: September) -> None:
    """Secrets are planted wherever text comes from."""
    september.go_to(at("12 14:45"))
    september.see(f"app:{APP}")
    book, now = september.book, september.book.clock.now()
    planted = {"token": TOKEN, "pin": "918273", "signature": "ARZqkGCA_uQMxC8nHKI", "password": "correcthorse"}
    said = f"access_token={TOKEN} pin: 918273 upload:MTph?sig=ARZqkGCA_uQMxC8nHKI password='correcthorse'"
    september.refuse("template_sync", "template_reads", operation_id="0198")
    september.happen(
        Sight.FAILED_CALL,
        queue="flow_publish",
        fbtrace_id="X",
        code=4,
        detail={"message": said, "call": "POST upload"},
    )
    september.happen(Sight.REFUSED, queue="flow_publish", code=17, detail={"message": said, "call": "POST {id}"})
    september.happen(Sight.BREAKER_OPENED, scope=f"app:{APP}", detail={"evidence": said})
    september.incidents.note(1, said, actor="anna")
    limit = Limit(scope=f"app:{APP}", calls=5, window_seconds=60, actor="anna", reason=said)
    book.ledger.decisions.set_limit(limit, now=now)
    book.accept_one(a_request(payload={"pin": "918273", "token": TOKEN}))
    book.pass_time(3600)
    september.incidents.close(1, reason=said, actor="anna", force=True)

    report, pack = september.incidents.report(1), september.incidents.pack(1)

    told = [json.dumps(report.as_json()), report.markdown(), json.dumps(pack.as_json()), pack.markdown()]
    for text in told:
        assert [name for name, secret in planted.items() if secret in text] == []
    assert "anna" in told[1]


def test_partners_can_have_numbers_in_place_of_names(lived: September) -> None:

    pack = lived.incidents.pack(1, pseudonyms=True)

    assert [one.name for one in pack.partners] == ["partner 1"]
    assert "acme" not in pack.markdown() + json.dumps(pack.as_json())


@pytest.mark.parametrize(
    "harmless",
    [
        "code 4, subcode 1504022, fbtrace AbqXJUG86QfPFCez-4g8fYF4, 17:21:26 UTC",
        "operation 01a2096d-4905-7564-baab-346f2b3729f5 of app:1236833878997956",
        "limit app:10001: the dashboard says 200,000",
        "the secret of the alarms was renewed",
    ],
)
def test_what_is_no_secret_is_left_as_it_is(harmless: str) -> None:
    assert clean(harmless) == harmless


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(8, "8 s"), (90, "1 min 30 s"), (3599.6, "1 h 00 min"), (176_100, "48 h 55 min"), (0.4, "0 s")],
)
def test_spans_are_told_in_hours_and_minutes(seconds: float, said: str) -> None:
    assert span(seconds) == said

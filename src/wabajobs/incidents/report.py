"""The report of an incident, from the ledger alone: episodes, what was felt, and a time line, in UTC."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from wabajobs.incidents.telling import clean, moment, span
from wabajobs.incidents.text import markdown
from wabajobs.ledger import Episode, Happening, Impact, Incident, Ledger, Sample, Seen, Sight, SpentThen, Stops
from wabajobs.ledger.incidents import PRODUCT
from wabajobs.settings import Settings

_MOST_SEEN: Final = 50_000
"""Happenings that a report reads."""
_LEAD_TIMES: Final = 2
"""So many quiet times before it began does the time line begin."""
_PATIENCE_SHARE: Final = 30
"""An operation counts as delayed when it lay for longer than this part of a quiet time: a minute of 30."""
_LEVELS: Final = (75, 90, 100)
_FALL: Final = 10
"""Per cent by which usage must have fallen below a level before reaching it again is told."""
_ONCE: Final = 2
"""What is seen more often in a row than so many times is told in one line."""
_LARGEST: Final = 10
_ONCE_ONLY: Final = (
    "each operation is begun under a numbered lease that only one worker holds, and a step that must not happen"
    " twice reads back what is there before it is tried again"
)


class _Doc(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cause(_Doc):
    """A condition that an episode consisted of."""

    cause: str
    """`breaker`, `budget`, `limit`, `backlog`, `workers`."""
    scope: str
    evidence: str
    began_at: datetime
    seen_at: datetime
    """When it was seen last."""
    seconds: float
    times: int
    """How often it came."""


class EpisodeReport(_Doc):
    """One episode."""

    number: int
    app: str
    began_at: datetime
    ended_at: datetime | None
    seconds: float
    quiet_before_seconds: float | None
    """Since the end of the episode before."""
    causes: list[Cause]
    trips: int
    probes: int
    calls: int
    refused: int
    highest_percent: float | None
    """Of the app's limit."""
    unfinished: int
    delayed: int
    stopped: int
    failed: int
    expired: int
    kinds: list[str]
    """Those of which an operation was delayed, stopped, failed or expired, or a call refused."""


class KindReport(_Doc):
    """What the operations of one kind felt, in all episodes."""

    kind: str
    delayed: int
    stopped: int
    failed: int
    expired: int
    refused: int
    last_stopped_at: datetime | None


class Residue(_Doc):
    """A part of the API that Meta still refused after the rest was well again."""

    episode: int
    scope: str
    until: datetime
    seconds_after: float
    """How much longer."""
    kinds: list[str]


class Peak(_Doc):
    """The most that lay in a queue."""

    queue: str
    unfinished: int
    held: int
    at: datetime
    oldest_seconds: float


class Felt(_Doc):
    """What partners felt."""

    partners: int
    """How many of them had an operation that was delayed, failed or expired."""
    delayed: int
    stopped: int
    """Operations that had begun and were stopped on their way; they went on from where they stood."""
    failed: int
    expired: int
    duplicated: Literal[0] = 0
    rests_on: str = _ONCE_ONLY
    """Why nothing was done twice."""
    largest: dict[str, int]
    """The partners with the most delayed operations."""


class Code(_Doc):
    """What Meta said."""

    code: int | None
    subcode: int | None
    calls: int
    first_at: datetime
    last_at: datetime


class Entry(_Doc):
    """One line of the time line."""

    at: datetime
    until: datetime | None = None
    """The last of several that are told together."""
    what: str
    """`episode`, `breaker`, `probe`, `refused`, `failed_call`, `learning`, `usage`, `backlog`, `decision` or
    `diary`."""
    who: str
    """`Meta`, `wabajobs`, or a person."""
    text: str


class Report(_Doc):
    """The whole report."""

    version: Literal[1] = 1
    incident: int
    title: str
    state: str
    app: str | None
    generated_at: datetime
    began_at: datetime
    ended_at: datetime
    """Until when it tells: the end, or now."""
    opened_by: str
    closed_at: datetime | None
    closed_by: str | None
    close_reason: str | None
    seconds: float
    """All episodes together."""
    span_seconds: float
    """From the first moment to the last."""
    episodes: list[EpisodeReport]
    kinds: list[KindReport]
    residue: list[Residue]
    felt: Felt
    backlog: list[Peak]
    calls: int
    refused: int
    codes: list[Code]
    timeline: list[Entry]
    gaps: list[str]
    """What cannot be told any more, or was not seen."""

    def as_json(self) -> dict[str, object]:
        """Return the public form."""
        return self.model_dump(mode="json")

    def markdown(self) -> str:
        """Return it as people read it."""
        return markdown(self)


def report(ledger: Ledger, incident: int, *, settings: Settings, now: datetime) -> Report:
    """Write the report of an incident. Raises `NotFound`."""
    return _Writer(ledger, ledger.incidents.get(incident), settings, now).report()


class _Writer:
    """Everything that the ledger knows of the time of an incident."""

    def __init__(self, ledger: Ledger, incident: Incident, settings: Settings, now: datetime) -> None:
        self._ledger = ledger
        self._incident = incident
        self._settings = settings
        self._now = now
        self._quiet = timedelta(seconds=settings.watch.quiet_seconds)
        self._patience = self._quiet / _PATIENCE_SHARE
        self._since = incident.began_at - _LEAD_TIMES * self._quiet
        self._until = incident.ended_at(now)
        self._apps = {one.app for one in incident.episodes} | ({incident.app} if incident.app else set())
        about = {"app": incident.app, "since": self._since, "until": self._until + self._quiet}
        self._seen = ledger.happenings.find(**about, at_most=_MOST_SEEN)  # type: ignore[arg-type]
        self._samples = ledger.samples.usage(**about)  # type: ignore[arg-type]
        self._spent = ledger.spending.parts("app", **about)  # type: ignore[arg-type]

    def report(self) -> Report:
        incident, now = self._incident, self._now
        episodes = [self._episode(nth, one) for nth, one in enumerate(incident.episodes, 1)]
        codes = self._ledger.happenings.refusals(app=incident.app, since=incident.began_at, until=self._until)
        peaks = self._peaks()
        return Report(
            incident=incident.id,
            title=clean(incident.title),
            state=incident.state,
            app=incident.app,
            generated_at=now,
            began_at=incident.began_at,
            ended_at=self._until,
            opened_by=incident.opened_by,
            closed_at=incident.closed_at,
            closed_by=incident.closed_by,
            close_reason=clean(incident.close_reason) if incident.close_reason else None,
            seconds=incident.lasted(now).total_seconds(),
            span_seconds=(self._until - incident.began_at).total_seconds(),
            episodes=episodes,
            kinds=self._kinds(),
            residue=[each for nth, one in enumerate(incident.episodes, 1) for each in self._residue(nth, one)],
            felt=self._felt(),
            backlog=peaks,
            calls=sum(one.calls for one in episodes),
            refused=sum(one.refused for one in episodes),
            codes=[Code(**vars(one)) for one in codes],
            timeline=self._timeline(peaks),
            gaps=self._gaps(),
        )

    # ── episodes ─────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, episode: Episode) -> datetime:
        """Return until when something of it may have been there: until the look that saw nothing any more."""
        look = timedelta(seconds=self._settings.watch.look_seconds)
        return self._now if episode.ended_at is None else episode.ended_at + look

    def _episode(self, number: int, episode: Episode) -> EpisodeReport:
        end = self._end(episode)
        impacts, stops = self._impacts(episode), self._stops(episode)
        seen = [one for one in self._seen_in(episode) if one.app == episode.app]
        spent = [one for one in self._spent if one.name == episode.app and _overlaps(one, episode.began_at, end)]
        refusals = [one for one in seen if one.name == Sight.REFUSED]
        earlier = [one.ended_at for one in self._incident.episodes[: number - 1] if one.ended_at]
        samples = [one for one in self._samples if one.app == episode.app and _in(one.at, episode.began_at, end)]
        return EpisodeReport(
            number=number,
            app=episode.app,
            began_at=episode.began_at,
            ended_at=episode.ended_at,
            seconds=episode.lasted(self._now).total_seconds(),
            quiet_before_seconds=(episode.began_at - max(earlier)).total_seconds() if earlier else None,
            causes=[_cause(one) for one in episode.conditions],
            trips=sum(one.name == Sight.BREAKER_OPENED for one in seen),
            probes=sum(one.name == Sight.PROBE for one in seen),
            calls=sum(one.calls for one in spent),
            refused=max(len(refusals), sum(one.refused for one in spent)),
            highest_percent=max((one.percent_high for one in samples), default=None),
            unfinished=sum(one.unfinished for one in impacts),
            delayed=sum(one.delayed for one in impacts),
            stopped=sum(one.operations for one in stops),
            failed=sum(one.failed for one in impacts),
            expired=sum(one.expired for one in impacts),
            kinds=sorted(
                {one.kind for one in impacts if one.delayed or one.failed or one.expired}
                | {one.kind for one in stops}
                | {one.queue for one in refusals if one.queue}
            ),
        )

    def _seen_in(self, episode: Episode) -> list[Happening]:
        return [one for one in self._seen if _in(one.at, episode.began_at, self._end(episode))]

    def _impacts(self, episode: Episode) -> list[Impact]:
        return self._ledger.impacts.of(
            app=episode.app, since=episode.began_at, until=self._end(episode), patience=self._patience
        )

    def _stops(self, episode: Episode) -> list[Stops]:
        return self._ledger.impacts.stops(app=episode.app, since=episode.began_at, until=self._end(episode))

    def _residue(self, number: int, episode: Episode) -> Iterable[Residue]:
        """Return the capabilities that were still refused when the rest was well again.

        The rest is the app itself; where it never was broken, the capability that was well first. That a breaker
        was open for longer shows nothing yet: it may only have been probed later.
        """
        of_app = [
            one.seen_at
            for one in episode.conditions
            if one.cause in ("breaker", "limit") and one.scope == f"app:{episode.app}"
        ]
        narrow = [one for one in episode.conditions if one.cause == "breaker" and "/" in one.scope]
        if not narrow or (not of_app and len(narrow) < 2):
            return
        well_at = max(of_app) if of_app else min(one.seen_at for one in narrow)
        later = [one for one in self._seen_in(episode) if one.at > well_at]
        refused = {one.scope for one in later if one.name == Sight.BREAKER_OPENED}
        for one in sorted(narrow, key=lambda each: each.seen_at, reverse=True):
            if one.scope in refused and one.seen_at - well_at > self._patience:
                yield Residue(
                    episode=number,
                    scope=one.scope,
                    until=one.seen_at,
                    seconds_after=(one.seen_at - well_at).total_seconds(),
                    kinds=self._kinds_of(episode, one.scope.partition("/")[2], well_at, one.seen_at),
                )

    def _kinds_of(self, episode: Episode, capability: str, since: datetime, until: datetime) -> list[str]:
        impacts = self._ledger.impacts.of(app=episode.app, since=since, until=until, patience=self._patience)
        waited = {one.kind for one in impacts if one.capability == capability and one.delayed}
        called = {
            one.queue
            for one in self._seen
            if one.capability == capability and one.queue and _in(one.at, since, until)
        }
        return sorted(waited | called)

    # ── what was felt ────────────────────────────────────────────────────────────────────────────────────

    def _kinds(self) -> list[KindReport]:
        counted: dict[str, Counter[str]] = {}
        last: dict[str, datetime] = {}
        for episode in self._incident.episodes:
            for impact in self._impacts(episode):
                counts = counted.setdefault(impact.kind, Counter())
                counts.update(delayed=impact.delayed, failed=impact.failed, expired=impact.expired)
            for stop in self._stops(episode):
                counted.setdefault(stop.kind, Counter()).update(stopped=stop.operations)
                last[stop.kind] = max(last.get(stop.kind, stop.last_at), stop.last_at)
            for one in self._seen_in(episode):
                if one.name == Sight.REFUSED and one.queue:
                    counted.setdefault(one.queue, Counter()).update(refused=1)
        told = [
            KindReport(
                kind=kind,
                delayed=counts["delayed"],
                stopped=counts["stopped"],
                failed=counts["failed"],
                expired=counts["expired"],
                refused=counts["refused"],
                last_stopped_at=last.get(kind),
            )
            for kind, counts in counted.items()
            if counts.total()
        ]
        return sorted(told, key=lambda one: (-one.delayed - one.stopped, one.kind))

    def _felt(self) -> Felt:
        delayed: Counter[str] = Counter()
        partners = set()
        sums: Counter[str] = Counter()
        for episode in self._incident.episodes:
            for impact in self._impacts(episode):
                delayed[impact.partner] += impact.delayed
                sums.update(delayed=impact.delayed, failed=impact.failed, expired=impact.expired)
                if impact.delayed or impact.failed or impact.expired:
                    partners.add(impact.partner)
            sums.update(stopped=sum(one.operations for one in self._stops(episode)))
        return Felt(
            partners=len(partners),
            delayed=sums["delayed"],
            stopped=sums["stopped"],
            failed=sums["failed"],
            expired=sums["expired"],
            largest={name: number for name, number in delayed.most_common(_LARGEST) if number},
        )

    def _peaks(self) -> list[Peak]:
        highest: dict[str, Peak] = {}
        for one in self._ledger.samples.backlog(since=self._incident.began_at, until=self._until + self._quiet):
            known = highest.get(one.queue)
            if one.unfinished and (known is None or one.unfinished > known.unfinished):
                highest[one.queue] = Peak(
                    queue=one.queue,
                    unfinished=one.unfinished,
                    held=one.held,
                    at=one.at,
                    oldest_seconds=one.oldest_seconds,
                )
        return sorted(highest.values(), key=lambda one: (-one.unfinished, one.queue))

    # ── the time line ────────────────────────────────────────────────────────────────────────────────────

    def _timeline(self, peaks: Sequence[Peak]) -> list[Entry]:
        entries = [
            *self._of_episodes(),
            *_folded(self._seen),
            *(entry for app in sorted(self._apps) for entry in _usage(self._samples, app)),
            *self._of_people(),
            *(_peak(one) for one in peaks[:3]),
        ]
        return sorted(entries, key=lambda one: one.at)

    def _of_episodes(self) -> Iterable[Entry]:
        for number, one in enumerate(self._incident.episodes, 1):
            began = f"episode {number} begins: {clean(one.conditions[0].evidence)}"
            yield Entry(at=one.began_at, what="episode", who="wabajobs", text=began)
            if one.ended_at is not None:
                ended = f"episode {number} is over, after {span(one.lasted(self._now))}"
                yield Entry(at=one.ended_at, what="episode", who="wabajobs", text=ended)

    def _of_people(self) -> Iterable[Entry]:
        for note in self._incident.notes:
            if note.name == "opened" and note.actor == PRODUCT:
                continue  # the first episode says so
            text = note.text if note.name == "note" else f"the incident is {note.name}: {note.text}"
            text = note.text if note.name == "alarmed" else text
            yield Entry(at=note.at, what="diary", who=note.actor, text=clean(text))
        for one in self._ledger.audit.entries(since=self._since, until=self._until):
            text = f"{one.action} {one.scope}: {one.reason}"
            yield Entry(at=one.at, what="decision", who=one.actor, text=clean(text))

    def _gaps(self) -> list[str]:
        gaps = []
        keep = self._settings.retention
        if self._now - self._since > timedelta(days=keep.seen_days):
            gaps.append(f"what was seen longer than {keep.seen_days:g} days ago is no longer kept")
        if self._now - self._incident.began_at > timedelta(days=keep.finished_days):
            gaps.append(
                f"operations that ended longer than {keep.finished_days:g} days ago are no longer kept, and not"
                " among those that are counted here"
            )
        if len(self._seen) == _MOST_SEEN:
            gaps.append(f"the time line tells the first {_MOST_SEEN} of the things that were seen")
        return gaps


def _in(at: datetime, since: datetime, until: datetime) -> bool:
    return since <= at <= until


def _overlaps(part: SpentThen, since: datetime, until: datetime) -> bool:
    return part.since < until and part.since + part.lasting > since


def _cause(seen: Seen) -> Cause:
    return Cause(
        cause=seen.cause,
        scope=seen.scope,
        evidence=clean(seen.evidence),
        began_at=seen.began_at,
        seen_at=seen.seen_at,
        seconds=seen.seconds,
        times=seen.times,
    )


def _folded(seen: Sequence[Happening]) -> list[Entry]:
    """Tell what was seen; what came again and again, until its breaker closed, in one line."""
    runs: list[list[Happening]] = []
    open_: dict[tuple[str | None, str | None], dict[object, list[Happening]]] = {}
    for one in seen:
        of_scope = open_.setdefault((one.app, one.scope), {})
        gist = _gist(one)
        if gist not in of_scope:
            of_scope[gist] = []
            runs.append(of_scope[gist])
        of_scope[gist].append(one)
        if one.name == Sight.BREAKER_CLOSED:
            of_scope.clear()
            open_.pop((one.app, None), None)
    return [entry for run in runs for entry in _told(run)]


def _gist(one: Happening) -> tuple[object, ...]:
    return (one.name, one.code, one.subcode, one.detail.get("outcome"))


def _told(run: Sequence[Happening]) -> list[Entry]:
    if len(run) <= _ONCE:
        return [_entry(one) for one in run]
    first, last = run[0], run[-1]
    text = f"{len(run)} times until {moment(last.at)}: {_sentence(first)}"
    return [_entry(first).model_copy(update={"until": last.at, "text": clean(text)})]


def _entry(one: Happening) -> Entry:
    what = one.name
    if one.name in (Sight.BREAKER_OPENED, Sight.BREAKER_CLOSED):
        what = "breaker"
    if one.name in (Sight.LEARNING_BEGAN, Sight.LEARNING_ENDED):
        what = "learning"
    who = "Meta" if one.name in (Sight.REFUSED, Sight.FAILED_CALL) else "wabajobs"
    return Entry(at=one.at, what=what, who=who, text=clean(_sentence(one)))


def _sentence(one: Happening) -> str:
    by = f"{one.detail.get('call', 'a call')} of {one.queue}"
    match one.name:
        case Sight.BREAKER_OPENED:
            return f"the breaker of {one.scope} opens ({one.detail.get('evidence')})"
        case Sight.BREAKER_CLOSED:
            return f"the breaker of {one.scope} closes ({one.detail.get('evidence')})"
        case Sight.PROBE if one.detail.get("outcome") == "ok":
            return f"a probe of {one.scope} succeeds: {by}"
        case Sight.PROBE:
            return f"a probe of {one.scope} is in vain: {by}{_of_meta(one)}"
        case Sight.REFUSED:
            return f"refuses {by}{_of_meta(one)}"
        case Sight.FAILED_CALL:
            return f"{by} fails: {one.detail.get('message', 'no answer')}{_of_meta(one)}"
        case Sight.LEARNING_BEGAN:
            return f"the gate has lost its state for {one.scope}, and finds out how much is spent"
        case _:
            return f"the gate knows again how much of {one.scope} is spent"


def _of_meta(one: Happening) -> str:
    parts = [
        "" if one.code is None else f"code {one.code}",
        "" if one.subcode is None else f"subcode {one.subcode}",
        f"fbtrace {one.fbtrace_id}" if one.fbtrace_id else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f" ({told})" if told else ""


def _usage(samples: Iterable[Sample], app: str) -> Iterable[Entry]:
    """Tell when the usage of an app reached a level."""
    reached: set[int] = set()
    for one in (each for each in samples if each.app == app):
        reached -= {level for level in reached if one.percent_high < level - _FALL}
        news = [level for level in _LEVELS if level not in reached and one.percent_high >= level]
        if news:
            reached.update(news)
            full = f"{one.percent_high:.0f} % of its limit of {one.limit}"
            text = f"{one.scope} stands at {full}: {one.used} calls of ours, {one.others} of others"
            yield Entry(at=one.at, what="usage", who="wabajobs", text=text)


def _peak(one: Peak) -> Entry:
    text = f"most of {one.queue} lie unfinished: {one.unfinished}, the oldest for {span(one.oldest_seconds)}"
    return Entry(at=one.at, what="backlog", who="wabajobs", text=text)

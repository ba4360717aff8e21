"""The escalation pack: what Meta's support asks for, from one incident, in UTC and without anybody's secrets."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from wabajobs.incidents.telling import clean, moment, span, table
from wabajobs.ledger import Happening, Incident, Ledger, Sight, Spent
from wabajobs.settings import Settings

_MOST_SEEN: Final = 50_000
_TRACES: Final = 100
"""Trace ids that are given to Meta: the first and the last half of so many."""
_LARGEST: Final = 10
_WABAS: Final = 50


class _Doc(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackEpisode(_Doc):
    """When it was."""

    began_at: datetime
    ended_at: datetime | None


class PackCode(_Doc):
    """What Meta said, and how often."""

    code: int | None
    subcode: int | None
    message: str | None
    """As Meta wrote it at first."""
    calls: int
    first_at: datetime
    last_at: datetime


class PackTrace(_Doc):
    """One call that Meta can look up."""

    fbtrace_id: str
    at: datetime
    call: str | None
    """`POST {id}/message_templates`."""
    code: int | None
    subcode: int | None
    capability: str | None
    waba: str | None
    app_percent: int | None
    """What `X-App-Usage` said."""


class PackHour(_Doc):
    """The calls of one hour."""

    hour: datetime
    """Its beginning."""
    calls: dict[str, int]
    """By part of the API."""
    refused: dict[str, int]


class PackShare(_Doc):
    """Who made the calls."""

    name: str
    calls: int
    refused: int


class PackWaba(_Doc):
    """A WABA of which Meta refused calls."""

    waba: str
    refused: int


class Pack(_Doc):
    """The whole pack."""

    version: Literal[1] = 1
    incident: int
    title: str
    app: str | None
    generated_at: datetime
    began_at: datetime
    ended_at: datetime
    window_seconds: float
    """Length of the rolling window of the limit."""
    limit: int | None
    """Calls that the window may hold, as we know it."""
    highest_percent: float | None
    """Of that limit: our count, corrected by Meta's headers."""
    episodes: list[PackEpisode]
    codes: list[PackCode]
    fbtrace_ids: list[PackTrace]
    hours: list[PackHour]
    kinds: list[PackShare]
    partners: list[PackShare]
    wabas: list[PackWaba]
    probes: int
    """Calls that we made to see whether the limit was over; nothing else was sent meanwhile."""
    trips: int
    """How often we stopped by ourselves."""

    def as_json(self) -> dict[str, object]:
        """Return the public form."""
        return self.model_dump(mode="json")

    def markdown(self) -> str:
        """Return it as people read it."""
        return "\n".join([*_head(self), *_what_meta_said(self), *_what_we_did(self)]) + "\n"


def pack(ledger: Ledger, incident: int, *, settings: Settings, now: datetime, pseudonyms: bool = False) -> Pack:
    """Make the pack of an incident; with `pseudonyms`, partners have numbers in place of names.

    Raises `NotFound`.
    """
    about = ledger.incidents.get(incident)
    until = about.ended_at(now)
    span_ = {"app": about.app, "since": about.began_at, "until": until + timedelta(microseconds=1)}
    seen = ledger.happenings.find(
        names=[Sight.REFUSED, Sight.FAILED_CALL, Sight.PROBE, Sight.BREAKER_OPENED],
        at_most=_MOST_SEEN,
        **span_,  # type: ignore[arg-type]
    )
    refused = [one for one in seen if one.name == Sight.REFUSED]
    window = timedelta(seconds=settings.gate.window_seconds)
    # The part of a window in which it began holds its first calls.
    spent = {"app": about.app, "since": about.began_at - window / 12, "until": until}
    samples = ledger.samples.usage(**span_)  # type: ignore[arg-type]
    name = _pseudonyms() if pseudonyms else str
    return Pack(
        incident=about.id,
        title=clean(about.title),
        app=about.app,
        generated_at=now,
        began_at=about.began_at,
        ended_at=until,
        window_seconds=window.total_seconds(),
        limit=samples[-1].limit if samples else None,
        highest_percent=max((one.percent_high for one in samples), default=None),
        episodes=_episodes(about),
        codes=_codes(refused),
        fbtrace_ids=_traces(refused, [one for one in seen if one.name == Sight.FAILED_CALL]),
        hours=_hours(ledger, spent),
        kinds=_shares(ledger.spending.by("queue", **spent), str),  # type: ignore[arg-type]
        partners=_shares(ledger.spending.by("partner", **spent), name),  # type: ignore[arg-type]
        wabas=_wabas(refused),
        probes=sum(one.name == Sight.PROBE for one in seen),
        trips=sum(one.name == Sight.BREAKER_OPENED for one in seen),
    )


def _episodes(incident: Incident) -> list[PackEpisode]:
    return [PackEpisode(began_at=one.began_at, ended_at=one.ended_at) for one in incident.episodes]


def _codes(refused: Iterable[Happening]) -> list[PackCode]:
    by_code: dict[tuple[int | None, int | None], list[Happening]] = {}
    for one in refused:
        by_code.setdefault((one.code, one.subcode), []).append(one)
    told = [
        PackCode(
            code=code,
            subcode=subcode,
            message=clean(message) if (message := those[0].detail.get("message")) else None,
            calls=len(those),
            first_at=those[0].at,
            last_at=those[-1].at,
        )
        for (code, subcode), those in by_code.items()
    ]
    return sorted(told, key=lambda one: (-one.calls, one.code or 0, one.subcode or 0))


def _traces(refused: Iterable[Happening], failed: Iterable[Happening]) -> list[PackTrace]:
    """Return the calls that Meta can look up: the refused ones, and failed ones where those are few."""
    traced = [one for one in refused if one.fbtrace_id]
    if len(traced) > _TRACES:
        traced = traced[: _TRACES // 2] + traced[-_TRACES // 2 :]
    traced += [one for one in failed if one.fbtrace_id][: _TRACES - len(traced)]
    return [
        PackTrace(
            fbtrace_id=one.fbtrace_id,
            at=one.at,
            call=one.detail.get("call"),
            code=one.code,
            subcode=one.subcode,
            capability=one.capability,
            waba=one.waba,
            app_percent=one.detail.get("app_percent"),
        )
        for one in traced
        if one.fbtrace_id
    ]


def _hours(ledger: Ledger, spent: Mapping[str, object]) -> list[PackHour]:
    calls: dict[datetime, Counter[str]] = {}
    refused: dict[datetime, Counter[str]] = {}
    for part in ledger.spending.parts("capability", **spent):  # type: ignore[arg-type]
        hour = part.since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        calls.setdefault(hour, Counter())[part.name] += part.calls
        refused.setdefault(hour, Counter())[part.name] += part.refused
    return [
        PackHour(hour=hour, calls=dict(calls[hour]), refused={n: r for n, r in refused[hour].items() if r})
        for hour in sorted(calls)
    ]


def _shares(spent: Sequence[Spent], name: Callable[[str], str]) -> list[PackShare]:
    named = [one for one in spent if one.name][:_LARGEST]
    return [PackShare(name=name(one.name), calls=one.calls, refused=one.refused) for one in named]


def _wabas(refused: Iterable[Happening]) -> list[PackWaba]:
    counted = Counter(one.waba for one in refused if one.waba)
    return [PackWaba(waba=waba, refused=number) for waba, number in counted.most_common(_WABAS)]


def _pseudonyms() -> Callable[[str], str]:
    known: dict[str, str] = {}
    return lambda name: known.setdefault(name, f"partner {len(known) + 1}")


# ── as people read it ────────────────────────────────────────────────────────────────────────────────────────


def _head(it: Pack) -> list[str]:
    usage = f", filled to {it.highest_percent:.0f} %" if it.highest_percent is not None else ""
    limit = f"{it.limit} calls in {span(it.window_seconds)}{usage}" if it.limit else "unknown"
    return [
        f"# Escalation: app {it.app or '(all)'}",
        "",
        f"{it.title}",
        "",
        f"- All times are UTC. Written at {moment(it.generated_at)}, from incident {it.incident}.",
        f"- From {moment(it.began_at)} to {moment(it.ended_at)}",
        f"- Limit as we know it: {limit}",
        f"- We stopped calling by ourselves {it.trips} times, and probed {it.probes} times since.",
        "",
        *table(("episode", "to"), [(moment(one.began_at), moment(one.ended_at)) for one in it.episodes]),
    ]


def _what_meta_said(it: Pack) -> list[str]:
    codes = [
        (one.code, one.subcode, one.message, one.calls, moment(one.first_at), moment(one.last_at))
        for one in it.codes
    ]
    traces = [
        (one.fbtrace_id, moment(one.at), one.call, one.code, one.subcode, one.waba, one.app_percent)
        for one in it.fbtrace_ids
    ]
    return [
        "## What Meta answered",
        "",
        *(table(("code", "subcode", "message", "calls", "first", "last"), codes) or ["No call was refused.", ""]),
        *table(("fbtrace_id", "at", "call", "code", "subcode", "WABA", "X-App-Usage"), traces),
    ]


def _what_we_did(it: Pack) -> list[str]:
    hours = [
        (moment(one.hour), name, number, one.refused.get(name, 0))
        for one in it.hours
        for name, number in sorted(one.calls.items())
    ]
    shares = ("calls", "refused")
    return [
        "## What we sent",
        "",
        *table(("hour from", "part of the API", *shares), hours),
        *table(("kind of operation", *shares), [(one.name, one.calls, one.refused) for one in it.kinds]),
        *table(("partner", *shares), [(one.name, one.calls, one.refused) for one in it.partners]),
        *table(("WABA", "refused"), [(one.waba, one.refused) for one in it.wabas]),
    ]

"""The report of an incident as people read it: Markdown, every moment with its zone."""

from typing import TYPE_CHECKING, Final

from wabajobs.incidents.telling import moment, span, table

if TYPE_CHECKING:
    from wabajobs.incidents.report import Report

_LARGEST: Final = 10


def markdown(report: "Report") -> str:
    """Write it."""
    parts = (_head(report), _episodes(report), _felt(report), _numbers(report), _timeline(report))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(it: "Report") -> list[str]:
    app = f"app {it.app}" if it.app else "all apps"
    closed = f"closed at {moment(it.closed_at)} by {it.closed_by}: {it.close_reason}" if it.closed_at else ""
    state = closed or {"on": "an episode is on", "quiet": "quiet, and not closed yet"}.get(it.state, it.state)
    return [
        f"# Incident {it.incident}: {it.title}",
        "",
        f"All times are UTC. Written at {moment(it.generated_at)}.",
        "",
        f"- About: {app}",
        f"- From {moment(it.began_at)} to {moment(it.ended_at)}: {span(it.span_seconds)}",
        f"- Impaired: {span(it.seconds)}, in {_many(len(it.episodes), 'episode')}",
        f"- Opened by: {it.opened_by}",
        f"- State: {state}",
        *(f"- Note: {gap}" for gap in it.gaps),
        "",
    ]


def _episodes(it: "Report") -> list[str]:
    heads = ("episode", "from", "to", "lasted", "quiet before", "usage at most", "calls", "refused", "kinds")
    rows = [
        (
            one.number,
            moment(one.began_at),
            moment(one.ended_at) if one.ended_at else "still on",
            span(one.seconds),
            span(one.quiet_before_seconds) if one.quiet_before_seconds is not None else None,
            f"{one.highest_percent:.0f} %" if one.highest_percent is not None else None,
            one.calls,
            one.refused,
            len(one.kinds),
        )
        for one in it.episodes
    ]
    causes = [
        (one.number, cause.evidence, span(cause.seconds), cause.times, moment(cause.seen_at))
        for one in it.episodes
        for cause in one.causes
    ]
    residue = [
        (one.episode, one.scope, span(one.seconds_after), moment(one.until), ", ".join(one.kinds))
        for one in it.residue
    ]
    stayed = ("episode", "what", "longer than the rest by", "until", "kinds")
    return [
        "## Episodes",
        "",
        *(table(heads, rows) or ["The product has seen none.", ""]),
        *table(("episode", "what was wrong", "for", "times", "seen last"), causes),
        *(["### What stayed broken longest", "", *table(stayed, residue)] if residue else []),
    ]


def _felt(it: "Report") -> list[str]:
    felt = it.felt
    kinds = [
        (one.kind, one.delayed, one.stopped, one.failed, one.expired, moment(one.last_stopped_at))
        for one in it.kinds
    ]
    return [
        "## What partners felt",
        "",
        f"{_many(felt.partners, 'partner')}: {_many(felt.delayed, 'operation')} waited, {felt.failed} failed,"
        f" {felt.expired} expired, {felt.duplicated} were done twice. {felt.stopped} had begun, were stopped on"
        " their way and went on from there.",
        "",
        f"That none was done twice rests on this: {felt.rests_on}.",
        "",
        *table(("kind", "waited", "stopped", "failed", "expired", "stopped last"), kinds),
        *table(("partner", "operations that waited"), felt.largest.items()),
    ]


def _numbers(it: "Report") -> list[str]:
    share = f" ({100 * it.refused / it.calls:.2f} %)" if it.calls > it.refused else ""
    codes = [(one.code, one.subcode, one.calls, moment(one.first_at), moment(one.last_at)) for one in it.codes]
    peaks = [
        (one.queue, one.unfinished, one.held, span(one.oldest_seconds), moment(one.at))
        for one in it.backlog[:_LARGEST]
    ]
    return [
        "## Calls and queues",
        "",
        f"{_many(it.calls, 'call')} during the episodes (counted in twelfths of the window); Meta refused"
        f" {it.refused}{share}.",
        "",
        *table(("code", "subcode", "refusals", "first", "last"), codes),
        *table(("queue", "most unfinished", "of them held", "oldest", "at"), peaks),
    ]


def _timeline(it: "Report") -> list[str]:
    return [
        "## Time line",
        "",
        *table(("at", "who", "what"), [(moment(e.at), e.who, e.text) for e in it.timeline]),
    ]


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

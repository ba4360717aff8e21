"""What the scripts answer, as values and sentences."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wabajobs.capability import ServiceClass
from wabajobs.gate.calls import (
    AppReading,
    Because,
    BreakerReading,
    Call,
    Change,
    Permit,
    Report,
    Spender,
    SpentBy,
    Wait,
    WindowReading,
)
from wabajobs.gate.keys import Shape


def permit_of(ticket: bytes, *, id: str, call: Call, shape: Shape, start_before: float) -> Permit:
    """Read a granted `admit`."""
    probes = ticket[0]
    if not probes:
        return Permit(id=id, call=call, ticket=ticket, start_before=start_before)
    probed = tuple(scope for nth, scope in enumerate(shape.breakers) if probes >> nth & 1)
    return Permit(id=id, call=call, ticket=ticket, start_before=start_before, probes=probed)


def wait_of(reply: Sequence[Any], *, call: Call) -> Wait:
    """Read a refused `admit`."""
    _, kind, microseconds, scope, *details = reply
    kind, scope = text(kind), text(scope)
    delay = None if microseconds < 0 else timedelta(microseconds=microseconds)
    if kind in ("ring", "pace", "never"):
        reason = _budget_sentence(kind, scope, call, details, delay)
        return Wait(delay=delay, because=Because.BUDGET, scope=scope, reason=reason)
    if kind == "pause":
        sentence, notice = map(text, details)
        return Wait(delay=delay, because=Because.PAUSE, scope=scope, reason=sentence, notice=notice or None)
    if kind == "slow":
        sentence, notice = map(text, details)
        reason = f"{sentence}; its next call is due in {_span(delay)}"
        return Wait(delay=delay, because=Because.SLOWED, scope=scope, reason=reason, notice=notice or None)
    if kind == "held":
        return Wait(delay=delay, because=Because.HELD_OPEN, scope=scope, reason=text(details[0]))
    if kind in ("open", "probing", "behind"):
        reason = _breaker_sentence(kind, scope, evidence_at(text(details[0]), details[1]), delay)
        return Wait(delay=delay, because=Because.BREAKER, scope=scope, reason=reason)
    return Wait(delay=delay, because=Because.GATE, scope="gate", reason=_GATE_SENTENCES[kind])


_GATE_SENTENCES = {
    "untold": "the gate has lost its state, or was never told it; it is being put back",
    "silent": "no dispatcher has spoken to the gate for a while, so it does not trust what it knows",
    "learning": "the gate is finding out how much of the budget is spent, one call at a time",
}


def _breaker_sentence(kind: str, scope: str, evidence: str, delay: timedelta | None) -> str:
    then = {
        "probing": "one call is probing it now",
        "behind": "the next probe is for a call that goes first",
        "open": f"the next probe is due in {_span(delay)}",
    }[kind]
    return f"the breaker of {scope} is open ({evidence}); {then}"


def _budget_sentence(kind: str, scope: str, call: Call, numbers: Sequence[int], delay: timedelta | None) -> str:
    used, others, usable = numbers
    calls = f"{call.service_class} calls"
    if kind == "never":
        return f"the budget of {scope} allows {calls} no more than {usable}, and this one costs {call.cost}"
    if kind == "pace":
        return f"{calls} of {scope} are spread over the window; the next is due in {_span(delay)}"
    more = f", and others {others}" if others else ""
    return (
        f"the budget of {scope} is spent: of {usable} that {calls} may use, "
        f"we have used {used}{more}; room in {_span(delay)}"
    )


def _span(delay: timedelta | None) -> str:
    seconds = 0 if delay is None else delay.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def changes_of(reply: Sequence[Any]) -> tuple[Change, ...]:
    """Read a `settle`."""
    if len(reply) == 1:
        return ()
    now = int(reply[0])
    return tuple(
        Change(
            scope=text(scope),
            state=text(state),
            until=timedelta(microseconds=int(wait)) if text(state) == "open" else None,
            evidence=evidence_at(text(evidence), now),
        )
        for scope, state, wait, evidence in _chunks(reply[1:], 4)
    )


_WINDOW_NUMBERS = 12
_BREAKER_FIELDS = 6


def reading_of(reply: Sequence[Any], *, app: str, windows: Sequence[str], breakers: Sequence[str]) -> AppReading:
    """Read a `read`."""
    revision = text(reply[0])
    end = 3 + _WINDOW_NUMBERS * len(windows)
    return AppReading(
        app=app,
        told=revision != "",
        learning=int(reply[1]) == 1,
        in_flight=int(reply[2]),
        windows=tuple(
            _window_reading(scope, [int(value) for value in numbers])
            for scope, numbers in zip(windows, _chunks(reply[3:end], _WINDOW_NUMBERS), strict=True)
            if int(numbers[0]) >= 0
        ),
        breakers=tuple(
            _breaker_reading(scope, fields)
            for scope, fields in zip(breakers, _chunks(reply[end:], _BREAKER_FIELDS), strict=True)
        ),
        revision=int(revision) if revision else None,
    )


def _window_reading(scope: str, numbers: list[int]) -> WindowReading:
    limit, used, others, length, *usable, height, pace, people, shadow, would_refuse = numbers
    return WindowReading(
        scope=scope,
        limit=limit,
        used=used,
        others=others,
        window=timedelta(microseconds=length),
        usable=dict(zip(ServiceClass, usable, strict=True)),
        height=height / 1_000_000,
        pace=pace,
        people=people,
        shadow=bool(shadow),
        would_refuse=would_refuse,
    )


def _breaker_reading(scope: str, fields: Sequence[Any]) -> BreakerReading:
    til, lease, trips, when = (int(fields[i]) for i in (0, 1, 2, 4))
    override = json.loads(text(fields[5])) if fields[5] else None
    if til < 0:
        state, retry_in, evidence = "closed", None, ""
    else:
        state = "open" if til > 0 else "half-open"
        retry_in, evidence = timedelta(microseconds=til or max(0, lease)), evidence_at(text(fields[3]), when)
    return BreakerReading(
        scope=scope,
        state=override[0] if override else state,
        retry_in=retry_in,
        trips=trips,
        evidence=evidence,
        held=override[2] if override else None,
    )


def spenders_of(reply: Sequence[Any]) -> list[Spender]:
    """Read a `spenders`, the largest first."""
    spent: Counter[tuple[str, str, str]] = Counter()
    for who, calls in _chunks(reply, 2):
        queue, partner, waba, *_ = text(who).split("|")
        spent[queue, partner, waba] += int(calls)
    found = [
        Spender(queue=queue, partner=partner, waba=waba, calls=calls)
        for (queue, partner, waba), calls in spent.items()
        if calls > 0
    ]
    return sorted(found, key=lambda one: (-one.calls, one.queue, one.partner, one.waba))


REFUSED: Final = "!"
"""Begins the field that counts the refused calls of a spender."""
MARK: Final = "@"
"""The field that names a part's counters."""


def spent_by(fields: Mapping[Any, Any]) -> tuple[SpentBy, ...]:
    """Read the counters of one part of the window."""
    counted = {text(field): text(value) for field, value in fields.items()}
    return tuple(
        SpentBy(
            queue=queue,
            partner=partner,
            waba=waba,
            capability=capability,
            calls=int(calls),
            refused=min(int(calls), int(counted.get(REFUSED + who, 0))),
        )
        for who, calls in sorted(counted.items())
        if who[0] not in (REFUSED, MARK) and int(calls) > 0
        for queue, partner, waba, capability in [who.split("|")]
    )


def evidence_of(report: Report) -> str:
    """Name what Meta said, for whoever asks why: `code 4, subcode 1504022, fbtrace Abc`."""
    parts = [
        "" if report.code is None else f"code {report.code}",
        "" if report.subcode is None else f"subcode {report.subcode}",
        f"fbtrace {report.fbtrace_id}" if report.fbtrace_id else "",
    ]
    return ", ".join(part for part in parts if part) or str(report.outcome).replace("_", " ")


def evidence_at(evidence: str, microseconds: int) -> str:
    """Add when that was: `code 4, fbtrace Abc, 12:03:11 UTC`."""
    return f"{evidence}, {datetime.fromtimestamp(microseconds / 1_000_000, UTC):%H:%M:%S} UTC"


def text(value: Any) -> str:
    """Read what Redis sent, whether or not the client decodes answers."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[i : i + size] for i in range(0, len(values), size)]

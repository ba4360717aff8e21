"""What the scripts answer, as values and sentences."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from wabajobs.gate.calls import (
    AppReading,
    Because,
    BreakerReading,
    Call,
    Change,
    Charge,
    Permit,
    Report,
    Wait,
    WindowReading,
)
from wabajobs.gate.keys import Names


def permit_of(reply: Sequence[Any], *, id: str, call: Call, names: Names, start_before: float) -> Permit:
    """Read a granted `admit`."""
    numbers = [int(value) for value in reply]
    end = 2 + 2 * len(names.windows)
    charges = tuple(Charge(bucket=numbers[i], mark=numbers[i + 1]) for i in range(2, end, 2))
    probing = numbers[end + 1 :: 2]
    return Permit(
        id=id,
        call=call,
        epochs=dict(zip(names.breaker_scopes, numbers[end::2], strict=True)),
        seq=numbers[1],
        probes=tuple(scope for scope, probes in zip(names.breaker_scopes, probing, strict=True) if probes),
        charges=charges,
        start_before=start_before,
    )


def wait_of(reply: Sequence[Any], *, call: Call, names: Names) -> Wait:
    """Read a refused `admit`."""
    kind = text(reply[1])
    microseconds, nth = int(reply[2]), int(reply[3]) - 1
    delay = None if microseconds < 0 else timedelta(microseconds=microseconds)
    details = [text(value) for value in reply[4:]]
    if kind == "pause":
        scope, sentence, notice = details
        return Wait(delay=delay, because=Because.PAUSE, scope=scope, reason=sentence, notice=notice or None)
    if kind in ("open", "probing"):
        scope = names.breaker_scopes[nth]
        reason = _breaker_sentence(kind, scope, evidence_at(details[0], int(details[1])), delay)
        return Wait(delay=delay, because=Because.BREAKER, scope=scope, reason=reason)
    if kind in ("ring", "pace", "never"):
        scope = names.window_scopes[nth]
        reason = _budget_sentence(kind, scope, call, [int(value) for value in details], delay)
        return Wait(delay=delay, because=Because.BUDGET, scope=scope, reason=reason)
    return Wait(delay=delay, because=Because.GATE, scope="gate", reason=_GATE_SENTENCES[kind])


_GATE_SENTENCES = {
    "untold": "the gate has lost its state, or was never told it; it is being put back",
    "learning": "the gate is finding out how much of the budget is spent, one call at a time",
}


def _breaker_sentence(kind: str, scope: str, evidence: str, delay: timedelta | None) -> str:
    then = "one call is probing it now" if kind == "probing" else f"the next probe is due in {_span(delay)}"
    return f"the breaker of {scope} is open ({evidence}); {then}"


def _budget_sentence(kind: str, scope: str, call: Call, numbers: list[int], delay: timedelta | None) -> str:
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


def changes_of(reply: Sequence[Any], *, names: Names) -> tuple[Change, ...]:
    """Read a `settle`."""
    now = int(reply[0])
    return tuple(
        Change(
            scope=names.breaker_scopes[int(index) - 1],
            state=text(state),
            until=timedelta(microseconds=int(wait)) if text(state) == "open" else None,
            evidence=evidence_at(text(evidence), now),
        )
        for index, state, wait, evidence in _chunks(reply[1:], 4)
    )


def reading_of(reply: Sequence[Any], *, app: str, windows: Sequence[str], breakers: Sequence[str]) -> AppReading:
    """Read a `read`."""
    revision = text(reply[0])
    end = 3 + 4 * len(windows)
    return AppReading(
        app=app,
        told=revision != "",
        learning=int(reply[1]) == 1,
        in_flight=int(reply[2]),
        windows=tuple(
            WindowReading(
                scope=scope,
                limit=int(limit),
                used=int(used),
                others=int(others),
                window=timedelta(microseconds=int(length)),
            )
            for scope, (limit, used, others, length) in zip(windows, _chunks(reply[3:end], 4), strict=True)
        ),
        breakers=tuple(
            _breaker_reading(scope, fields)
            for scope, fields in zip(breakers, _chunks(reply[end:], 5), strict=True)
        ),
        revision=int(revision) if revision else None,
    )


def _breaker_reading(scope: str, fields: Sequence[Any]) -> BreakerReading:
    til, lease, trips, when = (int(fields[i]) for i in (0, 1, 2, 4))
    if til < 0:
        return BreakerReading(scope=scope, state="closed", retry_in=None, trips=trips, evidence="")
    return BreakerReading(
        scope=scope,
        state="open" if til > 0 else "half-open",
        retry_in=timedelta(microseconds=til or max(0, lease)),
        trips=trips,
        evidence=evidence_at(text(fields[3]), when),
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

"""What one call has shown of Meta and of the breakers, as it is written down."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from wabajobs.errors import GraphError
from wabajobs.gate import Change, Outcome, Permit, Report
from wabajobs.graph import GraphRequest
from wabajobs.ledger import Sight

Told = tuple[Sight, dict[str, Any]]
"""What was seen, and facts of a `Happening`."""

_LIMITS: Final = (Outcome.APP_LIMIT, Outcome.WABA_LIMIT, Outcome.NUMBER_LIMIT, Outcome.CAPABILITY_LIMIT)
_LONGEST: Final = 300
"""Of Meta's message, in characters."""
_LONGEST_TRACE: Final = 120
_WORD: Final = re.compile(r"[a-z_]+")


def seen(
    permit: Permit,
    report: Report,
    changes: Sequence[Change],
    *,
    request: GraphRequest | None = None,
    error: GraphError | None = None,
) -> Iterator[Told]:
    """Return what is worth to be written down of a call that was settled: mostly nothing."""
    if report.outcome is Outcome.UNUSED:
        return
    facts = _facts(permit, report, request=request, error=error)
    if report.outcome in _LIMITS:
        yield Sight.REFUSED, facts
    elif report.outcome is Outcome.FAILED:
        yield Sight.FAILED_CALL, facts
    for scope in permit.probes:
        yield Sight.PROBE, facts | {"scope": scope}
    for change in changes:
        sight = Sight.BREAKER_CLOSED if change.state == "closed" else Sight.BREAKER_OPENED
        opened = {"seconds": change.until.total_seconds()} if change.until else {}
        yield sight, facts | {"scope": change.scope, "detail": {"evidence": change.evidence, **opened}}


def _facts(
    permit: Permit, report: Report, *, request: GraphRequest | None, error: GraphError | None
) -> dict[str, Any]:
    call = permit.call
    detail = {
        "outcome": str(report.outcome),
        "message": error.message[:_LONGEST] if error else None,
        "call": _shape(request) if request else None,
        "calls": call.cost if call.cost > 1 else None,
        "app_percent": report.app_percent,
        "waba_percent": report.waba_percent,
        "regain_seconds": report.regain.total_seconds() if report.regain else None,
        "class": str(call.service_class),
    }
    return {
        "app": call.app,
        "queue": call.queue,
        "partner": call.partner,
        "waba": call.waba,
        "capability": str(call.capability),
        "operation_id": call.operation or None,
        "code": report.code,
        "subcode": report.subcode,
        "fbtrace_id": report.fbtrace_id[:_LONGEST_TRACE] if report.fbtrace_id else None,
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


def _shape(request: GraphRequest) -> str:
    """Return what kind of call it is, without what belongs to somebody: `POST {id}/message_templates`."""
    if request.batch:
        return f"batch of {len(request.batch)}"
    if request.path.startswith("upload:"):
        return f"{request.method} upload"
    parts = [part if _WORD.fullmatch(part) else "{id}" for part in request.path.split("/")]
    return f"{request.method} {'/'.join(parts)}"

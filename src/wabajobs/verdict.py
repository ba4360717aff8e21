"""Any exception → the outcome of its attempt: the whole retry policy, in one place.

Being held by a limit, a breaker or a pause is no failure and spends no attempt. A passing failure of Meta's
is tried again with full jitter; what Meta will never accept is not tried again at all.
"""

import random
from datetime import datetime, timedelta
from typing import Any

from wabajobs.errors import (
    ConfigurationError,
    Conflict,
    DeadlinePassed,
    FaultsFound,
    GateUnavailable,
    GraphError,
    Held,
    InputNeeded,
    LedgerUnavailable,
    LimitReached,
    MediaUnavailable,
    NarrowLimitReached,
    NumberLimitReached,
    StopAsked,
    Transient,
    UnknownGraphError,
    WabajobsError,
)
from wabajobs.outcome import Cancelled, Expired, Failed, Hold, NeedsInput
from wabajobs.settings import DispatchSettings

_UNKNOWN_TRIES = 3


def of(  # noqa: PLR0912 (a table of cases)
    error: Exception, *, attempts: int, now: datetime, settings: DispatchSettings
) -> Hold | NeedsInput | Failed | Cancelled | Expired:
    """Return what becomes of an operation whose attempt number `attempts` (from 1) ended in `error`."""
    match error:
        case StopAsked():
            return Cancelled(error.reason, error.by)
        case DeadlinePassed():
            return Expired(str(error))
        case Held():
            return Hold(
                reason=error.reason,
                by=error.by,
                until=None if error.wait is None else now + error.wait,
                notice=error.notice,
            )
        case InputNeeded():
            return NeedsInput(reason=error.reason, asks=error.asks, until=now + error.within)
        case ConfigurationError():
            # This worker was started wrongly (a token is missing, say). That must not cost anybody's operation.
            until = now + timedelta(seconds=settings.misconfigured_seconds)
            return Hold(reason=str(error), by="configuration", until=until)
        case GateUnavailable() | LedgerUnavailable():
            return _away(error, until=now + timedelta(seconds=settings.retry_seconds))
        case NarrowLimitReached() | NumberLimitReached() if not error.is_of_capability:
            # A limit of one template or number: no breaker need stand for it, so the wait itself must be long.
            until = now + (error.wait or timedelta(seconds=settings.retry_cap_seconds))
            return Hold(reason=f"Meta refused the call: {error}", by="meta", until=until)
        case LimitReached():
            # The gate knows by now, and knows for how long; it is asked when this short wait is over.
            until = now + timedelta(seconds=settings.retry_seconds)
            return Hold(reason=f"Meta refused the call: {error}", by="meta", until=until)
        case Transient() | MediaUnavailable() if attempts < settings.max_attempts:
            return _again(error, attempts=attempts, now=now, settings=settings)
        case UnknownGraphError() if attempts < min(_UNKNOWN_TRIES, settings.max_attempts):
            return _again(error, attempts=attempts, now=now, settings=settings)
        case GraphError():
            tries = f" (tried {attempts} times)" if isinstance(error, Transient | UnknownGraphError) else ""
            return Failed(f"{error}{tries}", graph_facts(error))
        case Conflict():
            return Failed(str(error), {"type": "Conflict", "difference": error.difference})
        case FaultsFound():
            return Failed(str(error), {"type": "FaultsFound", "faults": error.faults})
        case WabajobsError():
            return Failed(str(error), {"type": type(error).__name__})
        case _:
            # A fault of ours. It is not tried again blindly: whatever it did, it would do again.
            # The first line only: what a database adds below it can hold what was to be written.
            said = str(error).partition("\n")[0]
            return Failed(f"internal error: {type(error).__name__}: {said}", {"type": "internal"})


def graph_facts(error: GraphError) -> dict[str, Any]:
    """Return what Meta said, raw, as an operation's `error` keeps it."""
    return {
        "type": type(error).__name__,
        "code": error.code,
        "subcode": error.subcode,
        "status": error.status,
        "fbtrace_id": error.fbtrace_id,
        "details": error.details,
    }


def _away(error: GateUnavailable | LedgerUnavailable, *, until: datetime) -> Hold:
    if isinstance(error, GateUnavailable):
        return Hold(reason=f"no calls are made: {error}", by="gate", until=until)
    # What it wrote last is written or is not: both are as after a worker's death.
    return Hold(reason="the ledger was away; it goes on from its checkpoint", by="ledger", until=until)


def _again(error: WabajobsError, *, attempts: int, now: datetime, settings: DispatchSettings) -> Hold:
    longest = min(settings.retry_cap_seconds, settings.retry_seconds * 2 ** (attempts - 1))
    told = error.wait if isinstance(error, GraphError) else None
    wait = (told or timedelta()) + timedelta(seconds=random.uniform(0, longest))
    tries = f"try {attempts} of {settings.max_attempts}"
    return Hold(reason=f"{error}; {tries}", by="retry", until=now + wait, spends_attempt=True)

"""An operation's story, as its page shows it."""

from typing import Any

from wabajobs.errors import NotReady
from wabajobs.gate import Call
from wabajobs.operation import State
from wabajobs.story import how_to_give, moves, summary
from wabajobs.wiring import House


def story(house: House, operation_id: str) -> dict[str, Any]:
    """Return an operation with every move it made. Raises `NotFound`, `LedgerUnavailable`."""
    now = house.clock.now()
    pauses = house.ledger.decisions.pauses(now=now)
    operation = house.ledger.operations.get(operation_id).under(pauses)
    told = house.ledger.operations.story(operation_id)
    return operation.as_json() | {
        "now": now.isoformat(),
        "finished": operation.state.finished,
        "summary": summary(operation, told, now=now),
        "how_to_give": how_to_give(operation) or None,
        "waits_for": _waits_for(house, operation) if operation.state is State.WAITING else None,
        "moves": [
            {"at": move.at.isoformat(), "after_seconds": move.after.total_seconds(), "sentence": move.sentence}
            for move in moves(told)
        ],
    }


def _waits_for(house: House, operation: Any) -> str:
    try:
        [wait] = house.gate.forecast([Call.of(operation)])
        workers = house.presence.living([operation.kind])[operation.kind]
    except NotReady as error:
        return str(error)
    if wait is not None:
        return str(wait)
    return "its turn at a worker" if workers else f"a worker: none is alive for {operation.kind}"

"""An operation's story, as its page shows it: why it is not done, what comes next, and every move it made."""

from typing import Any

from wabajobs.seeing.story import how_to_give, moves, summary
from wabajobs.wiring import House


def story(house: House, operation_id: str) -> dict[str, Any]:
    """Return an operation and its story. Raises `NotFound`, `LedgerUnavailable`."""
    explained = house.explainer.explain(operation_id)
    operation = explained.operation
    told = house.ledger.operations.story(operation_id)
    return operation.as_json() | {
        "finished": operation.state.finished,
        "summary": summary(operation, told, now=explained.at),
        "how_to_give": how_to_give(operation) or None,
        "explained": explained.as_json(),
        "moves": [
            {"at": move.at.isoformat(), "after_seconds": move.after.total_seconds(), "sentence": move.sentence}
            for move in moves(told)
        ],
    }

"""Between the rows of `operations` and the `Operation` that the rest of the house knows."""

from typing import Any

from sqlalchemy import Column, RowMapping, Select, select

from wabajobs.capability import Capability, ServiceClass
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.outcome import Hold, NeedsInput

_CLASSES = tuple(ServiceClass)


def select_operations() -> Select[Any]:
    """Select whole rows of `operations`, to be read by `as_operation`."""
    columns: list[Column[Any]] = list(OperationRow.__table__.columns)  # type: ignore[arg-type]
    return select(*columns)


def as_operation(row: RowMapping) -> Operation:
    """Read a row."""
    held = row["state"] == State.HELD and row["hold_reason"] is not None
    return Operation(
        id=row["id"],
        kind=row["kind"],
        state=State(row["state"]),
        partner=row["partner"],
        app=row["app"],
        waba=row["waba"],
        service_class=_CLASSES[row["class_rank"]],
        capability=Capability(row["capability"]),
        payload=row["payload"],
        attempts=row["attempts"],
        fence=row["fence"],
        hold=Hold(
            reason=row["hold_reason"],
            by=row["hold_by"],
            until=row["hold_until"],
            notice=row["hold_notice"],
        )
        if held
        else None,
        checkpoint=row["checkpoint"],
        result=row["result"],
        error=row["error"],
        due_at=row["due_at"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        callers=row["callers"],
        lane=row["lane"],
        deadline_at=row["deadline_at"],
        stop=row["stop"],
        routed_from=row["routed_from"],
        needs=NeedsInput.of_json(row["needs"]["asked"]) if row["state"] == State.NEEDS_INPUT else None,
    )

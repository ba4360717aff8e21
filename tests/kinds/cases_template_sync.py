"""`template_sync`: three pages, of which each is read once."""

from typing import Any

from tests.kinds.cases import Case, case
from tests.support.stage import Stage
from wabajobs.operation import Operation


def _mirrored(stage: Stage, operation: Operation) -> Any:
    assert operation.waba is not None
    result = {name: value for name, value in (operation.result or {}).items() if name != "calls"}
    return result, stage.house.ledger.templates.templates(operation.waba)


case(
    Case(
        name="template_sync",
        kind="template_sync",
        prepare=lambda stage: {"waba": stage.waba},
        state=_mirrored,
        knobs={"templates": 5},
        settings={"template_sync": {"page_size": 2}},
    )
)

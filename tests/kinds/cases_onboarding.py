"""`onboarding`: with a number and without, with a WABA that is known and that only the token tells."""

from collections.abc import Mapping
from typing import Any, Final

from tests.kinds.cases import Case, case
from tests.support.stage import Stage
from wabajobs.operation import Operation
from wabajobs.simulator.world import Allocation

LONG: Final = 1e6
"""Seconds: in the matrix time goes by in hours, and no code is to end of that."""
KNOBS: Final[dict[str, Any]] = {"signup_code_seconds": LONG}
SETTINGS: Final[dict[str, Any]] = {"onboarding": {"code_seconds": LONG}}


def signed_up(
    stage: Stage, *, knows_waba: bool = True, signup: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Let a customer finish a signup; return what the Hub asks for then."""
    done = stage.simulator.world.signup(**(signup or {}))
    waba = {"waba": done.waba_id} if knows_waba else {}
    return {**waba, "payload": {"code": done.code}, "expires_after": LONG}


def signs_up_again(operation: Operation, stage: Stage) -> None:
    """The customer goes through the signup once more."""
    assert operation.needs is not None
    assert [one.name for one in operation.needs.asks] == ["code"]
    [waba] = {one.waba_id for one in stage.simulator.world.signups.values()}
    stage.provide(operation, code=stage.simulator.world.signup(waba=waba).code)


def connected(stage: Stage, operation: Operation) -> Any:
    """What the WABA is at Meta, and what we know of it. The ids that Meta gives depend on what it did before."""
    assert operation.result is not None
    waba = stage.simulator.world.waba(operation.result["waba"])
    numbers = [(one.id, one.registered, one.pin is not None) for one in waba.numbers]
    syncs = stage.house.ledger.operations.find(kind="template_sync")
    pays = stage.simulator.world.node(operation.result["credit"])
    assert isinstance(pays, Allocation)
    return (
        operation.waba,
        {name: value for name, value in operation.result.items() if name not in ("credit", "first_sync")},
        [(one.id == operation.result["first_sync"], one.waba) for one in syncs],
        (waba.assigned, waba.subscribed, waba.currency, numbers, pays.credential_id == waba.funding_id),
    )


case(
    Case(
        name="onboarding",
        kind="onboarding",
        prepare=signed_up,
        state=connected,
        give=signs_up_again,
        brought=frozenset({"code_exchanged"}),
        knobs=KNOBS,
        settings=SETTINGS,
    )
)
case(
    Case(
        name="onboarding, of a WABA that only the token tells, without a number",
        kind="onboarding",
        prepare=lambda stage: signed_up(stage, knows_waba=False, signup={"number": "none"}),
        state=connected,
        give=signs_up_again,
        brought=frozenset({"code_exchanged"}),
        knobs=KNOBS,
        settings=SETTINGS,
    )
)

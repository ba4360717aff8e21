"""`onboarding`: of a WABA that only the token tells; and of two numbers, of which one has a PIN of its own."""

from typing import Any, Final

from tests.kinds.cases import Case, case
from tests.support.stage import Stage
from wabajobs.operation import Operation
from wabajobs.secret import Secret
from wabajobs.simulator.world import Allocation, Number, numbers

LONG: Final = 1e6
"""Seconds: in the matrix time goes by in hours, and no code is to end of that."""
KNOBS: Final[dict[str, Any]] = {"signup_code_seconds": LONG}
SETTINGS: Final[dict[str, Any]] = {"onboarding": {"code_seconds": LONG}}
PIN: Final = "135790"


def second_number(stage: Stage, waba: str) -> Number:
    """A number that the customer has proved to own, as that of the signup."""
    world = stage.simulator.world
    added = numbers.add(
        world,
        world.waba(waba),
        cc="49",
        phone_number="15155501234",
        verified_name="Shop",
        migrate=False,
        preverified_id=None,
    )
    added.code_status = "VERIFIED"
    return added


def _signed_up(stage: Stage) -> dict[str, Any]:
    code = stage.simulator.world.signup().code
    return {"payload": {"code": code}, "expires_after": LONG}


def _with_a_pin(stage: Stage) -> dict[str, Any]:
    signup = stage.simulator.world.signup()
    stage.simulator.world.waba(signup.waba_id).numbers[0].pin = PIN
    second_number(stage, signup.waba_id)
    return {"waba": signup.waba_id, "payload": {"code": signup.code}, "expires_after": LONG}


def _gives(operation: Operation, stage: Stage) -> None:
    """The customer goes through the signup once more, or tells his PIN; not faster than Meta lets him guess."""
    assert operation.needs is not None
    [ask] = operation.needs.asks
    if ask.name == "code":
        [waba] = {one.waba_id for one in stage.simulator.world.signups.values()}
        stage.provide(operation, code=stage.simulator.world.signup(waba=waba).code)
    else:
        stage.pass_time(3600)
        stage.provide(operation, pin=PIN)


def _connected(stage: Stage, operation: Operation) -> Any:
    """What the WABA is at Meta, and what we know of it. The ids that Meta gives depend on what it did before."""
    assert operation.result is not None
    waba, vault = stage.simulator.world.waba(operation.result["waba"]), stage.house.vault
    syncs = stage.house.ledger.operations.find(kind="template_sync")
    pays = stage.simulator.world.node(operation.result["credit"])
    assert isinstance(pays, Allocation)
    return (
        operation.waba,
        {name: value for name, value in operation.result.items() if name not in ("credit", "first_sync")},
        [(one.id == operation.result["first_sync"], one.waba) for one in syncs],
        [(one.registered, Secret(one.pin or "") == vault.get(f"pins/{one.id}")) for one in waba.numbers],
        (waba.assigned, waba.subscribed, waba.currency, pays.credential_id == waba.funding_id),
    )


for name, prepare in {"": _signed_up, ", with a number that has a PIN": _with_a_pin}.items():
    case(
        Case(
            name=f"onboarding{name}",
            kind="onboarding",
            prepare=prepare,
            state=_connected,
            give=_gives,
            brought=frozenset({"code_exchanged"}),
            knobs=KNOBS,
            settings=SETTINGS,
        )
    )

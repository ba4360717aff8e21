"""The number's owner, who gets codes and knows the PIN; and Meta, who decides."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.support.stage import Arrived, Stage
from wabajobs.operation import Operation, State
from wabajobs.simulator.control.numbers import change_numbers, show_numbers
from wabajobs.simulator.world import Number

PIN = "246810"


def does(stage: Stage, action: str, number: str | None = None, **more: Any) -> dict[str, Any]:
    """Do something to a number (docs/simulator.md, POST numbers); the first one if none is named."""
    return change_numbers(stage.simulator, {"action": action, "number": number or stage.number, **more})


def number_of(stage: Stage, operation: Operation) -> Number | None:
    """Return the number that an operation is about as its WABA has it."""
    payload, waba = operation.payload, stage.simulator.world.waba(operation.waba or "")
    for number in waba.numbers:
        if number.id == payload.get("number") or f"+{number.cc}{number.national}" == payload.get("phone_number"):
            return number
    return None


def codes(stage: Stage, operation: Operation) -> list[str]:
    """Return the codes that the owner has got."""
    number = number_of(stage, operation)
    return [message["code"] for message in number.sms] if number else []


def wrong(code: str) -> str:
    """Return another code."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


def answer(**known: str) -> Callable[[Operation, Stage], object]:
    """Return somebody who gives the code that has come, else wishes for one; and whatever else he knows."""

    def give(operation: Operation, stage: Stage) -> object:
        assert operation.needs is not None
        asked = {one.name for one in operation.needs.asks}
        got = codes(stage, operation) if "code" in asked else []
        if got:
            return stage.provide(operation, code=got[-1])
        if "resend" in asked:
            return stage.provide(operation, resend="sms")
        return stage.provide(operation, **{name: known[name] for name in asked})

    return give


def number_as_it_is(stage: Stage, operation: Operation) -> Any:
    """Return the number as Meta has it, how often it was registered, and what the operation tells of it."""
    number = number_of(stage, operation)
    assert number is not None
    [shown] = show_numbers(stage.simulator, {"number": number.id})["numbers"]
    return shown, operation.result


def phone_number(stage: Stage) -> str:
    """Return the first number's digits, as a request says them."""
    number = stage.simulator.world.waba(stage.waba).numbers[0]
    return f"+{number.cc}{number.national}"


def destination(stage: Stage) -> str:
    """Return the WABA that a number can move to: the second."""
    return stage.simulator.world.waba_ids[1]


# ── what an operation says, and what it has done ─────────────────────────────────────────────────────────────


def asked(stage: Stage, operation: Operation) -> set[str]:
    """Return what the operation asks people for."""
    now = stage.get(operation)
    assert now.state is State.NEEDS_INPUT, now.as_json()
    assert now.needs is not None
    return {one.name for one in now.needs.asks}


def why(stage: Stage, operation: Operation) -> str:
    """Return why it needs input, is held or has failed."""
    now = stage.get(operation)
    return str(
        now.needs.reason if now.needs else now.hold.reason if now.hold else (now.error or {}).get("message")
    )


def edges(calls: list[Arrived]) -> list[str]:
    """Return the ends of the paths of calls."""
    return [one.path.rpartition("/")[2] for one in calls]


def held_for(stage: Stage, operation: Operation) -> timedelta:
    """Return for how long it is held."""
    now = stage.get(operation)
    assert now.state is State.HELD, now.as_json()
    return now.due_at - stage.clock.now()


def said(call: Arrived) -> dict[str, Any]:
    """Return the parameters of a call, without the proof that we know the app's secret."""
    return {name: value for name, value in call.params.items() if name != "appsecret_proof"}

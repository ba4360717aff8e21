"""Phone numbers: what their owners get and do, and what Meta decides about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from wabajobs.simulator.control.actions import Action, ControlError, ControlInput, known_number, known_waba
from wabajobs.simulator.world import Number, World, numbers

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class SmsQuery(ControlInput):
    """Query of GET sms."""

    number: str


class NumbersQuery(ControlInput):
    """Query of GET numbers: those of one WABA, or one; without, those that are locked or near to it."""

    waba: str | None = None
    number: str | None = None


class NumbersInput(ControlInput):
    """Body of POST numbers."""

    action: Literal[
        "set_pin",
        "two_step_off",
        "decide_name",
        "verify",
        "register",
        "deregister",
        "half_deregister",
        "unlock",
        "ban",
        "condition",
        "quality",
        "on_business_app",
        "on_premises",
        "back_up",
        "official",
        "sandbox",
        "deleted_recently",
        "maintenance",
        "migration_problem",
        "end_migration",
        "preverify",
    ]
    number: str | None = None
    """Whose turn it is; every action but `preverify` needs it."""
    value: str | bool | None = None
    """Of `set_pin`, `decide_name`, `condition`, `quality`, `back_up`, `migration_problem`, and of switches."""
    seconds: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    """Of `deleted_recently` and `maintenance`: how long, in simulated seconds."""
    cc: str | None = None
    phone_number: str | None = None
    reason: str | None = None
    """Why a name is declined."""


def show_sms(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET sms"""
    number = known_number(simulator.world, SmsQuery.model_validate(query).number)
    return {"messages": [dict(message) for message in number.sms]}


def show_numbers(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET numbers"""
    asked, world = NumbersQuery.model_validate(query), simulator.world
    if asked.waba is not None:
        return {"numbers": [_shown(world, one) for one in known_waba(world, asked.waba).numbers]}
    if asked.number is not None:
        return {"numbers": [_shown(world, known_number(world, asked.number))]}
    return {"locked": numbers.locked(world)}


def change_numbers(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST numbers"""
    asked, world = NumbersInput.model_validate(body), simulator.world
    with world.lock:
        if asked.action == "preverify":
            number = _preverified(world, asked)
        elif asked.number is None:
            raise ControlError(f"{asked.action} needs a number")
        else:
            number = known_number(world, asked.number)
            answer = CHANGES[asked.action](simulator, number, asked)
            if isinstance(answer, dict):
                return answer
        return _shown(world, number)


def _preverified(world: World, asked: NumbersInput) -> Number:
    if asked.cc is None or asked.phone_number is None:
        raise ControlError("preverify needs cc and phone_number")
    return numbers.add_preverified(world, asked.cc, asked.phone_number)


Change = Callable[["Simulator", Number, NumbersInput], Any]
"""What an action does to a number; what it returns, if anything, is the answer."""


def _verify(simulator: Simulator, number: Number, _: NumbersInput) -> None:
    numbers.mark_verified(simulator.world, number)
    simulator.judge.effects.undo("code_sent", number.id)


def _register(simulator: Simulator, number: Number, _: NumbersInput) -> None:
    number = simulator.world.change(number)
    number.code_status, number.platform = "VERIFIED", "CLOUD_API"
    number.registered = number.registered_before = True
    simulator.judge.effects.undo("number_deregistered", number.id)


def _deregister(simulator: Simulator, number: Number, _: NumbersInput) -> None:
    numbers.unregister(simulator.world, number)
    for kind in ("number_registered", "number_verified"):
        simulator.judge.effects.undo(kind, number.id)


def _half_deregister(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    _deregister(simulator, number, asked)
    number.half_deregistered = True


def _unlock(simulator: Simulator, number: Number, _: NumbersInput) -> None:
    number = simulator.world.change(number)
    number.locked_until, number.registrations, number.deregistrations = 0.0, (), ()


def _on_premises(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    number = simulator.world.change(number)
    number.platform, number.registered = ("ON_PREMISE" if _flag(asked) else "CLOUD_API"), True


def _back_up(simulator: Simulator, number: Number, asked: NumbersInput) -> dict[str, Any]:
    return {"settings": {"data": numbers.back_up(simulator.world, number, _text(asked))}}


def _pin(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    numbers.set_pin(simulator.world, number, _text(asked))


def _two_step_off(simulator: Simulator, number: Number, _: NumbersInput) -> None:
    numbers.set_pin(simulator.world, number, None)


def _decide_name(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    approved = _one_of(asked, "APPROVED", "DECLINED") == "APPROVED"
    numbers.decide_name(simulator.world, number, approved=approved, reason=asked.reason)


def _ban(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    numbers.set_condition(simulator.world, number, "BANNED" if _flag(asked) else None)


def _condition(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    condition = None if asked.value is None else _one_of(asked, *numbers.CONDITIONS)
    numbers.set_condition(simulator.world, number, condition)


def _quality(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    numbers.set_quality(simulator.world, number, _one_of(asked, "GREEN", "YELLOW", "RED", "UNKNOWN"))


def _deleted_recently(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    simulator.world.change(number).deleted_until = simulator.world.now() + asked.seconds


def _maintenance(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    simulator.world.change(number).maintenance_until = simulator.world.now() + asked.seconds


def _migration_problem(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    problem = None if asked.value is None else _one_of(asked, *numbers.STAY)
    simulator.world.change(number).migration_problem = problem


def _end_migration(simulator: Simulator, number: Number, _: NumbersInput) -> None:
    numbers.end_migration(simulator.world, number)


def _switch(simulator: Simulator, number: Number, asked: NumbersInput) -> None:
    setattr(simulator.world.change(number), asked.action, _flag(asked))


CHANGES: dict[str, Change] = {
    "set_pin": _pin,
    "two_step_off": _two_step_off,
    "decide_name": _decide_name,
    "verify": _verify,
    "register": _register,
    "deregister": _deregister,
    "half_deregister": _half_deregister,
    "unlock": _unlock,
    "ban": _ban,
    "condition": _condition,
    "quality": _quality,
    "on_business_app": _switch,
    "on_premises": _on_premises,
    "back_up": _back_up,
    "official": _switch,
    "sandbox": _switch,
    "deleted_recently": _deleted_recently,
    "maintenance": _maintenance,
    "migration_problem": _migration_problem,
    "end_migration": _end_migration,
}
"""What may happen to a number that exists."""


def _flag(asked: NumbersInput) -> bool:
    if asked.value is None:
        return True
    if not isinstance(asked.value, bool):
        raise ControlError(f"the value of {asked.action} must be true or false")
    return asked.value


def _text(asked: NumbersInput) -> str:
    if not isinstance(asked.value, str):
        raise ControlError(f"{asked.action} needs a value, a text")
    return asked.value


def _one_of(asked: NumbersInput, *allowed: str) -> str:
    if asked.value not in allowed:
        raise ControlError(f"the value of {asked.action} must be one of {', '.join(allowed)}")
    return str(asked.value)


def _shown(world: World, number: Number) -> dict[str, Any]:
    return {
        "id": number.id,
        "waba": number.waba_id,
        "display_phone_number": number.display,
        "status": numbers.status(number),
        "registered": number.registered,
        "platform": number.platform,
        "code_status": numbers.code_status(world, number),
        "pin": number.pin,
        "name": number.verified_name,
        "name_status": number.name_status,
        "new_name": number.new_name,
        "new_name_status": number.new_name_status,
        "migrating_from": number.migrating_from,
        "moved_away": number.moved_away,
        "registrations": len(number.registrations),
        "deregistrations": len(number.deregistrations),
        "locked_until": number.locked_until if number.locked_until > world.now() else None,
    }


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "sms"): show_sms,
    ("GET", "numbers"): show_numbers,
    ("POST", "numbers"): change_numbers,
}

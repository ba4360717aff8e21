"""What customers and Meta do to accounts: a finished Embedded Signup, reviews, bans, removals, intents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from wabajobs.simulator.control.actions import Action, ControlError, ControlInput, known_waba
from wabajobs.simulator.world import Intent, accounts, signups
from wabajobs.simulator.world.signups import NumberChoice

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class SignupInput(ControlInput):
    """Body of POST signups: a customer finishes Embedded Signup."""

    app: str | None = None
    business: str | None = None
    waba: str | None = None
    number: NumberChoice = "verified"
    name: str | None = Field(default=None, min_length=1, max_length=100)
    templates: int = Field(default=0, ge=0, le=90_000)
    review: Literal["PENDING", "APPROVED", "REJECTED", "LIMIT_REACHED"] = "APPROVED"


class AccountInput(ControlInput):
    """Body of POST accounts: what Meta or its owner does to a WABA."""

    waba: str
    action: Literal[
        "review", "ban", "reinstate", "delete", "remove_partner", "verify", "unverify", "fund", "unfund"
    ]
    decision: Literal["PENDING", "APPROVED", "REJECTED", "LIMIT_REACHED"] = "APPROVED"
    after: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Simulated seconds of notice before a ban."""


class IntentInput(ControlInput):
    """Body of POST intents: the owner's decision on a move to another solution."""

    id: str
    status: Literal["INITIATED", "ACCEPTED", "REJECTED", "COMPLETED"]


def show_signups(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET signups"""
    return {"signups": [signups.shown(one) for one in simulator.world.signups.values()]}


def sign_up(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST signups"""
    asked = SignupInput.model_validate(body)
    return signups.shown(simulator.world.signup(**asked.model_dump()))


def change_account(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST accounts"""
    asked = AccountInput.model_validate(body)
    world, waba = simulator.world, known_waba(simulator.world, asked.waba)
    match asked.action:
        case "review":
            accounts.review(world, waba, asked.decision)
        case "ban":
            accounts.ban(world, waba, after=asked.after)
        case "reinstate":
            accounts.reinstate(world, waba)
        case "delete":
            accounts.delete(world, waba)
        case "remove_partner":
            accounts.remove_partner(world, waba)
        case "verify" | "unverify":
            accounts.verify(world, waba, verified=asked.action == "verify")
        case "fund":
            accounts.fund(world, waba)
        case "unfund":
            accounts.unfund(world, waba)
    return {
        "waba": waba.id,
        "state": waba.state,
        "review": waba.review,
        "reachable": not waba.gone,
        "verified": accounts.owner_of(world, waba).verified,
        "funding": waba.funding_id,
    }


def decide_intent(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST intents"""
    asked = IntentInput.model_validate(body)
    intent = simulator.world.node(asked.id)
    if not isinstance(intent, Intent):
        raise ControlError(f"there is no intent {asked.id}")
    accounts.decide(simulator.world, intent, asked.status)
    return {"id": intent.id, "waba": intent.waba_id, "solution": intent.solution_id, "status": intent.status}


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "signups"): show_signups,
    ("POST", "signups"): sign_up,
    ("POST", "accounts"): change_account,
    ("POST", "intents"): decide_intent,
}

"""A kind for trials with secrets: the payload brings some, a person gives one, a step keeps one."""

from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from wabajobs.capability import Capability
from wabajobs.errors import Ask
from wabajobs.kinds import Graph, Kind, Step, Work
from wabajobs.kinds.inputs import Pin, Token
from wabajobs.secret import Secret

CODE: Final = Ask(name="code", about="the code of six digits that the number was sent", pattern="[0-9]{6}")


class Wanted(BaseModel, extra="forbid"):
    """A number, its PIN, and the token of its business."""

    number: str
    pin: Pin
    token: Token


def business(work: Work) -> tuple[Graph, Secret]:
    """The Graph in the name of the business, and its token."""
    token = work.secret("token")
    assert token is not None
    return work.graph.by(token), token


def use_token(work: Work) -> dict[str, Any]:
    """Read in the name of the business, and keep a token made of its."""
    graph, token = business(work)
    found = graph.get(work.operation.payload["number"], fields="display_phone_number")
    work.keep({"used": True}, derived=Secret(f"derived-{token.reveal()}"))
    return {"phone": found["display_phone_number"]}


def ask_code(work: Work) -> dict[str, Any]:
    """Wait for the code, and have Meta judge it."""
    code = work.secret("code")
    if code is None:
        work.ask("Meta has sent a code to the number", CODE, within=timedelta(minutes=10))
    business(work)[0].get(work.operation.payload["number"], fields="id", code=code)
    return {}


def register(work: Work) -> dict[str, Any]:
    """Register the number, with its PIN."""
    number, pin = work.operation.payload["number"], work.secret("pin")
    business(work)[0].post(f"{number}/register", messaging_product="whatsapp", pin=pin)
    return {"registered": True}


KIND: Final = Kind(
    name="secretive",
    summary="register a number, for a trial",
    payload=Wanted,
    steps=(
        Step(name="use_token", run=use_token, capability=Capability.PHONE_NUMBERS),
        Step(name="ask_code", run=ask_code, capability=Capability.PHONE_NUMBERS, asks=(CODE,)),
        Step(name="register", run=register, capability=Capability.PHONE_NUMBERS),
    ),
)

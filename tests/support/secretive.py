"""A kind for trials with secrets: the payload brings some, a person gives one, a step keeps one."""

from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel

from wabajobs.capability import Capability
from wabajobs.errors import Ask
from wabajobs.kinds import Kind, Step, Work
from wabajobs.kinds.inputs import Pin, Token
from wabajobs.secret import Secret

CODE: Final = Ask(name="code", about="the code of six digits that the number was sent", pattern="[0-9]{6}")


class Wanted(BaseModel, extra="forbid"):
    """A number, its PIN, and the token of its business."""

    number: str
    pin: Pin
    token: Token


def use_token(work: Work) -> dict[str, Any]:
    """Read in the name of the business, and keep a token made of its."""
    token = work.secret("token")
    assert token is not None
    found = work.graph.by(token).get(work.operation.payload["number"], fields="display_phone_number")
    work.keep({"used": True}, derived=Secret(f"derived-{token.reveal()}"))
    return {"phone": found["display_phone_number"]}


def ask_code(work: Work) -> dict[str, Any]:
    """Wait for the code, and have Meta judge it."""
    code = work.secret("code")
    if code is None:
        work.ask("Meta has sent a code to the number", CODE, within=timedelta(minutes=10))
    work.graph.get(work.operation.payload["number"], fields="id", code=code)
    return {}


def set_pin(work: Work) -> dict[str, Any]:
    """Set the PIN."""
    work.graph.post(work.operation.payload["number"], pin=work.secret("pin"))
    return {"pin": "set"}


KIND: Final = Kind(
    name="secretive",
    summary="set a number's PIN, for a trial",
    payload=Wanted,
    steps=(
        Step(name="use_token", run=use_token, capability=Capability.PHONE_NUMBERS),
        Step(name="ask_code", run=ask_code, capability=Capability.PHONE_NUMBERS, asks=(CODE,)),
        Step(name="set_pin", run=set_pin, capability=Capability.PHONE_NUMBERS),
    ),
)

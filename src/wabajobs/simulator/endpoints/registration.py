"""Proving that a number is one's own by a code, and registering it for the Cloud API.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/registration
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from wabajobs.simulator.inputs import Input, Nothing, Object, Text
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Number, numbers

Digits = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""Digits as text; a number in JSON is taken too, as long as it keeps all of them."""


class RequestCodeInput(Input):
    code_method: Literal["SMS", "VOICE"]
    language: Text = Field(pattern=r"^[a-z]{2,3}([_-][A-Za-z]{2,4})?$", description="Such as en_US")


class VerifyCodeInput(Input):
    code: Digits = Field(pattern=r"^[0-9]{6}$", description="Six digits, without a hyphen")


class RegisterInput(Input):
    messaging_product: Literal["whatsapp"]
    pin: Digits = Field(
        pattern=r"^[0-9]{6}$",
        description="PIN of two-step verification: must be right if there is one, or sets it",
    )
    data_localization_region: (
        Literal["AU", "ID", "IN", "JP", "SG", "KR", "DE", "CH", "GB", "BR", "BH", "ZA", "AE", "CA"] | None
    ) = Field(default=None, description="Where the number's messages are kept")
    backup: Object | None = Field(
        default=None, description="password and data of an On-Premises installation, in place of a code"
    )


def request_code(context: Context, asked: RequestCodeInput) -> dict[str, Any]:
    """Send a code to the number's owner, who gets an SMS or a call."""
    number = context.the(Number)
    sent_before = bool(number.sms)
    sent = numbers.send_code(context.world, number, method=asked.code_method, language=asked.language)
    if sent_before and sent.replaced_lapsed:
        # The owner needs another one, so this is not the same SMS twice.
        context.effect("code_lapsed", number.id)
    context.effect("code_sent", number.id, method=asked.code_method, language=asked.language)
    return {"success": True}


def verify_code(context: Context, asked: VerifyCodeInput) -> dict[str, Any]:
    """Take the code that the number's owner got."""
    number = context.the(Number)
    numbers.verify(context.world, number, asked.code)
    context.effect("number_verified", number.id)
    return {"success": True, "id": number.id}


def register(context: Context, asked: RegisterInput) -> dict[str, Any]:
    """Register a number for the Cloud API; for one that moves here, the other WABA loses it now."""
    number = context.the(Number)
    done = numbers.register(
        context.world, number, pin=asked.pin, region=asked.data_localization_region, backup=asked.backup
    )
    if done.moved_from:
        left = done.moved_from
        context.effect(
            "number_migrated", number.id, left=left.id, left_waba=left.waba_id, templates=done.templates
        )
    if done.before and done.renamed:
        context.effect("number_renamed", number.id, name=number.verified_name)
    context.effect("number_registered", number.id, on_premises=asked.backup is not None)
    context.remarks.idle = done.before and not done.renamed
    return {"success": True}


def deregister(context: Context, _asked: Nothing) -> dict[str, Any]:
    """Stop a number from sending by the Cloud API."""
    number = context.the(Number)
    numbers.deregister(context.world, number)
    context.effect("number_deregistered", number.id)
    return {"success": True}


_PART = "phone_numbers"
_EITHER = ("whatsapp_business_management", "whatsapp_business_messaging")

ROUTES = (
    Route(
        name="phone.request_code",
        method="POST",
        path="/{phone}/request_code",
        handler=request_code,
        input=RequestCodeInput,
        capability=_PART,
    ),
    Route(
        name="phone.verify_code",
        method="POST",
        path="/{phone}/verify_code",
        handler=verify_code,
        input=VerifyCodeInput,
        capability=_PART,
    ),
    Route(
        name="phone.register",
        method="POST",
        path="/{phone}/register",
        handler=register,
        input=RegisterInput,
        capability=_PART,
        scopes=_EITHER,
    ),
    Route(
        name="phone.deregister",
        method="POST",
        path="/{phone}/deregister",
        handler=deregister,
        capability=_PART,
        scopes=_EITHER,
    ),
)

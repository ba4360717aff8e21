"""The public key of a business, by which what users enter into Flows with an endpoint is encrypted.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/business-encryption-api
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wabajobs.simulator.fields import NodeType, fields_asked
from wabajobs.simulator.inputs import Input, NodeInput, Text
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Number, numbers

ENCRYPTION = NodeType[Number](
    name="WhatsAppBusinessEncryption",
    fields={
        "business_public_key": lambda number: number.public_key,
        "business_public_key_signature_status": lambda number: (
            "VALID" if number.public_key_signed else "MISMATCH"
        ),
    },
    defaults=("business_public_key", "business_public_key_signature_status"),
)


class KeyInput(Input):
    business_public_key: Text = Field(description="2048-bit RSA public key in PEM format")


def read(context: Context, asked: NodeInput) -> dict[str, Any]:
    """A number's public key, and whether its signature holds; nothing when there is none."""
    number = context.seen(Number)
    numbers.check_there(number)
    shown = ENCRYPTION.render(number, fields_asked(asked.fields))
    return {"data": [shown] if number.public_key else []}


def change(context: Context, asked: KeyInput) -> dict[str, Any]:
    """Give a number a public key, in place of the one before."""
    number = context.the(Number)
    numbers.check_there(number)
    if numbers.set_public_key(context.world, number, asked.business_public_key):
        context.effect("public_key_set", number.id)
    else:
        context.remarks.idle = True
    return {"success": True}


_PATH, _PART = "/{phone}/whatsapp_business_encryption", "phone_numbers"
_EITHER = ("whatsapp_business_management", "whatsapp_business_messaging")

ROUTES = (
    Route(
        name="phone.encryption.get",
        method="GET",
        path=_PATH,
        handler=read,
        input=NodeInput,
        capability=_PART,
        scopes=_EITHER,
    ),
    Route(
        name="phone.encryption.change",
        method="POST",
        path=_PATH,
        handler=change,
        input=KeyInput,
        capability=_PART,
        scopes=_EITHER,
    ),
)

"""Errors as the Graph words them. Decide on `code`, as Meta advises; the HTTP status varies by source."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True, eq=False)  # not frozen: an exception gets its traceback set
class GraphError(Exception):
    """An answer of the Graph that is an error."""

    message: str
    code: int
    status: int = 400
    type: str = "OAuthException"
    subcode: int | None = None
    is_transient: bool | None = None
    user_title: str | None = None
    user_message: str | None = None
    data: dict[str, Any] | None = None
    authenticate: str | None = None
    """The error's slug in the WWW-Authenticate header, when it has one."""
    missing: str | None = None
    """The id of an object that is missing or out of reach, when that is the error."""

    def body(self, *, data_as_text: bool = False) -> bytes:
        """The JSON of the error, under a fresh `fbtrace_id`."""
        optional = {
            "error_data": json.dumps(self.data) if data_as_text and self.data is not None else self.data,
            "error_subcode": self.subcode,
            "is_transient": self.is_transient,
            "error_user_title": self.user_title,
            "error_user_msg": self.user_message,
        }
        error: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        error.update((name, value) for name, value in optional.items() if value is not None)
        error["fbtrace_id"] = "A" + secrets.token_urlsafe(17)
        return json.dumps({"error": error}).encode()


def token_missing() -> GraphError:
    return GraphError(
        message="An access token is required to request this resource.",
        code=104,
        status=401,
        authenticate="invalid_request",
    )


def token_wrong() -> GraphError:
    return GraphError(
        message="Invalid OAuth access token - Cannot parse access token",
        code=190,
        status=401,
        authenticate="invalid_token",
    )


def token_revoked() -> GraphError:
    return GraphError(
        message="Error validating access token: The session has been invalidated.",
        code=190,
        subcode=460,
        status=401,
        authenticate="invalid_token",
    )


def token_expired() -> GraphError:
    return GraphError(
        message="Error validating access token: Session has expired.",
        code=190,
        subcode=463,
        status=401,
        authenticate="invalid_token",
    )


def no_such_app() -> GraphError:
    return GraphError(
        message="Error validating application. Cannot get application info due to a system error.", code=101
    )


def no_permission(permission: str) -> GraphError:
    return GraphError(
        message=f"(#200) Requires {permission} permission to manage the object",
        code=200,
        status=403,
    )


def account_disabled() -> GraphError:
    """Meta has disabled the WABA.

    https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
    """
    return GraphError(
        message="(#131031) Business Account locked",
        code=131031,
        status=403,
        data={
            "messaging_product": "whatsapp",
            "details": "The WhatsApp Business Account has been disabled for violating a policy.",
        },
    )


def unknown_path(components: tuple[str, ...]) -> GraphError:
    return GraphError(message=f"Unknown path components: /{'/'.join(components)}", code=2500)


def proof_missing() -> GraphError:
    return GraphError(
        message="API calls from the server require an appsecret_proof argument",
        code=100,
        type="GraphMethodException",
    )


def proof_wrong() -> GraphError:
    return GraphError(
        message="Invalid appsecret_proof provided in the API argument",
        code=100,
        type="GraphMethodException",
    )


def no_such_object(method: str, name: str) -> GraphError:
    """The one answer for an id that is unknown, forbidden, or cannot do what was asked."""
    return GraphError(
        message=(
            f"Unsupported {method.lower()} request. Object with ID '{name}' does not exist, cannot be loaded "
            "due to missing permissions, or does not support this operation. Please read the Graph API "
            "documentation at https://developers.facebook.com/docs/graph-api"
        ),
        code=100,
        subcode=33,
        type="GraphMethodException",
        missing=name,
    )


def no_such_alias(name: str) -> GraphError:
    """How Meta's OpenAPI tells that an object is missing."""
    return GraphError(
        message=f"(#803) Some of the aliases you requested do not exist: {name}", code=803, status=404
    )


def app_token_needed() -> GraphError:
    return GraphError(message="(#15) This method must be called with an app access_token.", code=15)


def callback_silent() -> GraphError:
    """The callback of an app's subscription did not answer with the challenge."""
    return GraphError(
        message="(#2200) Callback verification failed: the callback did not answer with the challenge.", code=2200
    )


def no_such_field(field: str, node_type: str) -> GraphError:
    return GraphError(
        message=f"(#100) Tried accessing nonexisting field ({field}) on node type ({node_type})", code=100
    )


def bad_parameter(explanation: str) -> GraphError:
    return GraphError(message=f"(#100) {explanation}", code=100)


def invalid_parameter(subcode: int | None, title: str, message: str, *, blame: str | None = None) -> GraphError:
    """Error 100 with words for people, as the management of templates and numbers refuses things."""
    return GraphError(
        message="Invalid parameter",
        code=100,
        subcode=subcode,
        is_transient=False,
        user_title=title,
        user_message=message,
        data={"blame_field_specs": [[blame]]} if blame else None,
    )


def too_much_data() -> GraphError:
    return GraphError(
        message="Please reduce the amount of data you're asking for, then retry your request",
        code=1,
        status=500,
    )


def something_broke() -> GraphError:
    """A defect of the simulator itself, told as the Graph would tell one of its own."""
    return GraphError(message="An unknown error has occurred.", code=1, status=500)

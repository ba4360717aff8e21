"""Tokens: how one is got for a code, what the Graph knows about one, and whose it is."""

from __future__ import annotations

import hmac
from typing import Any

from pydantic import Field

from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.fields import NodeType, fields_asked
from wabajobs.simulator.inputs import Input, NodeInput, Text
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Token
from wabajobs.simulator.world.accounts import system_users
from wabajobs.simulator.world.signups import exchange


class AccessTokenInput(Input):
    client_id: Text | None = Field(default=None, description="The app's id")
    client_secret: Text | None = Field(default=None, description="The app's secret")
    code: Text | None = Field(default=None, description="The code of an Embedded Signup")
    redirect_uri: Text | None = Field(default=None, description="Taken and not compared")
    grant_type: Text | None = Field(
        default=None, description="client_credentials for the app's own token; else a code is exchanged"
    )


class DebugInput(Input):
    input_token: Text = Field(description="The token that is asked about")


def access_token(context: Context, asked: AccessTokenInput) -> dict[str, Any]:
    """A token for a code of Embedded Signup, or an app's own token.

    https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived
    """
    app = context.app
    given = (asked.client_secret or "").encode("utf-8", "replace")
    if asked.client_secret is None:
        raise GraphError(message="Missing client_secret parameter.", code=1)
    if not hmac.compare_digest(app.secret.encode(), given):
        raise GraphError(message="Error validating client secret.", code=1, authenticate="invalid_client")
    if asked.grant_type == "client_credentials":
        return {"access_token": f"{app.id}|{app.secret}", "token_type": "bearer"}
    if asked.grant_type not in (None, "", "authorization_code"):
        raise bad_parameter(f"Invalid grant_type: {asked.grant_type}")
    if not asked.code:
        raise GraphError(message="Missing authorization code", code=1, authenticate="invalid_code")
    signup, token = exchange(context.world, app, asked.code)
    # A customer may sign up again; that code is another one.
    subject = f"{signup.waba_id}/{signup.earlier + 1}" if signup.earlier else signup.waba_id
    context.effect("code_exchanged", subject, business=signup.business_id)
    answer: dict[str, Any] = {"access_token": token.text, "token_type": "bearer"}
    if token.expires_at:
        answer["expires_in"] = token.expires_at - token.issued_at
    return answer


def debug_token(context: Context, asked: DebugInput) -> dict[str, Any]:
    """What the Graph knows of a token of the same app.

    https://developers.facebook.com/docs/graph-api/reference/debug_token/
    """
    token = context.world.tokens.get(asked.input_token)
    if token is None:
        error = {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"}
        return {"data": {"error": error, "is_valid": False, "scopes": []}}
    if token.app_id != context.app.id:
        raise bad_parameter("The App_id in the input_token did not match the Viewing App")
    return {"data": {**_known(context, token), **_validity(context, token)}}


def _known(context: Context, token: Token) -> dict[str, Any]:
    return {
        "app_id": token.app_id,
        "type": token.type,
        "application": f"App {token.app_id}",
        "data_access_expires_at": 0,
        "expires_at": token.expires_at,
        "issued_at": token.issued_at,
        "scopes": list(token.scopes),
        "granular_scopes": [_granular(context, token, scope) for scope in token.scopes],
        **({"user_id": token.user_id} if token.user_id else {}),
    }


def _granular(context: Context, token: Token, scope: str) -> dict[str, Any]:
    """A scope with what it was granted for, newest first; without it holds for all that the user has."""
    if token.waba_ids is None:
        return {"scope": scope}
    reached = [waba_id for waba_id in token.waba_ids if not context.world.waba(waba_id).gone]
    if scope.startswith("whatsapp"):
        return {"scope": scope, "target_ids": reached}
    owners = dict.fromkeys(context.world.waba(waba_id).business_id for waba_id in reached)
    return {"scope": scope, "target_ids": list(owners)}


def _validity(context: Context, token: Token) -> dict[str, Any]:
    if context.world.is_revoked(token.text):
        message = "Error validating access token: The session has been invalidated."
        return {"is_valid": False, "error": {"code": 190, "message": message, "subcode": 460}}
    if context.world.token(token.text) is None:
        message = "Error validating access token: Session has expired."
        return {"is_valid": False, "error": {"code": 190, "message": message, "subcode": 463}}
    return {"is_valid": True}


def _business_of(context: Context, token: Token) -> str:
    """The business whose user a token's user is."""
    if token.waba_ids:
        return context.world.waba(token.waba_ids[0]).business_id
    return context.world.business.id


ME = NodeType[dict[str, Any]](
    name="User",
    fields={
        "id": lambda user: user["id"],
        "name": lambda user: user["name"],
        "client_business_id": lambda user: user["business"],
    },
    defaults=("id", "name"),
)


def me(context: Context, asked: NodeInput) -> dict[str, Any]:
    """Whose token it is.

    https://developers.facebook.com/docs/graph-api/overview#me
    """
    token = context.token
    if token is None or not token.user_id:
        raise GraphError(
            message="An active access token must be used to query information about the current user.",
            code=2500,
        )
    name = system_users(context.world).get(token.user_id, f"Integration of {token.app_id}")
    user = {"id": token.user_id, "name": name, "business": _business_of(context, token)}
    return ME.render(user, fields_asked(asked.fields))


ROUTES = (
    *(
        Route(
            name=f"oauth.access_token.{method.lower()}",
            method=method,
            path="/oauth/access_token",
            handler=access_token,
            input=AccessTokenInput,
            capability="onboarding",
            scopes=(),
            client=True,
        )
        for method in ("GET", "POST")
    ),
    Route(
        name="debug_token",
        method="GET",
        path="/debug_token",
        handler=debug_token,
        input=DebugInput,
        capability="onboarding",
        scopes=(),
    ),
    Route(
        name="me",
        method="GET",
        path="/me",
        handler=me,
        input=NodeInput,
        capability="onboarding",
        scopes=(),
    ),
)

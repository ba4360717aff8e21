"""Tokens: what the Graph knows about one."""

from __future__ import annotations

from typing import Any

from wabajobs.simulator.inputs import Input, Text
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import WORLD_EPOCH

_SCOPES = ["business_management", "whatsapp_business_management", "whatsapp_business_messaging"]


class DebugInput(Input):
    input_token: Text


def debug_token(context: Context, asked: DebugInput) -> dict[str, Any]:
    """GET /debug_token"""
    return {"data": _known(context, asked.input_token)}


def _known(context: Context, token: str) -> dict[str, Any]:
    app = context.world.app_of(token)
    if app is None:
        revoked = context.world.is_revoked(token)
        error: dict[str, Any] = {"code": 190, "message": "Malformed access token"}
        if revoked:
            error = {"code": 190, "message": "The session has been invalidated.", "subcode": 460}
        return {"error": error, "is_valid": False, "scopes": []}
    return {
        "app_id": app.id,
        "type": "SYSTEM_USER" if token == app.token else "APP",
        "application": f"App {app.id}",
        "data_access_expires_at": 0,
        "expires_at": 0,
        "is_valid": True,
        "issued_at": WORLD_EPOCH,
        "scopes": _SCOPES,
        "granular_scopes": [{"scope": scope} for scope in _SCOPES],
    }


ROUTES = (
    Route(
        name="debug_token",
        method="GET",
        path="/debug_token",
        handler=debug_token,
        input=DebugInput,
        capability="onboarding",
        scopes=(),
    ),
)

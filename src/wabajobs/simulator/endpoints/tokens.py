"""Tokens: what the Graph knows about one."""

from __future__ import annotations

import json
from typing import Any

from wabajobs.simulator.errors import bad_parameter
from wabajobs.simulator.routes import Context
from wabajobs.simulator.world import WORLD_EPOCH

_SCOPES = ["business_management", "whatsapp_business_management", "whatsapp_business_messaging"]


def debug_token(context: Context) -> bytes:
    """GET /debug_token"""
    asked = context.call.parameters.one("input_token")
    if not asked:
        raise bad_parameter("The parameter input_token is required")
    return json.dumps({"data": _known(context, asked)}).encode()


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

"""The simulator's own description in OpenAPI 3.1, from the same data by which it checks calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wabajobs.simulator.routes import Route
from wabajobs.simulator.world import World

_IDS_MOST = 5
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "fbtrace_id"],
            "properties": {
                "message": {"type": "string"},
                "type": {"enum": ["OAuthException", "GraphMethodException", "GraphBatchException"]},
                "code": {"type": "integer"},
                "error_subcode": {"type": "integer"},
                "is_transient": {"type": "boolean"},
                "error_user_title": {"type": "string"},
                "error_user_msg": {"type": "string"},
                "error_data": {"type": ["object", "string"]},
                "fbtrace_id": {"type": "string"},
            },
        }
    },
}


def described(routes: Iterable[Route], world: World, *, url: str) -> dict[str, Any]:
    """The description of these endpoints, with ids of this world to try them with."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Error": _ERROR}
    for route in routes:
        path = f"/{{version}}{route.path}"
        item = paths.setdefault(path, {"parameters": _path_parameters(route, world)})
        item[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "A Graph API for managing WhatsApp Business Accounts, simulated", "version": "1"},
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _path_parameters(route: Route, world: World) -> list[dict[str, Any]]:
    version = {"type": "string", "pattern": r"^v\d{2}\.0$", "examples": ["v23.0"]}
    found = [_parameter("version", "path", version, required=True)]
    if route.kind:
        ids = _ids(world, route.kind)
        schema: dict[str, Any] = {"type": "string", "minLength": 1, "pattern": "^[0-9A-Za-z:_-]+$"}
        found.append(_parameter(route.kind, "path", {"enum": ids} if ids else schema, required=True))
    return found


def _ids(world: World, kind: str) -> list[str]:
    if kind == "template":
        return [template.id for waba in world.waba_ids[:2] for template in world.templates(waba)[:_IDS_MOST]]
    return [node_id for node_id, node in world.nodes.items() if node.kind == kind][:_IDS_MOST]


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = route.input.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schema.pop("title", None)
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.capability],
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": {}}}},
            "default": {
                "description": "An error",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if summary := (route.handler.__doc__ or "").strip().partition("\n")[0]:
        operation["summary"] = summary
    if route.method == "POST":
        operation["requestBody"] = {"content": _contents(route, schema)}
    else:
        required = schema.get("required", ())
        operation["parameters"] = [
            _parameter(name, "query", one, required=name in required)
            for name, one in schema.get("properties", {}).items()
        ]
    return operation


def _contents(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    if route.sends == "binary":
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if route.sends == "multipart":
        properties = {**schema.get("properties", {}), "file": {"type": "string", "format": "binary"}}
        return {"multipart/form-data": {"schema": {**schema, "properties": properties}}}
    return {"application/json": {"schema": schema}, "application/x-www-form-urlencoded": {"schema": schema}}


def _parameter(name: str, place: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if key != "title"}
    return {"name": name, "in": place, "required": required, "schema": schema}

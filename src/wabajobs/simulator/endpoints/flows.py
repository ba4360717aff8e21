"""WhatsApp Flows.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from wabajobs.simulator.endpoints.accounts import WABA, account_of, words
from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.fields import NodeType, fields_asked
from wabajobs.simulator.inputs import Flag, Input, ListInput, NodeInput, Text, Words
from wabajobs.simulator.reading import edge_read, node_read
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Flow, Waba, flows

FILE_MOST = 10 * 1024 * 1024
"""Bytes of a flow's JSON."""

Category = Literal[
    "SIGN_UP",
    "SIGN_IN",
    "APPOINTMENT_BOOKING",
    "LEAD_GENERATION",
    "SHOPPING",
    "CONTACT_US",
    "CUSTOMER_SUPPORT",
    "SURVEY",
    "OTHER",
]
Categories = Annotated[list[Category], BeforeValidator(words), Field(min_length=1)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Uri = Annotated[Text, Field(pattern=r"^https?://[^\s]+$", max_length=2000)]


# Reading


class _Shown(NamedTuple):
    """A flow and what its fields need besides."""

    flow: Flow
    waba: dict[str, Any]


def _view(context: Context, flow: Flow) -> _Shown:
    account = account_of(context, context.world.seen(context.world.waba(flow.waba_id), context.as_of))
    return _Shown(flow, WABA.render(account, ()))


def _health(shown: _Shown) -> dict[str, Any]:
    word = {"PUBLISHED": "AVAILABLE", "THROTTLED": "LIMITED"}.get(shown.flow.status, "BLOCKED")
    return {
        "can_send_message": word,
        "entities": [{"entity_type": "FLOW", "id": shown.flow.id, "can_send_message": word}],
    }


def _application(shown: _Shown) -> dict[str, Any] | None:
    app = shown.flow.application_id
    if app is None:
        return None
    return {"id": app, "name": f"App {app}", "link": f"https://www.facebook.com/games/?app_id={app}"}


def _preview(shown: _Shown) -> dict[str, Any]:
    flow = shown.flow
    return {
        "preview_url": f"https://business.facebook.com/wa/manage/flows/{flow.id}/preview/?token={flow.preview_token}",
        "expires_at": _moment(flow.preview_until),
    }


def _moment(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


FLOW = NodeType[_Shown](
    name="WhatsAppFlow",
    fields={
        "id": lambda one: one.flow.id,
        "name": lambda one: one.flow.name,
        "status": lambda one: one.flow.status,
        "categories": lambda one: list(one.flow.categories),
        "validation_errors": lambda one: list(one.flow.errors),
        "json_version": lambda one: one.flow.json_version,
        "data_api_version": lambda one: one.flow.data_api_version,
        "endpoint_uri": lambda one: one.flow.endpoint_uri,
        "data_channel_uri": lambda one: one.flow.endpoint_uri,
        "preview": _preview,
        "health_status": _health,
        "updated_at": lambda one: _moment(one.flow.updated_at),
        "whatsapp_business_account": lambda one: one.waba,
        "application": _application,
    },
    defaults=("id", "name", "status", "categories", "validation_errors"),
    kind="flow",
)


def _refreshed(context: Context, asked: NodeInput, listed: Sequence[Flow]) -> None:
    """Make the links of previews that are asked for: `preview.invalidate(true)` ends the link before."""
    for field in fields_asked(asked.fields):
        if field.name == "preview":
            anew = dict(field.modifiers).get("invalidate", "false").lower() == "true"
            for flow in listed:
                flows.refresh_preview(context.world, flow, invalidate=anew)


_read_one = node_read(FLOW, Flow, view=_view)


def read(context: Context, asked: NodeInput) -> Any:
    """A flow."""
    _refreshed(context, asked, [context.the(Flow)])
    return _read_one(context, asked)


def _listed(context: Context, asked: ListInput) -> Sequence[Flow]:
    found = flows.of_waba(context.world, context.seen(Waba))
    _refreshed(context, asked, found)
    return found


# Making and changing


class CreateInput(Input):
    name: Name
    categories: Categories
    flow_json: Text | None = Field(default=None, description="The flow's JSON as text")
    publish: Flag | None = Field(default=None, description="Publish it at once; needs a good flow_json")
    clone_flow_id: Text | None = Field(default=None, description="A flow whose JSON is copied")
    endpoint_uri: Uri | None = Field(default=None, description="Where a flow that exchanges data sends it")


class ChangeInput(Input):
    name: Name | None = None
    categories: Categories | None = None
    endpoint_uri: Uri | None = None
    application_id: Text | None = Field(default=None, min_length=1, description="The app that is connected")


def create(context: Context, asked: CreateInput) -> dict[str, Any]:
    """Create a flow."""
    waba = context.the(Waba)
    if asked.flow_json is not None and len(asked.flow_json) > FILE_MOST:
        raise bad_parameter("Param flow_json must have 10 MB at most")
    flow = flows.create(
        context.world,
        waba,
        name=asked.name,
        categories=tuple(dict.fromkeys(asked.categories)),
        json=asked.flow_json,
        clone=_reached(context, asked.clone_flow_id) if asked.clone_flow_id else None,
        endpoint_uri=asked.endpoint_uri,
        application_id=context.app.id,
        publish=bool(asked.publish),
    )
    context.effect("flow_created", f"{waba.id}/{flow.name}", flow=flow.id)
    if flow.status == "PUBLISHED":
        context.effect("flow_published", flow.id)
    if asked.flow_json is None and not asked.publish:
        return {"id": flow.id}
    success = not asked.publish or flow.status == "PUBLISHED"
    return {"id": flow.id, "success": success, "validation_errors": list(flow.errors)}


def _reached(context: Context, flow_id: str) -> Flow:
    node = context.world.node(flow_id)
    if not isinstance(node, Flow) or context.token is None or not context.world.may(context.token, node):
        raise GraphError(
            message="Invalid parameter",
            code=100,
            user_title="Flow with specified ID does not exist",
            user_message=f"There is no Flow {flow_id} that you have access to.",
        )
    return node


def change(context: Context, asked: ChangeInput) -> dict[str, Any]:
    """Change a flow's name, categories, endpoint or app."""
    flow = context.the(Flow)
    changes = asked.model_dump(exclude_none=True)
    if asked.categories is not None:
        changes["categories"] = tuple(dict.fromkeys(asked.categories))
    if asked.application_id is not None and context.world.app_by_id(asked.application_id) is None:
        raise bad_parameter("Param application_id must be the id of an app")
    name = flow.name
    if flows.change(context.world, flow, changes):
        context.effect("flow_updated", flow.id, changed=sorted(changes))
        if flow.name != name:
            context.effect("flow_renamed", f"{flow.waba_id}/{name}", flow=flow.id)
    else:
        context.remarks.idle = True
    return {"success": True}


# The JSON


class UploadInput(Input):
    name: Text = Field(description="flow.json")
    asset_type: Literal["FLOW_JSON"]


ASSET = NodeType[dict[str, Any]](
    name="WhatsAppFlowAsset",
    fields={
        "name": lambda one: one["name"],
        "asset_type": lambda one: one["asset_type"],
        "download_url": lambda one: one["download_url"],
    },
    defaults=("name", "asset_type", "download_url"),
)


def _assets(context: Context, _asked: ListInput) -> Sequence[dict[str, Any]]:
    flow = context.seen(Flow)
    if flow.json is None:
        return []
    url = f"{context.base_url}/_simulator/flow_json/{flow.id}?version={flows.digest(flow)}"
    return [{"name": "flow.json", "asset_type": "FLOW_JSON", "download_url": url}]


def upload(context: Context, _asked: UploadInput) -> dict[str, Any]:
    """Give a flow its JSON, as a file; one with errors is kept too."""
    flow = context.the(Flow)
    file = context.parameters.files.get("file")
    if file is None:
        raise bad_parameter("The parameter file is required.")
    if len(file.content) > FILE_MOST:
        raise bad_parameter("Param file must have 10 MB at most")
    if flows.put_json(context.world, flow, file.content.decode("utf-8-sig", "replace")):
        context.effect("flow_updated", flow.id, changed=["json"])
    else:
        context.remarks.idle = True
    return {"success": True, "validation_errors": list(flow.errors)}


# The life of it


def publish(context: Context, _asked: Input) -> dict[str, Any]:
    """Publish a draft."""
    flow = context.the(Flow)
    context.remarks.idle = flow.status == "PUBLISHED"
    flows.publish(context.world, flow)
    context.effect("flow_published", flow.id)
    return {"success": True}


def deprecate(context: Context, _asked: Input) -> dict[str, Any]:
    """Deprecate a published flow, for ever."""
    flow = context.the(Flow)
    context.remarks.idle = flow.status == "DEPRECATED"
    flows.deprecate(context.world, flow)
    context.effect("flow_deprecated", flow.id)
    return {"success": True}


def delete(context: Context, _asked: Input) -> dict[str, Any]:
    """Delete a draft."""
    flow = context.the(Flow)
    flows.delete(context.world, flow)
    context.effect("flow_deleted", f"{flow.waba_id}/{flow.name}", flow=flow.id)
    return {"success": True}


class MigrateInput(Input):
    source_waba_id: Text = Field(description="The WABA whose flows are copied")
    source_flow_names: Words | None = Field(default=None, description="At most 100; none: all, at most 100")


def migrate(context: Context, asked: MigrateInput) -> dict[str, Any]:
    """Copy flows of another WABA of the same business."""
    source, destination = context.world.node(asked.source_waba_id), context.the(Waba)
    if not isinstance(source, Waba) or context.token is None or not context.world.may(context.token, source):
        raise bad_parameter("Param source_waba_id must be the id of a WhatsApp Business Account of yours")
    migrated, failed = flows.migrate(context.world, destination, source, asked.source_flow_names)
    for one in migrated:
        context.effect("flow_migrated", f"{destination.id}/{one.copy.name}", flow=one.copy.id)
    return {
        "migrated_flows": [
            {"source_name": one.source.name, "source_id": one.source.id, "migrated_id": one.copy.id}
            for one in migrated
        ],
        "failed_flows": [
            {"source_name": one.name, "error_code": one.code, "error_message": one.message} for one in failed
        ],
    }


ROUTES = (
    Route(
        name="flows.list",
        method="GET",
        path="/{waba}/flows",
        handler=edge_read(FLOW, _listed, view=_view),
        input=ListInput,
        capability="flows",
    ),
    Route(
        name="flows.create",
        method="POST",
        path="/{waba}/flows",
        handler=create,
        input=CreateInput,
        capability="flows",
    ),
    Route(
        name="flows.migrate",
        method="POST",
        path="/{waba}/migrate_flows",
        handler=migrate,
        input=MigrateInput,
        capability="flows",
    ),
    Route(name="flow.get", method="GET", path="/{flow}", handler=read, input=NodeInput, capability="flows"),
    Route(
        name="flow.change", method="POST", path="/{flow}", handler=change, input=ChangeInput, capability="flows"
    ),
    Route(name="flow.delete", method="DELETE", path="/{flow}", handler=delete, capability="flows"),
    Route(
        name="flow.assets",
        method="GET",
        path="/{flow}/assets",
        handler=edge_read(ASSET, _assets),
        input=ListInput,
        capability="flows",
    ),
    Route(
        name="flow.upload",
        method="POST",
        path="/{flow}/assets",
        handler=upload,
        input=UploadInput,
        capability="flows",
        sends="multipart",
    ),
    Route(name="flow.publish", method="POST", path="/{flow}/publish", handler=publish, capability="flows"),
    Route(name="flow.deprecate", method="POST", path="/{flow}/deprecate", handler=deprecate, capability="flows"),
)

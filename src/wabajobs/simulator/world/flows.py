"""WhatsApp Flows: made, edited, published, deprecated, deleted, copied to another WABA.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
https://developers.facebook.com/docs/whatsapp/flows/reference/lifecycle
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.world import flow_json
from wabajobs.simulator.world.nodes import Flow, Waba

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

STATUSES = ("DRAFT", "PUBLISHED", "DEPRECATED", "THROTTLED", "BLOCKED")
MIGRATED_MOST = 100
"""Flows that one call copies."""

_PREVIEW_SECONDS = 30 * 86_400
_LIVE = ("PUBLISHED", "THROTTLED")


def of_waba(world: World, waba: Waba) -> list[Flow]:
    """A WABA's flows, oldest first."""
    nodes = (world.nodes.get(flow_id) for flow_id in waba.flow_ids)
    return [node for node in nodes if isinstance(node, Flow)]


def digest(flow: Flow) -> str:
    """What tells one version of a flow's JSON from another."""
    return hashlib.sha256((flow.json or "").encode("utf-8", "surrogatepass")).hexdigest()[:32]


def create(
    world: World,
    waba: Waba,
    *,
    name: str,
    categories: tuple[str, ...],
    json: str | None = None,
    clone: Flow | None = None,
    endpoint_uri: str | None = None,
    application_id: str | None = None,
    publish: bool = False,
) -> Flow:
    """A new flow, a draft; published at once if that is wanted and its JSON is good."""
    _check_name(world, waba, name)
    text = clone.json if json is None and clone else json
    checked = flow_json.check(text) if text is not None else flow_json.Checked()
    flow = Flow(
        id=world.fresh_id(),
        waba_id=waba.id,
        name=name,
        categories=categories,
        json=text,
        errors=checked.errors,
        json_version=checked.version,
        data_api_version=checked.data_api_version,
        endpoint_uri=endpoint_uri or (clone.endpoint_uri if clone else None),
        application_id=application_id,
        updated_at=int(world.unix()),
    )
    if publish and text is None:
        raise bad_parameter("Param publish needs a flow_json.")
    if publish and not flow.errors:
        # Refused before there is a flow: a call that fails leaves nothing behind.
        _check_publishable(world, flow)
    world.add(flow)
    world.change(waba).flow_ids = (*waba.flow_ids, flow.id)
    if publish and not flow.errors:
        _set_status(world, flow, "PUBLISHED")
    return flow


def change(world: World, flow: Flow, changes: dict[str, Any]) -> bool:
    """Change a flow's name, categories, endpoint or app; whether anything became different.

    A published flow becomes a draft by any change, as by a new JSON.
    """
    _check_editable(world, flow)
    if all(getattr(flow, name) == value for name, value in changes.items()):
        return False
    if changes.get("name", flow.name) != flow.name:
        _check_name(world, world.waba(flow.waba_id), changes["name"])
    world.change(flow)
    for name, value in changes.items():
        setattr(flow, name, value)
    _edited(world, flow)
    return True


def put_json(world: World, flow: Flow, text: str) -> bool:
    """Give a flow another JSON, good or not; whether anything became different."""
    _check_editable(world, flow)
    if flow.json == text and flow.status == "DRAFT":
        return False
    checked = flow_json.check(text)
    world.change(flow)
    flow.json, flow.errors = text, checked.errors
    flow.json_version, flow.data_api_version = checked.version, checked.data_api_version
    _edited(world, flow)
    return True


def publish(world: World, flow: Flow) -> None:
    """Publish a draft."""
    _check_integrity(flow)
    _check_publishable(world, flow)
    _set_status(world, flow, "PUBLISHED")


def deprecate(world: World, flow: Flow) -> None:
    """Deprecate a flow that is published, or that Meta throttles or blocks; for ever."""
    if flow.status == "DEPRECATED":
        raise _state_error(139003, "Deprecating Flow in invalid state", "The Flow is deprecated already.")
    if flow.status == "DRAFT":
        raise _state_error(139003, "Deprecating Flow in invalid state", "The Flow was never published.")
    _set_status(world, flow, "DEPRECATED")


def delete(world: World, flow: Flow) -> None:
    """Delete a draft."""
    if flow.status != "DRAFT":
        raise _state_error(139004, "Deleting published Flow", "Only a Flow that is a draft can be deleted.")
    waba = world.change(world.waba(flow.waba_id))
    waba.flow_ids = tuple(one for one in waba.flow_ids if one != flow.id)
    del world.nodes[flow.id]


def set_status(world: World, flow: Flow, status: str) -> None:
    """Give a flow another status, as Meta's monitoring would."""
    if status not in STATUSES:
        raise ValueError(f"a flow's status is one of {', '.join(STATUSES)}")
    _set_status(world, flow, status)


def refresh_preview(world: World, flow: Flow, *, invalidate: bool) -> None:
    """See that a flow's preview has a link that is valid; `invalidate`: a new one."""
    if invalidate or flow.preview_until <= world.unix():
        world.change(flow).preview_token = world.fresh_text(32)
        flow.preview_until = int(world.unix()) + _PREVIEW_SECONDS


class Migrated(NamedTuple):
    """A flow that was copied."""

    source: Flow
    copy: Flow


class Failed(NamedTuple):
    """A flow that was not copied, and why."""

    name: str
    code: str
    message: str


def migrate(
    world: World, destination: Waba, source: Waba, names: list[str] | None
) -> tuple[list[Migrated], list[Failed]]:
    """Copy flows of a WABA of the same business: those of these names, or as many as one call copies.

    A copy of a published flow is published, any other is a draft.
    """
    if source is destination or source.business_id != destination.business_id:
        raise bad_parameter("The source and the destination must be two accounts of the same business")
    if names is not None and len(names) > MIGRATED_MOST:
        raise bad_parameter(f"Param source_flow_names must have {MIGRATED_MOST} names at most")
    flows = of_waba(world, source)
    by_name = {flow.name: flow for flow in flows}
    taken = {flow.name for flow in of_waba(world, destination)}
    wanted = [flow.name for flow in flows[:MIGRATED_MOST]] if names is None else list(dict.fromkeys(names))
    migrated, failed = [], []
    for name in wanted:
        if name not in by_name:
            failed.append(Failed(name, "4233041", "There is no Flow of this name in the source account"))
        elif name in taken:
            failed.append(Failed(name, "4233041", "A Flow of this name is in the destination account already"))
        else:
            migrated.append(Migrated(by_name[name], _copied(world, by_name[name], destination)))
    return migrated, failed


def _copied(world: World, flow: Flow, destination: Waba) -> Flow:
    copy = Flow(
        id=world.fresh_id(),
        waba_id=destination.id,
        name=flow.name,
        categories=flow.categories,
        status="PUBLISHED" if flow.status == "PUBLISHED" else "DRAFT",
        json=flow.json,
        errors=flow.errors,
        json_version=flow.json_version,
        data_api_version=flow.data_api_version,
        endpoint_uri=flow.endpoint_uri,
        application_id=flow.application_id,
        updated_at=int(world.unix()),
    )
    world.add(copy)
    world.change(destination).flow_ids = (*destination.flow_ids, copy.id)
    return copy


def _check_name(world: World, waba: Waba, name: str) -> None:
    if any(flow.name == name for flow in of_waba(world, waba)):
        raise GraphError(
            message="Invalid parameter",
            code=100,
            user_title="Flow name is not unique",
            user_message="A Flow of this name exists in the WhatsApp Business Account already.",
            data={"blame_field_specs": [["name"]]},
        )


def _check_integrity(flow: Flow) -> None:
    if flow.status == "BLOCKED":
        raise _state_error(139000, "Blocked by integrity", "Meta has blocked the Flow for what it does.")


def _check_editable(world: World, flow: Flow) -> None:
    _check_integrity(flow)
    if flow.status == "DEPRECATED":
        raise _state_error(139001, "Flow can't be updated", "A deprecated Flow cannot be changed.")
    numbers = world.waba(flow.waba_id).numbers
    if flow.status in _LIVE and any(number.platform == "ON_PREMISE" for number in numbers):
        raise _state_error(
            139001,
            "Flow can't be updated",
            "A published Flow of an account with On-Premises numbers stays as it is.",
        )


def _check_publishable(world: World, flow: Flow) -> None:
    waba = world.waba(flow.waba_id)
    problem = None
    if flow.status != "DRAFT":
        problem = "The Flow is not a draft."
    elif flow.json is None:
        problem = "The Flow has no JSON."
    elif flow.errors:
        problem = "The Flow's JSON has validation errors."
    elif not waba.active:
        problem = "The WhatsApp Business Account has no registered phone number."
    elif flow.data_api_version and not flow.endpoint_uri:
        problem = "The Flow exchanges data and has no endpoint_uri."
    elif flow.data_api_version and not flow.application_id:
        problem = "The Flow exchanges data and no app is connected."
    elif (flow.endpoint_uri or flow.data_api_version) and not any(
        number.registered and number.public_key_signed for number in waba.numbers
    ):
        problem = "The Flow has an endpoint, and no phone number has a valid public key."
    if problem:
        raise _state_error(139002, "Publishing Flow in invalid state", problem)


def _state_error(code: int, title: str, reason: str) -> GraphError:
    return GraphError(
        message=f"(#{code}) {title}", code=code, is_transient=False, user_title=title, user_message=reason
    )


def _edited(world: World, flow: Flow) -> None:
    """A flow that users see becomes a draft when it is edited; they see the published version until the next."""
    flow.updated_at = int(world.unix())
    if flow.status in _LIVE:
        _set_status(world, flow, "DRAFT")


def _set_status(world: World, flow: Flow, status: str) -> None:
    """Another status, and the webhook that tells it.

    https://developers.facebook.com/docs/whatsapp/flows/reference/flowswebhooks
    """
    before = flow.status
    if status == before:
        return
    world.change(flow).status = status
    flow.updated_at = int(world.unix())
    told = {
        "event": "FLOW_STATUS_CHANGE",
        "message": f"Flow {flow.name} changed status from {before} to {status}",
        "flow_id": flow.id,
        "old_status": before,
        "new_status": status,
    }
    world.publish(world.waba(flow.waba_id), "flows", told)

"""`flow_publish`: make a WhatsApp Flow and publish it, change one, deprecate one, delete one.

A new flow with its JSON is made and published in one call. A name is unique in a WABA, so whether that has
happened is read back from the list. What Meta finds wrong in the JSON fails the operation, with Meta's words;
nothing is published then, and what was made is a draft.

Sources: developers.facebook.com/docs/whatsapp/flows/reference/{flowsapi,lifecycle,error-codes}.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import Conflict, FaultsFound, InvalidCall, Transient, WrongState
from wabajobs.kinds.inputs import MetaId
from wabajobs.kinds.kind import Kind, Payload, PlannedCall, Step
from wabajobs.kinds.work import Method, Work
from wabajobs.media import MediaSource

LARGEST: Final = 10 * 1024 * 1024
"""Bytes of a flow's JSON."""
_SCREENS: Final = 100
_PAGE: Final = 100
_META: Final = ("name", "categories", "endpoint_uri")
_NO_OBJECT: Final = 33
_NOT_NOW, _NOT_PUBLISHED, _NOT_DEPRECATED, _NOT_DELETED = 139001, 139002, 139003, 139004

Facts = dict[str, Any]
Category = Literal[
    "SIGN_UP",
    "SIGN_IN",
    "APPOINTMENT_BOOKING",
    "LEAD_GENERATION",
    "CONTACT_US",
    "CUSTOMER_SUPPORT",
    "SURVEY",
    "SHOPPING",
    "OTHER",
]


def _flow_json(value: object) -> MediaSource:
    """Return a flow's JSON as a file: it is put aside, and its payload does not hold it.

    Of its content only the outline is looked at: Meta checks the rest.
    """
    text = _text_of(value)
    content = text.encode()
    if len(content) > LARGEST:
        raise ValueError(f"a flow's JSON has at most {LARGEST} bytes")
    flow = _parsed(text)
    if not isinstance(flow, dict) or not isinstance(flow.get("version"), str):
        raise ValueError("a flow is an object with a version, such as 7.1")
    screens = flow.get("screens")
    if not isinstance(screens, list) or not 0 < len(screens) <= _SCREENS:
        raise ValueError(f"a flow has 1 to {_SCREENS} screens")
    return MediaSource(data=content)


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {"file"}:
        content = MediaSource.model_validate(value).content or b""
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("it is not JSON: it is not UTF-8 text") from None
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is not JSON: it is nested too deeply") from None


def _each_once(categories: list[Category]) -> list[Category]:
    return list(dict.fromkeys(categories))


class Wanted(BaseModel, extra="forbid"):
    """What a request may say."""

    action: Literal["publish", "update", "deprecate", "delete"] = "publish"
    """`publish` makes a flow, or changes one, and publishes it; `update` changes one and leaves it a draft."""
    flow: MetaId | None = None
    """One that is there; without it a new one is made."""
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = None
    categories: Annotated[list[Category], Field(min_length=1), AfterValidator(_each_once)] | None = None
    flow_json: Annotated[MediaSource, BeforeValidator(_flow_json)] | None = None
    """As an object, as text, or as `{"file": path}`."""
    clone_flow: MetaId | None = None
    """A flow whose JSON a new one gets."""
    endpoint_uri: Annotated[str, StringConstraints(pattern=r"^https://\S+$", max_length=2000)] | None = None
    """Where a flow that exchanges data sends it."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Wanted":
        told = {
            name
            for name in ("name", "categories", "flow_json", "clone_flow", "endpoint_uri")
            if getattr(self, name) is not None
        }
        if self.action in ("deprecate", "delete"):
            _require(self.flow, f"to {self.action} a flow takes its id (flow)")
            _require(not told, f"to {self.action} a flow takes its id and nothing else")
        elif self.flow:
            _require(not self.clone_flow, "only a new flow can be a clone of another")
            _require(told or self.action == "publish", "say what is to be updated")
        else:
            _require(self.action == "publish", "to update a flow takes its id (flow)")
            _require(self.name and self.categories, "a new flow needs a name and categories")
            _require(bool(self.flow_json) != bool(self.clone_flow), "a new flow needs flow_json or clone_flow")
            flow = _parsed(((self.flow_json and self.flow_json.content) or b"{}").decode())
            _require(
                self.endpoint_uri or "data_api_version" not in flow,
                "a flow that exchanges data (data_api_version) needs an endpoint_uri",
            )
        return self


def _require(truth: object, otherwise: str) -> None:
    if not truth:
        raise ValueError(otherwise)


# ── a new one ────────────────────────────────────────────────────────────────────────────────────────────────


def _create(work: Work) -> Facts:
    """Make a flow; with its JSON it is published in the same call."""
    wanted = work.operation.payload
    content = {"clone_flow_id": wanted.get("clone_flow")}
    if "flow_json" in wanted:
        content = {"flow_json": _text(work).decode(), "publish": True}
    fields = {
        "name": wanted["name"],
        "categories": wanted["categories"],
        "endpoint_uri": wanted.get("endpoint_uri"),
    }
    try:
        made = work.graph.post(
            f"{work.operation.waba}/flows", **{k: v for k, v in (fields | content).items() if v is not None}
        )
    except InvalidCall:
        if there := _named(work):
            raise Conflict(
                f"flow {there['id']} has this name already, and a name is unique in a WABA: give it as `flow` to"
                " change it, or choose another name",
                {"flow": {"there": there, "asked": None}},
            ) from None
        raise
    except WrongState as error:
        _refused(error)
    if "id" not in made:
        raise Transient("Meta's answer does not say which flow it has made")
    faults = made.get("validation_errors") or []
    return {"flow": made["id"], **_told(faults, published="publish" in content and made.get("success") is True)}


def _made(work: Work) -> Facts | None:
    """Look for the flow by its name."""
    there = _named(work)
    if there is None:
        return None
    wanted = work.operation.payload
    asked = {name: wanted.get(name) for name in ("categories", "endpoint_uri")}
    asked["status"] = "PUBLISHED" if there.get("status") == "PUBLISHED" and "flow_json" in wanted else "DRAFT"
    differs = {
        name: {"there": there.get(name), "asked": one} for name, one in asked.items() if there.get(name) != one
    }
    if differs:
        raise Conflict(
            f"flow {there['id']} has this name, and is not the one that was to be made: {' and '.join(differs)}"
            " are other than asked for",
            differs,
        )
    faults = there.get("validation_errors") or []
    return {"flow": there["id"], **_told(faults, published=there.get("status") == "PUBLISHED")}


def _told(faults: list[Any], *, published: bool) -> Facts:
    """Return the status as far as it is known, and the faults where there are some."""
    return {
        "status": "PUBLISHED" if published and not faults else "DRAFT",
        **({"faults": faults} if faults else {}),
    }


def _named(work: Work) -> Facts | None:
    """Return the WABA's flow of this name, None when there is none."""
    return next((one for one in _flows(work) if one.get("name") == work.operation.payload["name"]), None)


def _flows(work: Work) -> Iterator[Facts]:
    after = None
    while True:
        fields = "id,name,status,categories,endpoint_uri,validation_errors"
        page = work.graph.get(f"{work.operation.waba}/flows", fields=fields, limit=_PAGE, after=after)
        yield from page.get("data", ())
        paging = page.get("paging") or {}
        after = paging.get("cursors", {}).get("after")
        if "next" not in paging or not after:
            return


# ── one that is there ────────────────────────────────────────────────────────────────────────────────────────


def _flow(work: Work) -> str:
    """Return the flow's id."""
    return str(work.operation.payload.get("flow") or work.results["flow"])


def _change(work: Work) -> Facts:
    """Change name, categories and endpoint. It may be said again. A published flow becomes a draft by it."""
    fields = {name: work.operation.payload.get(name) for name in _META}
    try:
        work.graph.post(_flow(work), **{name: value for name, value in fields.items() if value is not None})
    except WrongState as error:
        _refused(error)
    return {"flow": _flow(work), "status": "DRAFT"}


def _upload(work: Work) -> Facts:
    """Give the flow its JSON; the same may be given again. Meta keeps also one with faults."""
    try:
        answer = _send_json(work)
    except WrongState as error:
        # "Saved, but its processing has failed" has the same code as "cannot be updated": Meta wants to be asked
        # the same once more, https://developers.facebook.com/docs/whatsapp/flows/reference/error-codes
        if error.code != _NOT_NOW or "again" in work.progress():
            _refused(error)
        work.keep({"again": True})
        return _upload(work)
    if faults := answer.get("validation_errors"):
        raise _faulty(faults)
    return {"flow": _flow(work), "status": "DRAFT"}


def _send_json(work: Work) -> Facts:
    return work.graph.send(
        "POST",
        f"{_flow(work)}/assets",
        form={"name": "flow.json", "asset_type": "FLOW_JSON"},
        file=("flow.json", "application/json", _text(work)),
    )


def _text(work: Work) -> bytes:
    """Return the flow's JSON, which has been put aside."""
    return work.media.read(work.operation.payload["flow_json"]["sha256"])


# ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────


def _publish(work: Work) -> Facts:
    """Publish the draft, unless that came with its making."""
    if faults := work.results.get("faults"):
        raise _faulty(faults)
    if work.results.get("status") == "PUBLISHED":
        return {}
    return _move(work, "POST", "/publish", to="PUBLISHED", refused=_NOT_PUBLISHED)


def _deprecate(work: Work) -> Facts:
    """Deprecate the flow, for ever."""
    return _move(work, "POST", "/deprecate", to="DEPRECATED", refused=_NOT_DEPRECATED)


def _move(work: Work, method: Method, edge: str, *, to: str, refused: int) -> Facts:
    """Give the flow another status. One that has it already is as it should be."""
    try:
        work.graph.send(method, f"{_flow(work)}{edge}")
    except WrongState as error:
        if error.code != refused:
            raise
        seen = work.graph.get(_flow(work), fields="status,validation_errors")
        if to == "PUBLISHED" and (faults := seen.get("validation_errors")):
            raise _faulty(faults) from None
        if seen.get("status") != to:
            _refused(error, status=seen.get("status"))
    return {"flow": _flow(work), "status": to}


def _is(status: str) -> Callable[[Work], Facts | None]:
    """Return a look at whether the flow has a status."""

    def look(work: Work) -> Facts | None:
        seen = work.graph.get(_flow(work), fields="status")
        return {"flow": _flow(work), "status": status} if seen.get("status") == status else None

    return look


def _delete(work: Work) -> Facts:
    """Delete the draft."""
    try:
        work.graph.delete(_flow(work))
    except WrongState as error:
        _refused(error)
    return {"flow": _flow(work), "status": "DELETED"}


def _deleted(work: Work) -> Facts | None:
    """Look whether the flow is gone."""
    try:
        work.graph.get(_flow(work), fields="status")
    except InvalidCall as error:
        if (error.code, error.subcode) != (100, _NO_OBJECT) and error.code != 803:
            raise
        return {"flow": _flow(work), "status": "DELETED"}
    return None


# ── what Meta says ───────────────────────────────────────────────────────────────────────────────────────────

_WHY: Final = {
    _NOT_NOW: "Meta does not let the flow be changed; one that is deprecated stays as it is, and so does a"
    " published one of a WABA with On-Premises numbers",
    _NOT_PUBLISHED: "Meta does not publish the flow; it must be a draft without faults, of a WABA with a"
    " registered number, and one with an endpoint needs an app and a number with a public key",
    _NOT_DEPRECATED: "Meta does not deprecate the flow; only a published one can be, a draft is deleted",
    _NOT_DELETED: "Meta does not delete the flow; only a draft can be, a published one is deprecated",
}


def _refused(error: WrongState, *, status: str | None = None) -> NoReturn:
    """Raise Meta's refusal in words that say what it takes."""
    why = _WHY.get(error.code or 0, error.message)
    now = f" (it is {status})" if status else ""
    raise replace(error, message=f"{why}{now}: {error.details or error.message}") from None


def _faulty(faults: list[Any]) -> FaultsFound:
    number = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    told = "; ".join(_in_words(one) for one in faults[:3] if isinstance(one, dict))
    return FaultsFound(f"Meta has found {number} in the flow's JSON, so the flow is a draft: {told}", faults)


def _in_words(fault: Facts) -> str:
    where = f"line {fault['line_start']}, " if fault.get("line_start") else ""
    return f"{where}{fault.get('message') or fault.get('error')}"


# ── the kind ─────────────────────────────────────────────────────────────────────────────────────────────────


def _call(method: Method, path: str) -> Callable[[Payload], tuple[PlannedCall, ...]]:
    return lambda _: (PlannedCall(method=method, path=path),)


def _is_new(payload: Payload) -> bool:
    return "flow" not in payload


def _touches(payload: Payload) -> str:
    named = hashlib.sha256(str(payload.get("name")).encode()).hexdigest()[:16]  # a lane's name is short
    return f"flow:{payload.get('flow') or named}"


KIND: Final = Kind(
    name="flow_publish",
    summary="make, change, publish, deprecate or delete a flow",
    payload=Wanted,
    steps=(
        Step(
            name="create",
            run=_create,
            capability=Capability.FLOWS,
            calls=_call("POST", "{waba}/flows"),
            when=_is_new,
            happens_once=True,
            reads_back=_made,
            undo="DELETE /{flow}, as long as it is a draft",
        ),
        Step(
            name="change",
            run=_change,
            capability=Capability.FLOWS,
            calls=_call("POST", "{flow}"),
            when=lambda payload: not _is_new(payload) and any(name in payload for name in _META),
        ),
        Step(
            name="upload",
            run=_upload,
            capability=Capability.FLOWS,
            calls=_call("POST", "{flow}/assets"),
            when=lambda payload: not _is_new(payload) and "flow_json" in payload,
        ),
        Step(
            name="publish",
            run=_publish,
            capability=Capability.FLOWS,
            calls=lambda payload: (
                () if _is_new(payload) and "flow_json" in payload else _call("POST", "{flow}/publish")(payload)
            ),
            when=lambda payload: payload["action"] == "publish",
            happens_once=True,
            reads_back=_is("PUBLISHED"),
        ),
        Step(
            name="deprecate",
            run=_deprecate,
            capability=Capability.FLOWS,
            calls=_call("POST", "{flow}/deprecate"),
            when=lambda payload: payload["action"] == "deprecate",
            happens_once=True,
            reads_back=_is("DEPRECATED"),
        ),
        Step(
            name="delete",
            run=_delete,
            capability=Capability.FLOWS,
            calls=_call("DELETE", "{flow}"),
            when=lambda payload: payload["action"] == "delete",
            happens_once=True,
            reads_back=_deleted,
        ),
    ),
    service_class=ServiceClass.INTERACTIVE,
    touches=_touches,
)

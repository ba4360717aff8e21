"""`channel_update`: change what was set for a WABA or one of its numbers; each part only if it is asked for.

A part is one call. All of them can be repeated but the display name, whose review would begin anew.

Sources: developers.facebook.com/docs/whatsapp/embedded-signup/webhooks/override, and of the Graph API reference
WhatsApp Business Account and WhatsApp Business Account To Number Current Status; /docs/whatsapp/cloud-api/
reference/two-step-verification, /phone-numbers#update-display-name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, SecretStr, StringConstraints, model_validator

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import GraphError, InvalidCall
from wabajobs.kinds import proof
from wabajobs.kinds.inputs import CallbackUrl, MetaId, Pin, secret
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.work import Work

Callback = CallbackUrl | Literal[""]
"""Where webhooks go in the place of the app's own address; nothing takes that back."""
_SUBSCRIBE_FIRST: Final = re.compile(r"before overrid", re.IGNORECASE)
_NOT_REGISTERED: Final = 133010


class WabaSettings(BaseModel, extra="forbid"):
    """Settings of a WABA. Source: Graph API reference, WhatsApp Business Account, updating."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    timezone_id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}$")] | None = None
    is_enabled_for_insights: Literal[True] | None = None
    """Once confirmed it cannot be switched off."""
    disable_marketing_messages_on_cloud_api: bool | None = None
    template_auto_archival_enabled: bool | None = None
    creative_optimizations_enrollment: str | None = None
    degrees_of_freedom_spec: dict[str, Any] | None = None


class NumberSettings(BaseModel, extra="forbid"):
    """Settings of a number. Source: Graph API reference, phone number, settings edge."""

    calling: dict[str, Any] | None = None
    storage_configuration: dict[str, Any] | None = None
    user_identity_change: dict[str, Any] | None = None
    payload_encryption: dict[str, Any] | None = None


class Wanted(BaseModel, extra="forbid"):
    """What is to be changed, and to what."""

    waba_callback: Callback | None = None
    waba_settings: WabaSettings | None = None
    number: MetaId | None = None
    """The number that the rest is about."""
    number_callback: Callback | None = None
    number_settings: NumberSettings | None = None
    pin: Pin | None = None
    """The new PIN of two-step verification. It cannot be switched off here, only in the WhatsApp Manager."""
    display_name: Annotated[str, StringConstraints(min_length=2, max_length=75)] | None = None
    """Reviewed by Meta; it comes into force with the next registration after that."""
    verify_token: (
        Annotated[SecretStr, secret(re.compile(r"[!-~]{1,200}").fullmatch, "visible characters, at most 200")]
        | None
    ) = Field(default=None)
    """What Meta proves itself to a callback with, when it is set."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        of_number = [name for name in _OF_NUMBER if getattr(self, name) is not None]
        if self.number is None and of_number:
            raise ValueError(f"number is missing: {of_number[0]} is one of a phone number")
        if self.number is not None and not of_number:
            raise ValueError(f"nothing is asked for of the number: say one of {', '.join(_OF_NUMBER)}")
        if self.waba_callback is None and self.waba_settings is None and not of_number:
            raise ValueError(
                f"nothing is asked for: say one of waba_callback, waba_settings, {', '.join(_OF_NUMBER)}"
            )
        for name in ("waba_settings", "number_settings"):
            asked = getattr(self, name)
            if asked is not None and not asked.model_dump(exclude_none=True):
                raise ValueError(f"{name} has no setting in it")
        if (self.verify_token is None) == bool(self.waba_callback or self.number_callback):
            raise ValueError("verify_token goes with a callback that is set, and only with one")
        return self


_OF_NUMBER: Final = ("number_callback", "number_settings", "pin", "display_name")


def set_waba_callback(work: Work) -> dict[str, Any]:
    """Let the WABA's messages go elsewhere, or to the app's own address again."""
    path, callback = f"{work.operation.waba}/subscribed_apps", work.operation.payload["waba_callback"]
    if not callback:
        work.graph.post(path)  # to subscribe without a callback takes it back
        return {"waba_callback": ""}
    override = {"override_callback_uri": callback, "verify_token": work.secret("verify_token")}
    try:
        work.graph.post(path, **override)
    except InvalidCall as error:
        if not _SUBSCRIBE_FIRST.search(str(error)):
            raise _refused(error, "the callback") from None
        work.graph.post(path)
        work.graph.post(path, **override)
    return {"waba_callback": callback}


def set_number_callback(work: Work) -> dict[str, Any]:
    """Let the number's messages go elsewhere, or where the WABA's go again."""
    callback = work.operation.payload["number_callback"]
    token = {"verify_token": work.secret("verify_token")} if callback else {}
    _post(work, {"webhook_configuration": {"override_callback_uri": callback, **token}}, "the callback")
    return {"number_callback": callback}


def set_waba(work: Work) -> dict[str, Any]:
    """Change the WABA's settings."""
    settings = work.operation.payload["waba_settings"]
    work.graph.post(str(work.operation.waba), **settings)
    return {"waba_settings": sorted(settings)}


def set_number(work: Work) -> dict[str, Any]:
    """Change the number's settings."""
    settings = work.operation.payload["number_settings"]
    _post(work, settings, "the settings", edge="/settings")
    return {"number_settings": sorted(settings)}


def set_pin(work: Work) -> dict[str, Any]:
    """Set another PIN."""
    _post(work, {"pin": work.secret("pin")}, "the PIN")
    proof.remember_pin(work, work.operation.payload["number"])
    return {"pin_set": True}


def set_display_name(work: Work) -> dict[str, Any]:
    """Ask for another display name."""
    name = work.operation.payload["display_name"]
    _post(work, {"new_display_name": name}, "the display name")
    return {"display_name": name}


def is_display_name_asked_for(work: Work) -> dict[str, Any] | None:
    """Read back whether Meta knows of the wish."""
    name = work.operation.payload["display_name"]
    answer = work.graph.get(work.operation.payload["number"], fields="verified_name,new_display_name")
    return (
        {"display_name": name} if name in (answer.get("new_display_name"), answer.get("verified_name")) else None
    )


def _post(work: Work, fields: Mapping[str, object], what: str, *, edge: str = "") -> None:
    try:
        work.graph.post(f"{work.operation.payload['number']}{edge}", **fields)
    except GraphError as error:
        raise _refused(error, what) from None


def _refused(error: GraphError, what: str) -> GraphError:
    """Return the error with what it is about."""
    if isinstance(error, InvalidCall) and error.code == 100:
        return proof.said(error, f"Meta does not take {what}")
    return proof.in_words(error)


def _part(
    name: str,
    run: Callable[[Work], dict[str, Any]],
    path: str,
    capability: Capability,
    **more: Any,
) -> Step:
    """Return the step of a part: one call, if it is asked for."""
    return Step(
        name=name,
        run=run,
        when=lambda payload: name in payload,
        capability=capability,
        calls=lambda _: (PlannedCall(method="POST", path=path),),
        **more,
    )


KIND: Final = Kind(
    name="channel_update",
    summary="change callbacks, settings, PIN or display name",
    payload=Wanted,
    steps=(
        _part("waba_callback", set_waba_callback, "{waba}/subscribed_apps", Capability.SUBSCRIPTIONS),
        _part("waba_settings", set_waba, "{waba}", Capability.ONBOARDING),
        _part("number_callback", set_number_callback, "{number}", Capability.PHONE_NUMBERS),
        _part("number_settings", set_number, "{number}/settings", Capability.PHONE_NUMBERS),
        _part("pin", set_pin, "{number}", Capability.PHONE_NUMBERS),
        _part(
            "display_name",
            set_display_name,
            "{number}",
            Capability.PHONE_NUMBERS,
            happens_once=True,
            reads_back=is_display_name_asked_for,
        ),
    ),
    service_class=ServiceClass.INTERACTIVE,
    touches=lambda payload: f"number:{payload['number']}" if "number" in payload else "settings",
)

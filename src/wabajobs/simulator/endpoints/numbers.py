"""Phone numbers of a WABA: adding, reading and changing them.

https://developers.facebook.com/docs/graph-api/reference/whats-app-business-account/phone_numbers/
https://developers.facebook.com/docs/whatsapp/business-management-api/manage-phone-numbers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from wabajobs.simulator.calls import parsed_json
from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import Flag, Input, ListInput, NodeInput, Object, Objects, Text, Words
from wabajobs.simulator.reading import edge_read, node_read
from wabajobs.simulator.routes import Context, Later, Route
from wabajobs.simulator.webhooks import challenge
from wabajobs.simulator.world import WORLD_EPOCH, Number, Waba, World, numbers

_CALLBACK_MOST = 200
Pin = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""Six digits."""


# Reading


@dataclass(frozen=True, slots=True)
class _Seen:
    """A number with what its fields need besides."""

    number: Number
    waba: Waba | None
    app_id: str
    callback: str | None
    """The app's own."""
    world: World


def _seen(context: Context, number: Number) -> _Seen:
    world = context.world
    waba = world.waba_of(number)
    account = world.seen(waba, context.as_of) if waba else None
    return _Seen(number, account, context.app.id, context.webhooks.url_of(context.app.id), world)


def _health(seen: _Seen) -> dict[str, Any]:
    """https://developers.facebook.com/docs/whatsapp/cloud-api/health-status"""
    number, waba = seen.number, seen.waba
    wrong = None
    if number.condition == "BANNED":
        wrong = (131031, "The phone number is banned.", "Request a review in the WhatsApp Manager.")
    elif not number.registered:
        wrong = (141000, "The phone number is not registered.", "Register the phone number.")
    entities = [_entity("PHONE_NUMBER", number.id, wrong)]
    if waba:
        unpaid = (141006, "There is no payment method.", "Add a payment method or a line of credit.")
        unreviewed = (141002, "The account is not approved.", "Wait for its review.")
        wrong = unreviewed if waba.review != "APPROVED" else unpaid if waba.funding_id is None else None
        entities.append(_entity("WABA", waba.id, wrong))
        entities.append(_entity("BUSINESS", waba.business_id, None))
    entities.append(_entity("APP", seen.app_id, None))
    blocked = any(one["can_send_message"] == "BLOCKED" for one in entities)
    return {"can_send_message": "BLOCKED" if blocked else "AVAILABLE", "entities": entities}


def _entity(kind: str, object_id: str, wrong: tuple[int, str, str] | None) -> dict[str, Any]:
    entity: dict[str, Any] = {"entity_type": kind, "id": object_id}
    if wrong is None:
        return entity | {"can_send_message": "AVAILABLE"}
    code, description, solution = wrong
    error = {"error_code": code, "error_description": description, "possible_solution": solution}
    return entity | {"can_send_message": "BLOCKED", "errors": [error]}


def _callbacks(seen: _Seen) -> dict[str, str] | None:
    """Where its messages go: the number's own callback, its WABA's, the app's."""
    of_waba = seen.waba.subscribed.get(seen.app_id) if seen.waba else None
    known = {
        "phone_number": (seen.number.override or {}).get("override_callback_uri"),
        "whatsapp_business_account": of_waba,
        "application": seen.callback,
    }
    return {name: url for name, url in known.items() if url} or None


def _time(unix: int) -> str:
    return datetime.fromtimestamp(unix or WORLD_EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _onboarded(seen: _Seen) -> str | None:
    number = seen.number
    return _time(number.onboarded_at) if number.onboarded_at or number.registered else None


def _of_number(value: Callable[[Number], Any]) -> Callable[[_Seen], Any]:
    return lambda seen: value(seen.number)


PHONE = NodeType[_Seen](
    name="WhatsAppBusinessPhoneNumber",
    fields={
        "id": _of_number(lambda number: number.id),
        "verified_name": _of_number(lambda number: number.verified_name),
        "display_phone_number": _of_number(lambda number: number.display),
        "country_code": _of_number(lambda number: "US" if number.cc == "1" else None),
        "country_dial_code": _of_number(lambda number: number.cc),
        "quality_rating": _of_number(lambda number: number.quality),
        "quality_score": _of_number(lambda number: {"score": number.quality}),
        "code_verification_status": lambda seen: numbers.code_status(seen.world, seen.number),
        "platform_type": _of_number(lambda number: number.platform),
        "host_platform": _of_number(lambda number: number.platform),
        "throughput": _of_number(
            lambda number: {"level": number.throughput if number.registered else "NOT_APPLICABLE"}
        ),
        "status": _of_number(numbers.status),
        "name_status": _of_number(lambda number: number.name_status),
        "new_display_name": _of_number(lambda number: number.new_name),
        "new_name_status": _of_number(lambda number: number.new_name_status),
        "certificate": _of_number(lambda number: number.certificate),
        "new_certificate": _of_number(lambda number: number.new_certificate),
        "is_official_business_account": _of_number(lambda number: number.official),
        "is_pin_enabled": _of_number(lambda number: number.pin is not None),
        "is_on_biz_app": _of_number(lambda number: number.on_business_app),
        "is_preverified_number": _of_number(lambda number: number.preverified),
        "account_mode": _of_number(lambda number: "SANDBOX" if number.sandbox else "LIVE"),
        "last_onboarded_time": _onboarded,
        "messaging_limit_tier": lambda _: "TIER_1K",
        "whatsapp_business_manager_messaging_limit": lambda _: "TIER_2K",
        "webhook_configuration": _callbacks,
        "health_status": _health,
        "whatsapp_business_account": lambda seen: (
            {"id": seen.waba.id, "name": seen.waba.name} if seen.waba else None
        ),
        "search_visibility": lambda _: "NON_VISIBLE",
        "eligibility_for_api_business_global_search": lambda _: "NON_ELIGIBLE_UNDEFINED_COUNTRY",
        "conversational_automation": lambda _: None,
        "username": lambda _: None,
    },
    defaults=(
        "verified_name",
        "code_verification_status",
        "display_phone_number",
        "quality_rating",
        "platform_type",
        "throughput",
        "webhook_configuration",
        "last_onboarded_time",
        "id",
    ),
)

_FILTERS: dict[str, Callable[[Number], str]] = {
    "account_mode": lambda number: "SANDBOX" if number.sandbox else "LIVE",
}

_SORTS: dict[str, Callable[[Number], int]] = {
    "creation_time": lambda number: number.created_at,
    "last_onboarded_time": lambda number: number.onboarded_at,
}


class NumberListInput(ListInput):
    filtering: Objects | None = Field(
        default=None, description='Such as [{"field":"account_mode","operator":"EQUAL","value":"LIVE"}]'
    )
    sort: Words | None = Field(
        default=None, description="creation_time or last_onboarded_time, with .asc or .desc, or _ascending"
    )


def _listed(context: Context, asked: NumberListInput) -> Sequence[Number]:
    listed = [number for number in context.seen(Waba).numbers if not number.moved_away]
    for one in asked.filtering or ():
        listed = [number for number in listed if _passes(one, number)]
    # The first key named weighs most, so it is sorted by last; sorting keeps the order of equals.
    for word in reversed(asked.sort or []):
        key, backwards = _sorted_by(word)
        listed.sort(key=key, reverse=backwards)
    return listed


def _passes(one: dict[str, Any], number: Number) -> bool:
    of, operator, value = one.get("field"), one.get("operator"), one.get("value")
    if not isinstance(of, str) or of not in _FILTERS:
        raise bad_parameter(f"Filtering field must be one of {{{', '.join(_FILTERS)}}}")
    if operator == "EQUAL" and isinstance(value, str):
        return _FILTERS[of](number) == value
    if operator == "IN" and isinstance(value, list):
        return _FILTERS[of](number) in value
    raise bad_parameter("Filtering needs an operator, EQUAL or IN, and a value for it")


def _sorted_by(word: str) -> tuple[Callable[[Number], int], bool]:
    for name, key in _SORTS.items():
        if word in (f"{name}.asc", f"{name}_ascending"):
            return key, False
        if word in (f"{name}.desc", f"{name}_descending"):
            return key, True
    allowed = ", ".join(f"{name}.{way}" for name in _SORTS for way in ("asc", "desc"))
    raise bad_parameter(f"Param sort must be one of {{{allowed}}}")


# Adding


class AddInput(Input):
    cc: Text = Field(
        validation_alias=AliasChoices("cc", "country_code"), description="Country calling code, without +"
    )
    phone_number: Text = Field(description="With its country code or without")
    verified_name: Text | None = Field(
        default=None,
        min_length=2,
        max_length=75,
        description="Its display name; not needed with migrate_phone_number",
    )
    migrate_phone_number: Flag = Field(default=False, description="Whether it comes from another WABA")
    preverified_id: Text | None = Field(default=None, description="Id of a number that is verified already")


def add(context: Context, asked: AddInput) -> dict[str, Any]:
    """Add a phone number to a WABA, or begin to move it here."""
    waba = context.the(Waba)
    number = numbers.add(
        context.world,
        waba,
        cc=asked.cc,
        phone_number=asked.phone_number,
        verified_name=asked.verified_name,
        migrate=asked.migrate_phone_number,
        preverified_id=asked.preverified_id,
    )
    context.effect(
        "number_added",
        f"{waba.id}/{numbers.digits(number)}",
        number=number.id,
        migrating=asked.migrate_phone_number,
    )
    return {"id": number.id}


# Changing


def _configuration(value: Any) -> Any:
    """An empty text takes the override back, as an empty callback does."""
    if value == "":
        return {}
    return parsed_json(value) if isinstance(value, str) else value


class ChangeInput(Input):
    pin: Pin | None = Field(default=None, pattern=r"^[0-9]{6}$", description="PIN of two-step verification")
    new_display_name: Text | None = Field(default=None, min_length=2, max_length=75)
    webhook_configuration: Annotated[Object, BeforeValidator(_configuration)] | None = Field(
        default=None, description="override_callback_uri, empty to take it back, and verify_token"
    )


def change(context: Context, asked: ChangeInput) -> dict[str, Any] | Later:
    """Change a number's PIN, display name, or its own webhook."""
    number = context.the(Number)
    numbers.check_there(number)
    wanted = (asked.pin, asked.new_display_name, asked.webhook_configuration)
    if all(one is None for one in wanted):
        raise bad_parameter("One of pin, new_display_name and webhook_configuration is required.")
    if asked.pin is not None and not number.registered:
        raise numbers.not_registered()
    callback, verify_token = _override(context, asked)
    if not callback or verify_token is None or not context.config.callback_asked:
        return _changed(context, asked, callback)

    def then(answered: bool) -> dict[str, Any]:
        if not answered:
            raise GraphError(
                message="(#100) Callback verification failed: the callback did not answer with the challenge.",
                code=100,
            )
        return _changed(context, asked, callback)

    return Later(wait=partial(challenge, callback, verify_token), then=then)


def _override(context: Context, asked: ChangeInput) -> tuple[str | None, str | None]:
    """The callback that is wanted, empty for none of its own, and what it is asked with."""
    if asked.webhook_configuration is None:
        return None, None
    callback = asked.webhook_configuration.get("override_callback_uri") or ""
    verify_token = asked.webhook_configuration.get("verify_token")
    if not callback:
        return "", None
    fits = isinstance(callback, str) and len(callback) <= _CALLBACK_MOST
    schemes = ("https://",) if context.config.override_https else ("https://", "http://")
    if not fits or not callback.startswith(schemes):
        raise bad_parameter(
            "Param webhook_configuration['override_callback_uri'] must be a URI of at most "
            f"{_CALLBACK_MOST} characters"
        )
    if not isinstance(verify_token, str) or not verify_token:
        raise bad_parameter("The parameter webhook_configuration['verify_token'] is required.")
    return callback, verify_token


def _changed(context: Context, asked: ChangeInput, callback: str | None) -> dict[str, Any]:
    world, number = context.world, context.the(Number)
    done: list[tuple[str, bool, dict[str, Any]]] = []
    if asked.pin is not None:
        by = context.token.user_id if context.token else ""
        done.append(("pin_set", numbers.set_pin(world, number, asked.pin, by=by), {}))
    if asked.new_display_name is not None:
        name = asked.new_display_name
        done.append(("name_requested", numbers.rename(world, number, name), {"name": name}))
    if callback is not None:
        kind = "override_set" if callback else "override_cleared"
        done.append((kind, numbers.set_override(world, number, callback), {"callback": callback}))
    for kind, changed, details in done:
        if changed:
            context.effect(kind, number.id, **details)
    context.remarks.idle = not any(changed for _, changed, _ in done)
    return {"success": True}


# Settings


class SettingsInput(Input):
    calling: Object | None = Field(default=None, description="status ENABLED or DISABLED, and more")
    storage_configuration: Object | None = Field(default=None, description="status and retention")
    user_identity_change: Object | None = Field(default=None, description="enable_identity_key_check")
    payload_encryption: Object | None = Field(default=None, description="status ENABLED or DISABLED")


SETTINGS = NodeType[Number](
    name="WhatsAppBusinessPhoneNumberSettings",
    fields={
        "calling": lambda number: {"status": "DISABLED", **number.settings.get("calling", {})},
        "storage_configuration": lambda number: (
            {"status": "DEFAULT"}
            | (
                {"data_localization_region": number.data_localization_region}
                if number.data_localization_region
                else {}
            )
            | number.settings.get("storage_configuration", {})
        ),
        "user_identity_change": lambda number: number.settings.get("user_identity_change"),
        "payload_encryption": lambda number: number.settings.get("payload_encryption"),
    },
    defaults=("calling", "storage_configuration", "user_identity_change", "payload_encryption"),
)

_SWITCHES = {"calling": ("ENABLED", "DISABLED"), "payload_encryption": ("ENABLED", "DISABLED")}


def change_settings(context: Context, asked: SettingsInput) -> dict[str, Any]:
    """Change some of a number's settings."""
    number = context.the(Number)
    numbers.check_there(number)
    changes = asked.model_dump(exclude_none=True)
    if not changes:
        raise bad_parameter(f"One of {', '.join(SettingsInput.model_fields)} is required.")
    for name, allowed in _SWITCHES.items():
        status = changes.get(name, {}).get("status")
        if status is not None and status not in allowed:
            raise bad_parameter(f"Param {name}['status'] must be one of {{{', '.join(allowed)}}}")
    if numbers.set_settings(context.world, number, changes):
        context.effect("settings_changed", number.id, parts=sorted(changes))
    else:
        context.remarks.idle = True
    return {"success": True}


_EITHER = ("whatsapp_business_management", "whatsapp_business_messaging")
_PART = "phone_numbers"

ROUTES = (
    Route(
        name="phone_numbers.list",
        method="GET",
        path="/{waba}/phone_numbers",
        handler=edge_read(PHONE, _listed, most=100, view=_seen),
        input=NumberListInput,
        capability=_PART,
        charges="waba",
    ),
    Route(
        name="phone_numbers.add",
        method="POST",
        path="/{waba}/phone_numbers",
        handler=add,
        input=AddInput,
        capability=_PART,
    ),
    Route(
        name="phone.get",
        method="GET",
        path="/{phone}",
        handler=node_read(PHONE, Number, view=_seen),
        input=NodeInput,
        capability=_PART,
        charges="waba",
        scopes=_EITHER,
    ),
    Route(
        name="phone.change", method="POST", path="/{phone}", handler=change, input=ChangeInput, capability=_PART
    ),
    Route(
        name="phone.settings.get",
        method="GET",
        path="/{phone}/settings",
        handler=node_read(SETTINGS, Number),
        input=NodeInput,
        capability=_PART,
        scopes=_EITHER,
    ),
    Route(
        name="phone.settings.change",
        method="POST",
        path="/{phone}/settings",
        handler=change_settings,
        input=SettingsInput,
        capability=_PART,
        scopes=_EITHER,
    ),
)

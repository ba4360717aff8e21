"""Meta's library of templates that need no review: a few of each kind, in the shape of the real ones.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-library
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wabajobs.simulator.errors import GraphError, bad_parameter, invalid_parameter
from wabajobs.simulator.world import template_rules as rules

LANGUAGES = ("en_US", "en_GB")


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryTemplate:
    """One template of the library, in one language."""

    id: str
    name: str
    language: str
    category: str
    topic: str
    usecase: str
    industry: tuple[str, ...]
    body: str
    body_params: tuple[str, ...] = ()
    body_param_types: tuple[str, ...] = ()
    header: str | None = None
    buttons: tuple[dict[str, Any], ...] = ()
    """Each with its type and text; address and phone number are the customer's to give."""

    @property
    def searched(self) -> str:
        """What a search looks into."""
        return f"{self.name}\n{self.header or ''}\n{self.body}".lower()


def _shop(*buttons: tuple[str, str]) -> tuple[dict[str, Any], ...]:
    return tuple({"type": kind, "text": text} for kind, text in buttons)


_TRACK = _shop(("URL", "Track order"))
_ENTRIES: tuple[dict[str, Any], ...] = (
    {
        "name": "order_confirmation_1",
        "topic": "ORDER_MANAGEMENT",
        "usecase": "ORDER_CONFIRMATION",
        "industry": ("E_COMMERCE",),
        "header": "Order confirmed",
        "body": "Thank you for your purchase. Your order {{1}} is confirmed and we are preparing it now.",
        "body_params": ("#12345",),
        "body_param_types": ("TEXT",),
    },
    {
        "name": "shipment_confirmation_1",
        "topic": "ORDER_MANAGEMENT",
        "usecase": "SHIPMENT_CONFIRMATION",
        "industry": ("E_COMMERCE",),
        "body": "Good news: your order {{1}} was handed to the carrier. It will arrive on {{2}} at your door.",
        "body_params": ("#12345", "Jan 1, 2026"),
        "body_param_types": ("TEXT", "DATE"),
        "buttons": _TRACK,
    },
    {
        "name": "delivery_update_1",
        "topic": "ORDER_MANAGEMENT",
        "usecase": "DELIVERY_UPDATE",
        "industry": ("E_COMMERCE",),
        "body": "Your order {{1}} is out for delivery and will be with you today.",
        "body_params": ("#12345",),
        "body_param_types": ("TEXT",),
        "buttons": _TRACK,
    },
    {
        "name": "delivery_failed_1",
        "topic": "ORDER_MANAGEMENT",
        "usecase": "DELIVERY_FAILED",
        "industry": ("E_COMMERCE",),
        "body": "We could not deliver order {{1}} today. Please call us to choose another day for the delivery.",
        "body_params": ("#12345",),
        "body_param_types": ("TEXT",),
        "buttons": _shop(("PHONE_NUMBER", "Call us")),
    },
    {
        "name": "order_canceled_1",
        "topic": "ORDER_MANAGEMENT",
        "usecase": "ORDER_OR_TRANSACTION_CANCEL",
        "industry": ("E_COMMERCE", "FINANCIAL_SERVICES"),
        "body": "Your order {{1}} was canceled as you wished. The sum of {{2}} goes back to you within a week.",
        "body_params": ("#12345", "$20.00"),
        "body_param_types": ("TEXT", "AMOUNT"),
    },
    {
        "name": "payment_due_reminder_1",
        "topic": "PAYMENTS",
        "usecase": "PAYMENT_DUE_REMINDER",
        "industry": ("FINANCIAL_SERVICES",),
        "body": "This is a reminder that your payment of {{1}} is due on {{2}}. Thank you for paying in time.",
        "body_params": ("$20.00", "Jan 1, 2026"),
        "body_param_types": ("AMOUNT", "DATE"),
        "buttons": _shop(("URL", "Pay now")),
    },
    {
        "name": "payment_confirmation_1",
        "topic": "PAYMENTS",
        "usecase": "PAYMENT_CONFIRMATION",
        "industry": ("FINANCIAL_SERVICES", "E_COMMERCE"),
        "body": "We have received your payment of {{1}} for your account. Thank you very much.",
        "body_params": ("$20.00",),
        "body_param_types": ("AMOUNT",),
    },
    {
        "name": "low_balance_warning_1",
        "topic": "ACCOUNT_UPDATES",
        "usecase": "LOW_BALANCE_WARNING",
        "industry": ("FINANCIAL_SERVICES",),
        "body": "The balance of your account is below {{1}} since this morning. Please add funds to it.",
        "body_params": ("$20.00",),
        "body_param_types": ("AMOUNT",),
    },
    {
        "name": "appointment_confirmation_1",
        "topic": "EVENT_REMINDER",
        "usecase": "APPOINTMENT_CONFIRMATION",
        "industry": ("E_COMMERCE", "FINANCIAL_SERVICES"),
        "body": "Your appointment on {{1}} is booked. Please come ten minutes before it begins.",
        "body_params": ("Jan 1, 2026",),
        "body_param_types": ("DATE",),
    },
    {
        "name": "feedback_survey_1",
        "topic": "CUSTOMER_FEEDBACK",
        "usecase": "FEEDBACK_SURVEY",
        "industry": ("E_COMMERCE",),
        "body": "We would like to know how your visit was. It takes two minutes to tell us.",
        "buttons": _shop(("URL", "Take the survey")),
    },
    {
        "name": "verify_code_1",
        "category": "AUTHENTICATION",
        "topic": "IDENTITY_VERIFICATION",
        "usecase": "VERIFY_TRANSACTION",
        "industry": ("E_COMMERCE", "FINANCIAL_SERVICES"),
        "body": "*{{1}}* is your verification code.",
        "body_params": ("123456",),
        "body_param_types": ("TEXT",),
        "buttons": _shop(("OTP", "Copy code")),
    },
)

LIBRARY: tuple[LibraryTemplate, ...] = tuple(
    LibraryTemplate(
        **{"category": "UTILITY", **entry, "id": str(7_138_055_000_000_000 + 100 * number + place)},
        language=language,
    )
    for place, language in enumerate(LANGUAGES)
    for number, entry in enumerate(_ENTRIES)
)


def found(name: str, language: str, category: str) -> LibraryTemplate:
    """The library's template of this name in this language; the category must be its own."""
    named = [one for one in LIBRARY if one.name == name]
    chosen = next((one for one in named if one.language == language), None)
    if chosen is None:
        where = f" in {language}" if named else ""
        raise bad_parameter(f"There is no template {name[:100]} in the Template Library{where}")
    if chosen.category != category:
        raise invalid_parameter(
            None,
            "Message Template Category Does Not Match",
            f"The category of the library's template {name} is {chosen.category}.",
            blame="category",
        )
    return chosen


def components_of(chosen: LibraryTemplate, button_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The components of a template that is made of it; every button gets the customer's input of its type."""
    parts: list[dict[str, Any]] = []
    if chosen.header:
        parts.append({"type": "HEADER", "format": "TEXT", "text": chosen.header})
    body: dict[str, Any] = {"type": "BODY", "text": chosen.body}
    if chosen.body_params:
        body["example"] = {"body_text": [list(chosen.body_params)]}
    parts.append(body)
    waiting = list(button_inputs)
    buttons = [_button(button, waiting) for button in chosen.buttons]
    if buttons:
        parts.append({"type": "BUTTONS", "buttons": buttons})
    return parts


def _button(button: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
    kind = button["type"]
    given = next((one for one in inputs if str(one.get("type", "")).upper() == kind), None)
    if given is None:
        raise _input_missing(kind)
    inputs.remove(given)
    match kind:
        case "URL":
            return {**button, **_url(given)}
        case "PHONE_NUMBER":
            phone = given.get("phone_number")
            if not isinstance(phone, str | int):
                raise _input_missing(kind)
            return {**button, "phone_number": rules.checked_phone(phone)}
        case _:
            way = given.get("otp_type")
            if not isinstance(way, str):
                raise _input_missing(kind)
            return {**button, "otp_type": way.upper()}


def _url(given: dict[str, Any]) -> dict[str, Any]:
    url = given.get("url")
    base = url.get("base_url") if isinstance(url, dict) else None
    example = url.get("url_suffix_example") if isinstance(url, dict) else None
    if not isinstance(base, str):
        raise _input_missing("URL")
    if not isinstance(example, str):
        return rules.checked_url(base, None)
    return rules.checked_url(base if "{{" in base else base.rstrip("/") + "/{{1}}", [example])


def _input_missing(kind: str) -> GraphError:
    return invalid_parameter(
        2388043,
        'Message template "library_template_button_inputs" param is missing expected field(s)',
        f"button of type {kind} is missing expected input",
        blame="library_template_button_inputs",
    )

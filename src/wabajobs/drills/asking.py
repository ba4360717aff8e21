"""A request in the words of each side: an operation of the product, and the arguments of a plain Celery task."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from PIL import Image

from wabajobs.drills.arrivals import FLOODER, PARTNERS, Arrival

Thing = Mapping[str, Any]
PIN: Final = "246810"
BODY: Final = {"type": "BODY", "text": "Your order has left our shop, and will be with you in two days."}
HEADER: Final = {"type": "HEADER", "format": "IMAGE"}
FLOW: Final = {
    "version": "7.0",
    "screens": [
        {
            "id": "WELCOME",
            "title": "Welcome",
            "terminal": True,
            "layout": {
                "type": "SingleColumnLayout",
                "children": [
                    {"type": "TextHeading", "text": "Welcome"},
                    {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}},
                ],
            },
        }
    ],
}
LONG: Final = 30 * 86_400.0
"""Seconds: no code of a signup ends in a drill, which has no customer who could sign up again."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    kind: str
    partner: str
    waba: str | None
    payload: dict[str, Any]
    """What the product takes."""
    plain: dict[str, Any]
    """What the plain Celery task of this name takes."""


class Asker:
    """Puts requests into words."""

    def __init__(self, things: Mapping[str, Sequence[Thing]]) -> None:
        """`things` is what Meta's world has for each sort of request."""
        self._things = things

    def asked(self, arrival: Arrival) -> Asked:
        """Return a request."""
        own, fleet = self._things.get(arrival.what), self._things["fleet"]
        thing = own[arrival.place] if own else fleet[arrival.place % len(fleet)]
        payload, plain = _WORDS[arrival.what](thing, arrival, self._things)
        waba = payload.pop("waba", thing["waba"])
        partner = FLOODER if arrival.what == "flood" else PARTNERS[arrival.place % len(PARTNERS)]
        return Asked(arrival.kind, partner, waba, payload, {"waba": waba, **plain})


@cache
def picture() -> bytes:
    """Return a small photo that is good enough for Meta."""
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((192, 192)).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


Words = tuple[dict[str, Any], dict[str, Any]]


def _same(**fields: Any) -> Words:
    return dict(fields), dict(fields)


def _template(_thing: Thing, arrival: Arrival, *_: Any) -> Words:
    name = f"drill_{arrival.what}_{arrival.place}"
    return _same(name=name, language="en_US", category="UTILITY", components=[BODY])


def _template_media(thing: Thing, arrival: Arrival, *_: Any) -> Words:
    payload, plain = _template(thing, arrival)
    payload |= {"components": [HEADER, BODY], "media": {"data": picture()}}
    return payload, plain


def _template_edit(thing: Thing, *_: Any) -> Words:
    plain = {"template": thing["template"], "components": [BODY]}
    return {"template_id": thing["template"], "name": thing["name"], "components": [BODY]}, plain


def _flow(_thing: Thing, arrival: Arrival, *_: Any) -> Words:
    return _same(name=f"drill {arrival.place}", categories=["SURVEY"], flow_json=FLOW)


def _registration(thing: Thing, *_: Any) -> Words:
    return {"number": thing["number"], "pin": PIN, "verify": False}, {"number": thing["number"], "pin": PIN}


def _onboarding(thing: Thing, *_: Any) -> Words:
    # The product learns the WABA from the token; the plain task is told it by the browser.
    return {"waba": None, "code": thing["code"]}, {"waba": thing["waba"], **thing, "pin": PIN}


def _hosting(thing: Thing, *_: Any) -> Words:
    return (
        {
            "number": thing["number"],
            "backup_data": thing["data"],
            "backup_password": thing["password"],
            "pin": PIN,
        },
        {"number": thing["number"], "data": thing["data"], "password": thing["password"], "pin": PIN},
    )


def _check(_thing: Thing, arrival: Arrival, things: Mapping[str, Sequence[Thing]]) -> Words:
    # Whether a number can move, without moving it.
    source = things["fleet"][(arrival.place + 1) % len(things["fleet"])]
    digits = f"+49301{arrival.place:06d}"
    payload = {
        "phone_number": digits,
        "check_only": True,
        "source_waba": source["waba"],
        "source_number": source["number"],
    }
    return payload, {"source": source["waba"], "number": source["number"]}


def _copy(_thing: Thing, arrival: Arrival, things: Mapping[str, Sequence[Thing]]) -> Words:
    to = things["destinations"][arrival.place % len(things["destinations"])]["waba"]
    source = things["fleet"][0]["waba"]
    return {"waba": to, "source_waba_id": source}, {"waba": to, "source": source}


_WORDS: Final[Mapping[str, Callable[..., Words]]] = {
    "template_sync": lambda *_: _same(),
    "template_create": _template,
    "template_media": _template_media,
    "flood": _template,
    "template_edit": _template_edit,
    "template_migration": _copy,
    "profile_update": lambda thing, arrival, *_: _same(
        number=thing["number"], about=f"Open, day {arrival.place}"
    ),
    "profile_photo": lambda thing, *_: (
        {"number": thing["number"], "photo": {"data": picture()}},
        {"number": thing["number"]},
    ),
    "channel_update": lambda thing, *_: (
        {"number": thing["number"], "number_settings": {"calling": {"status": "ENABLED"}}},
        {"number": thing["number"]},
    ),
    "flow_publish": _flow,
    "number_registration": _registration,
    "number_migration": _check,
    "onboarding": _onboarding,
    "hosting_change": _hosting,
}

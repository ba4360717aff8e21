"""Write docs/kinds/README.md from the catalogue: `python docs/generate_kinds.py`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from wabajobs.kinds import Kind, catalogue

FOLDER: Final = Path(__file__).with_name("kinds")
PAGE: Final = FOLDER / "README.md"

_HEAD: Final = """\
# The kinds

<!-- Written by docs/generate_kinds.py from the catalogue. Do not edit: run it again. -->

What the Hub can ask for. A kind's name is its Celery queue, its task and its pause scope (`queue template_sync`).
[Add your own](../adding-a-kind.md).
"""

_NUMBER: Final = "106540352242922"
_TEXT: Final = [{"type": "BODY", "text": "We are open again."}]
_MEDIA: Final = {
    "media": {"url": "https://bakery.example/cake.jpg"},
    "components": [{"type": "HEADER", "format": "IMAGE"}, *_TEXT],
}
_CODE: Final = [
    {"type": "BODY", "add_security_recommendation": True},
    {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]},
]
_NEW: Final = {"name": "open_again", "category": "UTILITY"}
_ADDED: Final = {"phone_number": "+4930123456", "pin": "246810"}
_FLOW: Final = {"version": "7.1", "screens": [{"id": "WELCOME"}]}

REQUESTS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "channel_update": {
        "one setting": {"number": _NUMBER, "display_name": "Acme Bakery"},
        "callbacks of WABA and number": {
            "number": _NUMBER,
            "waba_callback": "https://hub.example/waba",
            "number_callback": "https://hub.example/number",
            "verify_token": "a-token-of-ours",
        },
    },
    "flow_publish": {
        "a new Flow": {"name": "survey", "categories": ["SURVEY"], "flow_json": _FLOW},
        "another version of a Flow": {"flow": "594425479261596", "flow_json": _FLOW},
        "deprecate or delete one": {"flow": "594425479261596", "action": "deprecate"},
    },
    "hosting_change": {
        "any": {"number": _NUMBER, "pin": "246810", "backup_data": "bGV0IG1lIGlu", "backup_password": "letmein"}
    },
    "number_migration": {
        "a number of another provider": _ADDED,
        "with its templates": {**_ADDED, "source_waba": "102290129340398", "templates": True},
        "only check whether it can": {"phone_number": "+4930123456", "check_only": True},
    },
    "number_registration": {
        "a number to add": {**_ADDED, "verified_name": "Acme Bakery"},
        "a number of the WABA": {"number": _NUMBER, "pin": "246810"},
        "a verified number": {"number": _NUMBER, "pin": "246810", "verify": False},
    },
    "onboarding": {"any": {"code": "AQBx-code-of-a-signup"}},
    "profile_photo": {
        "a file": {"number": _NUMBER, "photo": {"url": "https://bakery.example/logo.jpg"}},
        "a handle": {"number": _NUMBER, "photo": {"handle": "4::aW1h:AR:e:1:2:AR", "app": "1234567890"}},
    },
    "profile_update": {"any": {"number": _NUMBER, "about": "Open all day"}},
    "template_create": {
        "text": {**_NEW, "language": "en_US", "components": _TEXT},
        "with a file in its header": {**_NEW, "language": "en_US", **_MEDIA},
        "for a code, in several languages": {
            "name": "sign_in",
            "category": "AUTHENTICATION",
            "languages": ["en_US", "de"],
            "components": _CODE,
        },
    },
    "template_delete": {"any": {"name": "open_again"}},
    "template_edit": {
        "text": {"template_id": "1000000000023757", "name": "open_again", "components": _TEXT},
        "with a new file": {"template_id": "1000000000023757", "name": "open_again", **_MEDIA},
    },
    "template_migration": {"any": {"source_waba_id": "102290129340398"}},
    "template_sync": {"any": {}},
}
"""Of each kind some requests, for their calls."""


def page() -> str:
    """Return the page."""
    kinds = [catalogue()[name] for name in sorted(catalogue().names)]
    return "\n".join([_HEAD, *_overview(kinds), "", *_calls(kinds), "", *_once(kinds), ""])


def _overview(kinds: list[Kind]) -> Iterator[str]:
    yield "| kind | what it does | class | a person may be asked for |"
    yield "|---|---|---|---|"
    for kind in kinds:
        asks = dict.fromkeys(f"`{ask.name}`" for step in kind.steps for ask in step.asks)
        cells = (_linked(kind.name), kind.summary, f"`{kind.service_class}`", ", ".join(asks) or "nothing")
        yield f"| {' | '.join(cells)} |"


def _linked(name: str) -> str:
    """Return the name with a link to its page: one with a heading of its own, or one that begins with it."""
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if path != PAGE and re.search(rf"^#+ `{name}`$", text, re.MULTILINE):
            return f"[`{name}`]({path.name}#{name})"
        if path != PAGE and f"`{name}`" in text.partition("\n## ")[0]:
            return f"[`{name}`]({path.name})"
    return f"[`{name}`](../fleet.md)" if name == "template_sync" else f"`{name}`"


def _calls(kinds: list[Kind]) -> Iterator[str]:
    yield "## Their calls"
    yield ""
    yield "When nothing goes wrong, and no more than the task needs: a test compares them with what reaches the"
    yield "[simulator](../simulator.md). What Meta asks for by the page, part or number is counted for each."
    yield ""
    yield "| kind | request | calls | which |"
    yield "|---|---|---|---|"
    for kind in kinds:
        for what, given in REQUESTS[kind.name].items():
            checked = kind.payload.model_validate(given).model_dump(mode="json", exclude_none=True)
            calls = kind.calls(checked)
            always = sum(one.cost for one in calls if not one.note)
            told = [*([str(always)] if always else []), *(f"{one.cost} {one.note}" for one in calls if one.note)]
            which = [f"`{one.method} {one.path}`" for one in calls]
            yield f"| `{kind.name}` | {what} | {'; '.join(told)} | {', '.join(which)} |"


def _once(kinds: list[Kind]) -> Iterator[str]:
    yield "## What happens once"
    yield ""
    yield "These steps are never repeated blindly: after a crash or a lost answer they are read back"
    yield "([how](../life-of-an-operation.md#what-happens-once)). What undoes them is told to whoever looks at an"
    yield "operation that failed later on."
    yield ""
    yield "| kind | step | what undoes it |"
    yield "|---|---|---|"
    for kind in kinds:
        for step in kind.steps:
            if step.happens_once:
                final = " (point of no return)" if step.point_of_no_return else ""
                yield f"| `{kind.name}` | {step.name}{final} | {step.undo or 'nothing need be undone'} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")

"""Whether a template that is there is the one that was asked for, and how it differs.

What Meta changes by itself does not count: enumerated words in capitals, components in another order, defaults
left out, preset texts of authentication templates, and files, which it reads back as an address of its own.
Examples do not count either: they are for the reviewer, and no recipient sees them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from wabajobs.errors import InvalidCall, SyncError
from wabajobs.kinds.template_fields import OPTIONS
from wabajobs.kinds.template_rules import MEDIA, Components, variables
from wabajobs.kinds.work import Work

FIELDS: Final = (
    "id",
    "name",
    "language",
    "status",
    "category",
    "previous_category",
    "parameter_format",
    "components",
    "rejected_reason",
)
"""What is read of a template to compare it."""
GONE: Final = frozenset({"PENDING_DELETION", "DELETED"})
"""The states of a template that nobody can have any more."""

_WRITE_ONLY: Final = frozenset(
    {
        "app_deep_link",
        "autofill_text",
        "flow_action",
        "flow_json",
        "flow_name",
        "icon",
        "navigate_screen",
        "package_name",
        "signature_hash",
        "supported_apps",
        "zero_tap_terms_accepted",
    }
)
"""Fields of a button that Meta may leave out of what is read, or fill in by itself."""
_CODE_PAGE: Final = "www.whatsapp.com"

Difference = dict[str, dict[str, Any]]
"""Each field that differs: as it is `there`, and as it was `asked`."""


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────


def of_name(work: Work, name: str, *, options: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Read the templates of exactly this name, one for each language; a call per page."""
    # The filter finds also longer names with this one in them.
    found = listed(work, *FIELDS, *options, name=name)
    return (one for one in found if one.get("name") == name)


def listed(work: Work, *fields: str, **filters: str) -> Iterator[dict[str, Any]]:
    """Read these fields of the WABA's templates; a call per page."""
    after: str | None = None
    for _ in range(work.settings.template_sync.max_pages):
        answer = work.graph.get(
            f"{work.operation.waba}/message_templates",
            fields=",".join(fields),
            limit=work.settings.template_sync.page_size,
            after=after,
            **filters,
        )
        yield from answer.get("data", ())
        paging = answer.get("paging") or {}
        after = (paging.get("cursors") or {}).get("after") if "next" in paging else None
        if after is None:
            return
    raise SyncError(f"the template list of WABA {work.operation.waba} has no end")


def by_id(work: Work, template_id: str, *, options: Sequence[str] = ()) -> dict[str, Any] | None:
    """Read one template; None when it is not there."""
    try:
        return work.graph.get(template_id, fields=",".join((*FIELDS, *options)))
    except InvalidCall as error:
        if (error.code, error.subcode) in ((100, 33), (803, None)):
            return None
        raise


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────


def difference(asked: Mapping[str, Any], there: Mapping[str, Any]) -> Difference:
    """Return how a template differs from a request for one; a field that was not asked for is as it likes."""
    pairs: dict[str, tuple[Any, Any]] = {}
    if "category" in asked and not asked.get("allow_category_change"):
        # Meta may have moved it to another category since.
        was = {_upper(there.get("category")), _upper(there.get("previous_category"))}
        if _upper(asked["category"]) not in was:
            pairs["category"] = (there.get("category"), asked["category"])
    for name in OPTIONS:
        if name in asked and name in there and asked[name] != there[name]:
            pairs[name] = (there[name], asked[name])
    if "components" in asked:
        is_code = _upper(there.get("category")) == "AUTHENTICATION"
        pairs |= _in_components(asked["components"], there.get("components"), is_code=is_code)
        pairs |= _in_format(asked, there)
    if "library_template_name" in asked:
        pairs |= _in_library(asked, there)
    return {name: {"there": there_, "asked": asked_} for name, (there_, asked_) in pairs.items()}


def shows_files(components: Components) -> bool:
    """Whether a header shows a file, also one of a card. Which file that is cannot be read back."""
    seen = _fields(components, is_code=False)
    return any(path.endswith("HEADER.format") and value in MEDIA for path, value in seen)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _in_format(asked: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """How variables are written matters where there are some."""
    mine, its = (_upper(one.get("parameter_format")) or "POSITIONAL" for one in (asked, there))
    if mine == its or not variables(asked["components"], named=mine == "NAMED"):
        return {}
    return {"parameter_format": (its, mine)}


def _in_components(asked: Components, there: Any, *, is_code: bool) -> dict[str, tuple[Any, Any]]:
    """Compare field by field: `BODY.text`, `BUTTONS.0.url`."""
    mine, its = (dict(_fields(one, is_code=is_code)) for one in (asked, there))
    differing = {}
    for path in {**mine, **its}:
        if mine.get(path) == its.get(path):
            continue
        if None in (mine.get(path), its.get(path)) and path.rpartition(".")[2] in _WRITE_ONLY:
            continue
        if path not in mine and is_code and path.endswith(".text"):
            continue  # a preset text, where none was asked for
        differing[path] = (its.get(path), mine.get(path))
    return differing


def _fields(components: Any, *, is_code: bool, above: str = "") -> Iterator[tuple[str, Any]]:
    """Say what a recipient sees of components: paths with their values, without what is the default."""
    for one in _objects(components):
        path = above + str(_upper(one.get("type")))
        if path.endswith("BUTTONS"):
            for place, button in enumerate(_objects(one.get("buttons"))):
                yield from _leaves(_button(button), f"{path}.{place}")
        elif path.endswith("CAROUSEL"):
            for place, card in enumerate(_objects(one.get("cards"))):
                yield from _fields(card.get("components"), is_code=False, above=f"{path}.{place}.")
        else:
            preset = {"text"} if is_code else set()
            seen = {name: value for name, value in one.items() if name not in {"type", "example"} | preset}
            if "format" in seen:
                seen["format"] = _upper(seen["format"])
            yield path, True  # also a component that says nothing is there
            yield from _leaves(seen, path)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list; whatever else Meta may send there is not for us."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}")
    elif isinstance(value, str):
        yield path, value.replace("\r\n", "\n").strip()
    elif value is not None and value is not False:
        yield path, value


def _button(button: Mapping[str, Any]) -> dict[str, Any]:
    seen = {name: value for name, value in button.items() if name != "example"}
    seen["type"] = _upper(seen.get("type"))
    if seen["type"] == "URL" and (way := _way_of_code(str(seen.get("url")))):
        # So a button for a one-time password is read back.
        del seen["url"]
        seen |= {"type": "OTP", "otp_type": way}
    if "otp_type" in seen:
        seen["otp_type"] = _upper(seen["otp_type"])
        # An older form names the one app beside the other fields.
        app = {name: seen.pop(name) for name in ("package_name", "signature_hash") if name in seen}
        if app and "supported_apps" not in seen:
            seen["supported_apps"] = [app]
    if seen["type"] == "COPY_CODE":
        seen.pop("text", None)  # it is Meta's own, in the template's language
    if "flow_id" in seen:
        seen["flow_id"] = str(seen["flow_id"])
    if "phone_number" in seen:
        seen["phone_number"] = "".join(sign for sign in str(seen["phone_number"]) if sign.isdigit())
    return seen


def _way_of_code(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.hostname != _CODE_PAGE or not parts.path.startswith("/otp/"):
        return None
    return _upper(next(iter(parse_qs(parts.query).get("otp_type", ["COPY_CODE"]))))  # type: ignore[no-any-return]


def _in_library(asked: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Of a template made from the library: which one it is, and what its buttons were given."""
    name = "library_template_name"
    if asked[name] != there.get(name):
        return {name: (there.get(name), asked[name])}
    buttons = [
        _button(button)
        for one in _objects(there.get("components"))
        if _upper(one.get("type")) == "BUTTONS"
        for button in _objects(one.get("buttons"))
    ]
    differing: dict[str, tuple[Any, Any]] = {}
    for place, given in enumerate(asked.get("library_template_button_inputs") or []):
        wanted = _button(given)
        base = (given.get("url") or {}).get("base_url") if wanted["type"] == "URL" else None
        found = [one for one in buttons if one["type"] == wanted["type"]]
        if base is not None:
            fits = any(str(one.get("url", "")).startswith(base.partition("{{")[0].rstrip("/")) for one in found)
            mine: Any = base
        else:
            fits = not found or any(one.get("phone_number") == wanted.get("phone_number") for one in found)
            mine = wanted.get("phone_number")
        if not fits:
            its = [one.get("url", one.get("phone_number")) for one in found]
            differing[f"library_template_button_inputs.{place}"] = (its, mine)
    return differing

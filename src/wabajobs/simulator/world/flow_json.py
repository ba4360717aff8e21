"""A small check of Flow JSON: syntax, version, screens, their ids and layouts, known components, routes.

Meta checks far more; what passes here may still be refused there. Each error names its place in the text.
https://developers.facebook.com/docs/whatsapp/flows/reference/flowjson
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

VERSIONS = (
    *("2.1", "3.0", "3.1", "4.0", "5.0", "5.1"),
    *("6.0", "6.1", "6.2", "6.3", "7.0", "7.1", "7.2", "7.3"),
)
"""Versions of Flow JSON that are accepted."""
DATA_API_VERSIONS = ("3.0", "4.0")
SCREENS_MOST = 100
BRANCHES_MOST = 10
COMPONENTS_MOST = 50
"""Components on a screen."""

_TOP = {"version", "data_api_version", "data_channel_uri", "routing_model", "screens"}
_SCREEN = {"id", "title", "layout", "data", "terminal", "success", "refresh_on_back", "sensitive"}
_COMPONENTS = frozenset(
    {
        *("TextHeading", "TextSubheading", "TextBody", "TextCaption", "RichText"),
        *("TextInput", "TextArea", "CheckboxGroup", "RadioButtonsGroup", "ChipsSelector", "Dropdown"),
        *("DatePicker", "CalendarPicker", "OptIn", "PhotoPicker", "DocumentPicker"),
        *("Footer", "EmbeddedLink", "NavigationList", "Image", "ImageCarousel"),
        *("Form", "If", "Switch"),
    }
)
_SCREEN_ID = re.compile(r"[A-Za-z_]+")
_ERRORS_MOST = 20
_DEPTH_MOST = 30
_SPACE = re.compile(r"[ \t\n\r]*")

Step = str | int


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found in a Flow's JSON."""

    errors: tuple[dict[str, Any], ...] = ()
    version: str | None = None
    data_api_version: str | None = None


class _Finding(NamedTuple):
    error: str
    message: str
    path: tuple[Step, ...]
    at_key: bool = False


@dataclass
class _Findings:
    """The errors found so far; only the first few are kept."""

    found: list[_Finding] = field(default_factory=list)

    def value(self, path: tuple[Step, ...], message: str) -> None:
        self._add(_Finding("INVALID_PROPERTY_VALUE", message, path))

    def missing(self, path: tuple[Step, ...], name: str) -> None:
        self._add(_Finding("MISSING_REQUIRED_PROPERTY", f"The property {name!r} is required.", path))

    def unknown(self, path: tuple[Step, ...]) -> None:
        message = f"The property {path[-1]!r} cannot be specified at {_pointer(path[:-1]) or '$root'!r}."
        self._add(_Finding("INVALID_PROPERTY", message, path, at_key=True))

    def _add(self, finding: _Finding) -> None:
        if len(self.found) < _ERRORS_MOST:
            self.found.append(finding)


def check(text: str) -> Checked:
    """What is wrong with a Flow's JSON, and the versions that it names."""
    try:
        flow = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return Checked(errors=(_syntax(f"Invalid JSON: {error.msg}", error.lineno, error.colno),))
    except (ValueError, RecursionError):
        return Checked(errors=(_syntax("Invalid JSON", 1, 1),))
    findings = _Findings()
    if not isinstance(flow, dict):
        findings.value((), "A Flow must be a JSON object.")
    else:
        _check_flow(flow, findings)
    places = _Places(text)
    return Checked(
        errors=tuple(places.described(one) for one in findings.found),
        version=_string(flow, "version"),
        data_api_version=_string(flow, "data_api_version"),
    )


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _string(flow: Any, name: str) -> str | None:
    value = flow.get(name) if isinstance(flow, dict) else None
    return value if isinstance(value, str) else None


def _check_flow(flow: dict[str, Any], findings: _Findings) -> None:
    for name in flow.keys() - _TOP:
        findings.unknown((name,))
    if "version" not in flow:
        findings.missing((), "version")
    elif flow["version"] not in VERSIONS:
        findings.value(("version",), "Invalid value found for property 'version'.")
    if "data_api_version" in flow and flow["data_api_version"] not in DATA_API_VERSIONS:
        findings.value(("data_api_version",), "Invalid value found for property 'data_api_version'.")
    screens = flow.get("screens")
    if "screens" not in flow:
        findings.missing((), "screens")
    elif not isinstance(screens, list) or not screens:
        findings.value(("screens",), "The property 'screens' must be an array with a screen.")
    else:
        _check_screens(screens, findings)
    if "routing_model" in flow:
        names = {one.get("id") for one in _objects(screens) if isinstance(one.get("id"), str)}
        _check_routes(flow["routing_model"], names, findings)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _check_screens(screens: list[Any], findings: _Findings) -> None:
    if len(screens) > SCREENS_MOST:
        findings.value(("screens",), f"A Flow may have {SCREENS_MOST} screens at most.")
    ids: Counter[str] = Counter()
    for place, screen in enumerate(screens):
        path: tuple[Step, ...] = ("screens", place)
        if not isinstance(screen, dict):
            findings.value(path, "A screen must be a JSON object.")
            continue
        for name in screen.keys() - _SCREEN:
            findings.unknown((*path, name))
        name = screen.get("id")
        if name is None:
            findings.missing(path, "id")
        elif not isinstance(name, str) or not _SCREEN_ID.fullmatch(name) or name == "SUCCESS":
            findings.value((*path, "id"), "Invalid value found for property 'id'.")
        else:
            ids[name] += 1
            if ids[name] == 2:
                findings.value((*path, "id"), f"The screen id {name!r} is used more than once.")
        _check_layout(screen, path, findings)
    if not any(one.get("terminal") is True for one in _objects(screens)):
        findings.value(("screens",), "A Flow must have a terminal screen.")


def _check_layout(screen: dict[str, Any], path: tuple[Step, ...], findings: _Findings) -> None:
    if "layout" not in screen:
        findings.missing(path, "layout")
        return
    layout, path = screen["layout"], (*path, "layout")
    if not isinstance(layout, dict):
        findings.value(path, "Invalid value found for property 'layout'.")
        return
    _check_type(layout, path, frozenset({"SingleColumnLayout"}), findings)
    children = layout.get("children")
    if "children" not in layout:
        findings.missing(path, "children")
    elif not isinstance(children, list) or not children:
        findings.value((*path, "children"), "Invalid value found for property 'children'.")
    else:
        _check_components(children, (*path, "children"), findings)


def _check_components(children: list[Any], path: tuple[Step, ...], findings: _Findings) -> None:
    every = list(_components(children, path))
    if len(every) > COMPONENTS_MOST:
        findings.value(path, f"A screen may have {COMPONENTS_MOST} components at most.")
    for where, component in every:
        if isinstance(component, dict):
            _check_type(component, where, _COMPONENTS, findings)
        else:
            findings.value(where, "A component must be a JSON object.")


def _check_type(
    value: dict[str, Any], path: tuple[Step, ...], known: frozenset[str], findings: _Findings
) -> None:
    if "type" not in value:
        findings.missing(path, "type")
    elif not isinstance(value["type"], str) or value["type"] not in known:
        findings.value((*path, "type"), "Invalid value found for property 'type'.")


def _components(
    children: list[Any], path: tuple[Step, ...], depth: int = 0
) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Every component with its place, those within forms and conditions too."""
    for place, one in enumerate(children):
        where = (*path, place)
        yield where, one
        if not isinstance(one, dict) or depth > _DEPTH_MOST:
            continue
        for name in ("children", "then", "else"):
            if isinstance(one.get(name), list):
                yield from _components(one[name], (*where, name), depth + 1)
        if isinstance(one.get("cases"), dict):
            for case, within in one["cases"].items():
                if isinstance(within, list):
                    yield from _components(within, (*where, "cases", case), depth + 1)


def _check_routes(routes: Any, names: set[Any], findings: _Findings) -> None:
    if not isinstance(routes, dict):
        findings.value(("routing_model",), "Invalid value found for property 'routing_model'.")
        return
    for start, ends in routes.items():
        path = ("routing_model", start)
        if start not in names:
            findings.unknown(path)
        elif not isinstance(ends, list):
            findings.value(path, "The screens that follow must be an array.")
        elif len(ends) > BRANCHES_MOST:
            findings.value(path, f"A screen may have {BRANCHES_MOST} branches at most.")
        else:
            for place, end in enumerate(ends):
                if not isinstance(end, str) or end not in names:
                    findings.value((*path, place), "A screen in the routing model does not exist.")


# Where in the text


def _pointer(path: tuple[Step, ...]) -> str:
    """A path as Meta writes it: `screens[0].layout`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _syntax(message: str, line: int, column: int) -> dict[str, Any]:
    place = {"line_start": line, "line_end": line, "column_start": column, "column_end": column}
    return {
        "error": "INVALID_JSON",
        "error_type": "JSON_SYNTAX_ERROR",
        "message": message,
        **place,
        "pointers": [{**place, "path": ""}],
    }


class _Places:
    """Finds lines and columns, both from 1, of what a path leads to in a text that is good JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._decoder = json.JSONDecoder()

    def described(self, finding: _Finding) -> dict[str, Any]:
        """An error as Meta words it."""
        start, end = self._span(finding)
        (line_start, column_start), (line_end, column_end) = self._at(start), self._at(end)
        place = {
            "line_start": line_start,
            "line_end": line_end,
            "column_start": column_start,
            "column_end": column_end,
        }
        return {
            "error": finding.error,
            "error_type": "FLOW_JSON_ERROR",
            "message": finding.message,
            **place,
            "pointers": [{**place, "path": _pointer(finding.path)}],
        }

    def _span(self, finding: _Finding) -> tuple[int, int]:
        key, value = (0, 0), self._skip(0)
        for step in finding.path:
            key, value = self._below(value, step)
        return key if finding.at_key else (value, self._end(value))

    def _below(self, place: int, step: Step) -> tuple[tuple[int, int], int]:
        """Where the key and the value of a member are; the last of two members of one name, as JSON has it."""
        found, number = ((place, place), place), 0
        at = self._skip(place + 1)
        while self._text[at] not in "]}":
            start = at
            if isinstance(step, str):
                name, after = self._decoder.raw_decode(self._text, at)
                at = self._skip(self._skip(after) + 1)
                if name == step:
                    found = ((start, after), at)
            elif number == step:
                return (at, at), at
            at = self._skip(self._end(at))
            if self._text[at] == ",":
                at = self._skip(at + 1)
            number += 1
        return found

    def _end(self, place: int) -> int:
        return self._decoder.raw_decode(self._text, place)[1]

    def _skip(self, place: int) -> int:
        match = _SPACE.match(self._text, place)
        return match.end() if match else place

    def _at(self, place: int) -> tuple[int, int]:
        before = self._text.rfind("\n", 0, place)
        return self._text.count("\n", 0, place) + 1, place - before

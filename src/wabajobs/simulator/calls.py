"""What arrives and what goes back: a call as the Graph understands it, and its reply."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from wabajobs.simulator.errors import bad_parameter

_VERSION = re.compile(r"v\d+\.\d+")
_NESTED_NAME = re.compile(r"(?P<name>[^\[\]]+)(?P<path>(?:\[[^\[\]]*\])+)")
_NESTED_MOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a multipart body."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A multipart body, taken apart by the server."""

    fields: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, File] = field(default_factory=dict)


class Parameters:
    """The parameters of a call, from its query string and its form or JSON body; the body wins.

    From a query or a form every value is text; from a JSON body it is what it is there. A form may nest as
    PHP does, `components[0][type]=BODY`, and then it is as if JSON had come.
    """

    def __init__(
        self,
        query: str = "",
        *,
        body: bytes = b"",
        content_type: str = "",
        form: Form | None = None,
        unreadable: bool = False,
    ) -> None:
        self._values: dict[str, list[Any]] = {}
        self._problem = "The body cannot be read" if unreadable else None
        self.files: Mapping[str, File] = form.files if form else {}
        if query:
            self._add_pairs(parse_qsl(query, keep_blank_values=True))
        if form:
            self._add_pairs(form.fields)
        elif body:
            self._read_body(body, content_type)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Parameters:
        """Parameters with these values."""
        made = cls()
        made._values = {name: [value] for name, value in values.items() if value is not None}
        return made

    def value(self, name: str) -> Any:
        """The parameter's last value as it came, or nothing."""
        values = self._values.get(name)
        return values[-1] if values else None

    def one(self, name: str) -> str | None:
        """The parameter's last value as text, or nothing."""
        value = self.value(name)
        return value if value is None or isinstance(value, str) else json.dumps(value)

    def many(self, name: str) -> list[str]:
        """The values of a list: `name=a,b`, `name[]=a`, `name[0]=a` and `name=["a"]` are the same."""
        values: list[str] = []
        for value in self._values.get(name, ()):
            values.extend(listed(value))
        return values

    def whole(self, name: str) -> int | None:
        """A whole number, or nothing; anything else is an error of parameters."""
        text = self.one(name)
        if text is None:
            return None
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise bad_parameter(f"Param {name} must be an integer")
        return int(text)

    def pairs(self) -> list[tuple[str, str]]:
        """Every parameter with each of its values, as text."""
        return [
            (name, value if isinstance(value, str) else json.dumps(value))
            for name, values in self._values.items()
            for value in values
        ]

    def values(self) -> dict[str, Any]:
        """Every parameter by its name: its value, or the list of its values when it came more than once."""
        return {name: values[0] if len(values) == 1 else values for name, values in self._values.items()}

    def check_body(self) -> None:
        """Refuse a body that could not be read; only now, because the limits come first."""
        if self._problem:
            raise bad_parameter(self._problem)

    def _add_pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        nested: dict[str, Any] = {}
        for name, value in pairs:
            if "[" not in name:
                self._values.setdefault(name, []).append(value)
                continue
            match = _NESTED_NAME.fullmatch(name)
            path = re.findall(r"\[([^\[\]]*)\]", match["path"]) if match else []
            if match is None or len(path) > _NESTED_MOST:
                self._values.setdefault(name, []).append(value)
            elif len(path) == 1 and (not path[0] or path[0].isdecimal()):
                self._values.setdefault(match["name"], []).append(value)
            else:
                _nest(nested, [match["name"], *path], value)
        for name, value in nested.items():
            self._values[name] = [_as_lists(value)]

    def _read_body(self, body: bytes, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/json":
            self._read_json(body)
        elif kind in ("", "application/x-www-form-urlencoded"):
            self._add_pairs(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def _read_json(self, body: bytes) -> None:
        try:
            parsed = json.loads(body, parse_constant=_no_number)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            self._problem = "The body must be a JSON object"
            return
        self._values.update((name, [value]) for name, value in parsed.items() if value is not None)


def listed(value: Any) -> list[str]:
    """The texts of a list that came as JSON, as `['A', 'B']`, as `a,b`, or as a list already."""
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        value = parsed_json(text)
    if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
        raise bad_parameter("A list must be a JSON array of strings")
    return [str(item) for item in value]


def parsed_json(text: str) -> Any:
    """JSON, or the same with single quotes as in Meta's own examples; nothing when it is neither."""
    for attempt in (text, text.replace("'", '"')):
        try:
            return json.loads(attempt, parse_constant=_no_number)
        except (ValueError, RecursionError):
            continue
    return None


def _no_number(name: str) -> None:
    # Python would take NaN and Infinity, which are no JSON.
    raise ValueError(f"{name} is no JSON")


def _nest(into: dict[str, Any], path: list[str], value: str) -> None:
    *above, last = path
    for part in above:
        below = into.setdefault(part, {})
        if not isinstance(below, dict):
            return
        into = below
    into[last or str(len(into))] = value


def _as_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdecimal() for key in value):
        return [_as_lists(value[key]) for key in sorted(value, key=int)]
    return {key: _as_lists(below) for key, below in value.items()}


@lru_cache(maxsize=4096)
def _taken_apart(path: str) -> tuple[str | None, tuple[str, ...]]:
    """The version that a path names, and what comes after it."""
    parts = tuple(unquote(part) for part in path.split("/") if part)
    if parts and _VERSION.fullmatch(parts[0]):
        return parts[0], parts[1:]
    return None, parts


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, before anything is known about who makes it."""

    method: str
    path: str
    """As it came, without the query string, so without a token."""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""
    form: Form | None = None
    """A multipart body; `body` is empty then."""
    unreadable: bool = False
    """Whether the body was too large, or could not be decoded."""
    via: str | None = None
    """`batch` or `ids`, for a call that came inside another request."""
    cut: bool = False
    """Whether the connection broke before all of the body had come; only an upload keeps what had come."""

    @cached_property
    def parameters(self) -> Parameters:
        return Parameters(
            self.query,
            body=b"" if self.binary else self.body,
            content_type=self.headers.get("content-type", ""),
            form=self.form,
            unreadable=self.unreadable,
        )

    @property
    def version(self) -> str | None:
        """The version that the path names, such as `v23.0`."""
        return _taken_apart(self.path)[0]

    @property
    def segments(self) -> tuple[str, ...]:
        """The path after its version."""
        return _taken_apart(self.path)[1]

    @property
    def binary(self) -> bool:
        """Whether the body is a part of a file as it is, whatever its content type says."""
        return self.method == "POST" and bool(self.segments) and self.segments[0].startswith("upload:")

    @cached_property
    def token(self) -> str | None:
        """The access token: from the Authorization header, the query string or the body."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() in ("bearer", "oauth") and token.strip():
            return token.strip()
        return self.parameters.one("access_token") or None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes back for a call."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)

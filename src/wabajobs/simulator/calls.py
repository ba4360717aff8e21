"""What arrives and what goes back: a call as the Graph understands it, and its reply."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, unquote

from wabajobs.simulator.errors import bad_parameter

_VERSION = re.compile(r"v\d+\.\d+")
_LIST_NAME = re.compile(r"\[\d*\]$")


class Parameters:
    """The parameters of a call, from its query string and its form or JSON body; the body wins."""

    def __init__(
        self, query: str, *, body: bytes = b"", content_type: str = "", unreadable: bool = False
    ) -> None:
        self._values: dict[str, list[str]] = {}
        self._problem = "The body cannot be read" if unreadable else None
        for name, value in parse_qsl(query, keep_blank_values=True):
            self._add(name, value)
        if body:
            self._read_body(body, content_type)

    def one(self, name: str) -> str | None:
        """The parameter's last value, or nothing."""
        values = self._values.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """The values of a list: `name=a,b`, `name[]=a`, `name[0]=a` and `name=["a"]` are the same."""
        values: list[str] = []
        for value in self._values.get(name, ()):
            values.extend(_listed(value))
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
        """Every parameter with each of its values."""
        return [(name, value) for name, values in self._values.items() for value in values]

    def check_body(self) -> None:
        """Refuse a body that could not be read; only now, because the limits come first."""
        if self._problem:
            raise bad_parameter(self._problem)

    def _add(self, name: str, value: str) -> None:
        self._values.setdefault(_LIST_NAME.sub("", name), []).append(value)

    def _read_body(self, body: bytes, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/json":
            self._read_json(body)
        elif kind in ("", "application/x-www-form-urlencoded"):
            for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
                self._add(name, value)

    def _read_json(self, body: bytes) -> None:
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            self._problem = "The body must be a JSON object"
            return
        for name, value in parsed.items():
            if value is None:
                continue
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                self._values[name] = [json.dumps(value)]
            else:
                self._values[name] = [value if isinstance(value, str) else json.dumps(value)]


def _listed(value: str) -> list[str]:
    if value.startswith("["):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, list) or not all(isinstance(item, str) for item in parsed):
            raise bad_parameter("A list must be a JSON array of strings")
        return parsed
    return [part.strip() for part in value.split(",") if part.strip()]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, before anything is known about who makes it."""

    method: str
    path: str
    """As it came, without the query string, so without a token."""
    query: str = ""
    authorization: str = ""
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    unreadable: bool = False
    """Whether there was a body that could not be read."""

    @cached_property
    def parameters(self) -> Parameters:
        return Parameters(self.query, body=self.body, content_type=self.content_type, unreadable=self.unreadable)

    @cached_property
    def _parts(self) -> list[str]:
        return [unquote(part) for part in self.path.split("/") if part]

    @cached_property
    def version(self) -> str | None:
        """The version that the path names, such as `v23.0`."""
        parts = self._parts
        return parts[0] if parts and _VERSION.fullmatch(parts[0]) else None

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The path after its version."""
        return tuple(self._parts[1:] if self.version else self._parts)

    @cached_property
    def token(self) -> str | None:
        """The access token: from the Authorization header, the query string or the body."""
        scheme, _, token = self.authorization.partition(" ")
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

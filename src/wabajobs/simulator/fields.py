"""The `fields` parameter: `id,name,phone_numbers.limit(50){id,status}`, and nodes with the fields asked for.

A name that is an edge of the node brings that edge's list along (field expansion); an empty one is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from wabajobs.simulator.errors import GraphError, no_such_field

N = TypeVar("N")
_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[.,(){}]))")
_DEPTH_MOST = 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field that is asked for."""

    name: str
    modifiers: tuple[tuple[str, str], ...] = ()
    """Such as `limit(50)`, in order."""
    below: tuple[Field, ...] = ()
    """The fields asked of what the field holds."""
    below_text: str = ""
    """The same as it was written."""


@lru_cache(maxsize=1024)
def fields_asked(text: str | None) -> tuple[Field, ...]:
    """The fields of a `fields` parameter, each once, in its order; none when none are named."""
    text = text or ""
    reader = _Reader(text)
    fields = reader.fields(depth=0)
    if not reader.ended:
        raise _syntax_error(reader.place)
    return fields


class _Reader:
    """Reads one `fields` parameter from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.place = 0

    @property
    def ended(self) -> bool:
        return not self._text[self.place :].strip()

    def fields(self, *, depth: int) -> tuple[Field, ...]:
        if depth > _DEPTH_MOST:
            raise _syntax_error(self.place)
        found: dict[str, Field] = {}
        while True:
            while self._sign(","):
                pass
            name = self._name()
            if name is None:
                return tuple(found.values())
            found[name] = self._field(name, depth=depth)
            if not self._sign(","):
                return tuple(found.values())

    def _field(self, name: str, *, depth: int) -> Field:
        modifiers = []
        while self._sign("."):
            modifiers.append(self._modifier())
        below: tuple[Field, ...] = ()
        start = self.place
        if self._sign("{"):
            start = self.place
            below = self.fields(depth=depth + 1)
            end = self.place
            if not self._sign("}"):
                raise _syntax_error(self.place)
            return Field(name, tuple(modifiers), below, self._text[start:end].strip())
        self.place = start
        return Field(name, tuple(modifiers))

    def _modifier(self) -> tuple[str, str]:
        name = self._name()
        if name is None or not self._sign("("):
            raise _syntax_error(self.place)
        end = self._text.find(")", self.place)
        if end < 0:
            raise _syntax_error(len(self._text))
        value = self._text[self.place : end].strip()
        self.place = end + 1
        return name, value

    def _name(self) -> str | None:
        match = _TOKEN.match(self._text, self.place)
        if match is None or match["name"] is None:
            return None
        self.place = match.end()
        return match["name"]

    def _sign(self, sign: str) -> bool:
        match = _TOKEN.match(self._text, self.place)
        if match is None or match["sign"] != sign:
            return False
        self.place = match.end()
        return True


def _syntax_error(place: int) -> GraphError:
    return GraphError(
        message=f'Syntax error "Expected end of string instead of something else." at character {place}: fields',
        code=2500,
    )


Expand = Callable[[Field], Any]
"""The list of an edge as the Graph answers it; raises KeyError when there is no such edge."""


@dataclass(frozen=True)
class NodeType(Generic[N]):
    """A kind of node: its name at the Graph and its fields."""

    name: str
    """Such as `WhatsAppBusinessAccount`, as errors name it."""
    fields: Mapping[str, Callable[[N], Any]]
    """Each field's value as JSON can hold it; one that is None is left out of the answer."""
    defaults: tuple[str, ...]
    """What comes when no fields are asked for."""
    kind: str = ""
    """The kind of object whose edges may be expanded in a list of such nodes; none: no edges."""

    def checked(self, asked: Iterable[Field], *, edges: Iterable[str] = ()) -> None:
        """Refuse a field that neither the node nor its edges have."""
        for field in asked:
            if field.name not in self.fields and field.name not in edges:
                raise no_such_field(field.name, self.name)

    def render(self, node: N, asked: tuple[Field, ...], *, expand: Expand | None = None) -> dict[str, Any]:
        """The node with these fields, or its usual ones, and always its id."""
        if not asked:
            asked = tuple(Field(name) for name in self.defaults)
        rendered: dict[str, Any] = {}
        for field in asked:
            value = self._value(node, field, expand)
            if value is not None:
                rendered[field.name] = value
        if "id" in self.fields:
            rendered.setdefault("id", self.fields["id"](node))
        return rendered

    def _value(self, node: N, field: Field, expand: Expand | None) -> Any:
        if field.name in self.fields:
            return trimmed(self.fields[field.name](node), field.below)
        if expand is None:
            raise no_such_field(field.name, self.name)
        try:
            return expand(field)
        except KeyError:
            raise no_such_field(field.name, self.name) from None


def trimmed(value: Any, below: tuple[Field, ...]) -> Any:
    """What is asked for of a value that has fields itself; all of it when nothing is named."""
    if not below:
        return value
    if isinstance(value, list):
        return [trimmed(item, below) for item in value]
    if isinstance(value, dict):
        kept = {field.name: trimmed(value[field.name], field.below) for field in below if field.name in value}
        return {"id": value["id"], **kept} if "id" in value else kept
    return value

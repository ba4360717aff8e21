"""Where an operation's file comes from, as its payload says it. The bytes themselves never stand in a payload.

They are put aside when the operation is accepted, and go with it: a payload keeps their SHA-256.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    model_serializer,
    model_validator,
)

from wabajobs.errors import MediaRefused
from wabajobs.media.fetch import checked_url
from wabajobs.media.rules import LARGEST, Rules, fit, sniffed

_SOURCES = ("url", "data", "file", "handle")


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    if len(value) > LARGEST * 4 // 3 + 4:
        raise ValueError(f"a file has at most {LARGEST} bytes")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it must be base64 (RFC 4648, section 4), or bytes") from None


def _url(value: str) -> str:
    try:
        checked_url(value)
    except MediaRefused as refused:
        raise ValueError(str(refused)) from None
    return value


class MediaSource(BaseModel, extra="forbid"):
    """A file for Meta: exactly one of `url`, `data`, `file` and `handle`."""

    url: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_url)] | None = None
    """Where a worker fetches it, http or https."""
    data: Annotated[bytes, BeforeValidator(_decoded)] | None = Field(default=None, repr=False)
    """The bytes themselves; in JSON as base64."""
    file: Path | None = None
    """On the machine that enqueues, and read there at once. For the Hub's own files: never a partner's word."""
    handle: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,4096}$")] | None = None
    """What an upload has given before; it is good for `app` only."""
    app: Annotated[str, StringConstraints(pattern=r"^[0-9]{5,20}$")] | None = None
    """The app that made the upload of `handle`."""
    convert: bool = False
    """Whether an image may be cropped, scaled and encoded anew until it obeys the rules."""

    _content: bytes | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _one_source(self) -> "MediaSource":
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(_SOURCES)} is needed, not {' and '.join(given) or 'none'}"
            )
        if (self.app is None) is not (self.handle is None):
            raise ValueError("a handle and the app that it is good for (app) go together")
        if self.convert and self.handle is not None:
            raise ValueError("what has been uploaded cannot be converted any more")
        self._content = self.data if self.file is None else _read(self.file)
        if self._content is not None and len(self._content) > LARGEST:
            raise ValueError(f"a file has at most {LARGEST} bytes")
        return self

    @property
    def content(self) -> bytes | None:
        """The bytes, where they are at hand; None of what is yet to be fetched, or has been uploaded."""
        return self._content

    def check(self, rules: Rules) -> None:
        """Raise `MediaRefused` when the file is at hand and breaks the rules."""
        if self._content is not None:
            fit(self._content, rules, convert=self.convert)

    @model_serializer
    def _as_payload(self) -> dict[str, Any]:
        if self.handle is not None:
            return {"handle": self.handle, "app": self.app}
        where: dict[str, Any] = {"url": self.url}
        if self._content is not None:
            where = {
                "sha256": digest(self._content),
                "size": len(self._content),
                "type": sniffed(self._content),
            }
        return where | ({"convert": True} if self.convert else {})


def obeying(rules: Rules) -> AfterValidator:
    """Return a check of a payload's field: `photo: Annotated[MediaSource, obeying(PROFILE_PHOTO)]`."""

    def check(source: MediaSource) -> MediaSource:
        try:
            source.check(rules)
        except MediaRefused as refused:
            raise ValueError(str(refused)) from None
        return source

    return AfterValidator(check)


def digest(content: bytes) -> str:
    """Return the SHA-256 under which bytes are put aside, in hex."""
    return hashlib.sha256(content).hexdigest()


def sources_in(payload: object) -> Iterator[MediaSource]:
    """Yield the files of a payload, however deep in it they are."""
    match payload:
        case MediaSource():
            yield payload
        case BaseModel():
            for name in type(payload).model_fields:
                yield from sources_in(getattr(payload, name))
        case Mapping():
            for value in payload.values():
                yield from sources_in(value)
        case list() | tuple():
            for value in payload:
                yield from sources_in(value)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file() and path.exists():  # a pipe would keep us waiting for whoever writes into it
            raise ValueError(f"{path} is no file")
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None

"""What Meta takes as which file. A file's type is what its first bytes say, whatever its name or sender does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wabajobs.errors import MediaRefused
from wabajobs.media import images

_MIB: Final = 1024 * 1024
MOST_TO_CONVERT: Final = 32 * _MIB
"""Bytes of an image that is to be converted; afterwards it has at most what its rules say."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a file must be for its use."""

    what: str
    """Its use, for a sentence: `a profile photo`."""
    most: Mapping[str, int]
    """The types that it may have, and the bytes that each may have."""
    shape: images.Shape = field(default_factory=images.Shape)
    """What an image must look like besides."""

    def most_bytes(self, *, convert: bool) -> int:
        """Return how large a file may be before it is looked at."""
        most = max(self.most.values())
        return max(most, MOST_TO_CONVERT) if convert and self.takes_images else most

    @property
    def takes_images(self) -> bool:
        """Whether an image can be meant."""
        return not images.FORMATS.keys().isdisjoint(self.most)


_IMAGES: Final = {"image/jpeg": 5 * _MIB, "image/png": 5 * _MIB}

PROFILE_PHOTO: Final = Rules(
    what="a profile photo", most=_IMAGES, shape=images.Shape(square=True, least=192, best=640)
)
"""JPEG or PNG, at most 5 MB, square, 192 pixels or more, 640 advised.

Source: Meta Business Help Centre, "Edit your WhatsApp Business profile"; the API's reference names no sizes.
"""
HEADER_IMAGE: Final = Rules(what="a header image", most=_IMAGES, shape=images.Shape(best=2048))
"""JPEG or PNG, at most 5 MB. One that is converted has at most 2048 pixels a side: more than any telephone shows.

Source of the three: WhatsApp Cloud API, Media (supported types); Resumable Upload API (types that it takes).
"""
HEADER_VIDEO: Final = Rules(what="a header video", most={"video/mp4": 16 * _MIB})
"""MP4, at most 16 MB. Messages may have 3GPP, which the Resumable Upload API does not take."""
HEADER_DOCUMENT: Final = Rules(what="a header document", most={"application/pdf": 100 * _MIB})
"""PDF, at most 100 MB."""

LARGEST: Final = 100 * _MIB
"""Bytes that no file of any use exceeds."""


@dataclass(frozen=True)
class Fitted:
    """A file that obeys its rules."""

    content: bytes = field(repr=False)
    type: str


def fit(content: bytes, rules: Rules, *, convert: bool = False) -> Fitted:
    """Return the file as its rules want it; only with `convert` it may become another. Raises `MediaRefused`."""
    type_ = sniffed(content)
    if type_ is None:
        raise MediaRefused(f"{_are(content)} no file of a known type; {_wanted(rules)}")
    if len(content) > rules.most_bytes(convert=convert):
        raise MediaRefused(_too_large(content, rules.most_bytes(convert=convert)))
    if type_ in images.FORMATS and rules.takes_images:
        if convert:
            content, type_ = images.converted(content, rules.shape, most=rules.most)
        elif type_ in rules.most:
            images.check(content, rules.shape)
    if type_ not in rules.most:
        raise MediaRefused(f"it is {type_}, whatever its name; {_wanted(rules)}")
    if len(content) > rules.most[type_]:
        raise MediaRefused(_too_large(content, rules.most[type_]))
    return Fitted(content, type_)


def _are(content: bytes) -> str:
    return f"its {len(content)} bytes are" if content else "it is empty, so it is"


def _wanted(rules: Rules) -> str:
    return f"{rules.what} is {' or '.join(rules.most)}"


def _too_large(content: bytes, most: int) -> str:
    return f"it has {len(content)} bytes, more than the {most} that it may have"


_BRANDS: Final = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heic",
    b"msf1": "image/heic",
    b"avif": "image/avif",
    b"avis": "image/avif",
}
"""Brands of files that are built like an MP4 and are none."""


def sniffed(content: bytes) -> str | None:
    """Return the type that a file's first bytes tell, None when they tell none."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"%PDF-"):
        return "application/pdf"
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        return "video/3gpp" if brand.startswith((b"3gp", b"3g2")) else _BRANDS.get(brand, "video/mp4")
    return None

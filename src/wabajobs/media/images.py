"""Images, decoded with Pillow: none before its size is known, and none in more formats than we name.

A few kilobytes can say that they are an image of many gigabytes, so the pixels are counted before any of them is
decoded.
"""

import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps

from wabajobs.errors import MediaRefused

FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
"""What is decoded: types, and Pillow's names for them."""
MOST_PIXELS: Final = 50_000_000
"""Width times height. A telephone's largest photos; decoded it takes some 200 MB."""
_MOST_SCANS: Final = 100
"""A progressive JPEG is decoded once per scan: a thousand of them in a small file would keep a core busy."""
_QUALITIES: Final = (90, 80, 65)
_HALVINGS: Final = 4
_one_at_a_time: Final = threading.Lock()
"""The threads of a process decode one after the other: together they could fill its memory."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What an image must look like; sides are in pixels, 0: any."""

    square: bool = False
    least: int = 0
    """Each side, at least."""
    best: int = 0
    """To what a larger one is scaled down when it is converted."""


def check(content: bytes, shape: Shape) -> None:
    """Raise `MediaRefused` unless this is an image that can be decoded and has the shape."""
    image = _opened(content)
    _check_sides(*image.size, shape)
    if shape.best:
        image.draft("RGB", (shape.best, shape.best))  # a JPEG can be decoded smaller: as thorough, and cheaper
    with _one_at_a_time:
        _decode(image)


def converted(content: bytes, shape: Shape, *, most: Mapping[str, int]) -> tuple[bytes, str]:
    """Return the image as a JPEG or PNG of the shape, the right way up, and nothing but its pixels; and its type.

    `most` are the types that are wanted, and the bytes that each may have. Raises `MediaRefused`.
    """
    image = _opened(content)
    keeps_png = image.format == "PNG"
    if shape.best:
        image.draft("RGB", (shape.best, shape.best))  # a JPEG comes out no smaller than that on either side
    with _one_at_a_time:
        _decode(image)
        image = _shaped(_upright(image), shape)
        _check_sides(*image.size, shape)
        for encoded, type_ in _encodings(image, keeps_png=keeps_png):
            if type_ in most and len(encoded) <= most[type_]:
                return encoded, type_
    raise MediaRefused("the image cannot be made small enough")


def _opened(content: bytes) -> Image.Image:
    """Read what an image says of itself; nothing is decoded yet."""
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(FORMATS.values()))
    except Image.DecompressionBombError:  # Pillow counts, too, and does not say how many
        raise MediaRefused(f"the image has more than {MOST_PIXELS} pixels in all") from None
    except Exception as error:  # whatever a decoder makes of hostile bytes: it has dozens of errors
        raise MediaRefused(f"it is no image that can be read ({type(error).__name__})") from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise MediaRefused(f"the image has {width} x {height} pixels, more than {MOST_PIXELS} in all")
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > _MOST_SCANS:
        raise MediaRefused(f"the JPEG has more than {_MOST_SCANS} scans")
    return image


def _decode(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:
        raise MediaRefused(f"the image is damaged ({type(error).__name__})") from None


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says; one whose EXIF is damaged stays as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _check_sides(width: int, height: int, shape: Shape) -> None:
    if shape.square and width != height:
        raise MediaRefused(f"the image must be square, not {width} x {height}; convert: true crops it")
    if min(width, height) < shape.least:
        raise MediaRefused(f"the image must have {shape.least} pixels a side or more, not {width} x {height}")


def _shaped(image: Image.Image, shape: Shape) -> Image.Image:
    if shape.square:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    image = _plain(image)
    if shape.best and max(image.size) > shape.best:
        image.thumbnail((shape.best, shape.best), Image.Resampling.LANCZOS)
    return image


def _plain(image: Image.Image) -> Image.Image:
    """Return a new image of nothing but colours: no metadata, and white where it can be seen through."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value * (1 / 256)).convert("L")  # 16 bits per pixel
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        plain = Image.new("RGB", image.size, "white")
        plain.paste(image, mask=image.getchannel("A"))
        return plain
    plain = Image.new("RGB", image.size)
    plain.paste(image.convert("RGB"))
    return plain


def _encodings(image: Image.Image, *, keeps_png: bool) -> Iterator[tuple[bytes, str]]:
    """Yield the image again and again, each time smaller."""
    if keeps_png:
        yield _encoded(image, "PNG", optimize=True), "image/png"
    for _ in range(_HALVINGS):
        for quality in _QUALITIES:
            yield _encoded(image, "JPEG", quality=quality, optimize=True), "image/jpeg"
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()

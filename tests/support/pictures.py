"""Images, made for tests."""

import io
from functools import cache
from typing import Any

from PIL import Image


@cache
def picture(width: int = 640, height: int = 640, *, format_: str = "JPEG", mode: str = "RGB") -> bytes:
    """Return an image of these sides: one colour from left to right, so that one can see which way up it is."""
    ramp = Image.linear_gradient("L").rotate(90).resize((width, height))
    return encoded(ramp.convert(mode), format_)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()

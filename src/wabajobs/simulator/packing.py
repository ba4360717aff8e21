"""Long lists of times as short text."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable


def packed(times: Iterable[float]) -> str:
    """Many times as short text, to the last bit."""
    return b64encode(array("d", times).tobytes()).decode("ascii")


def unpacked(text: str) -> list[float]:
    """The times of `packed`."""
    times = array("d")
    times.frombytes(b64decode(text, validate=True))
    return times.tolist()

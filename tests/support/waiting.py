"""Waiting for something that happens elsewhere."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T], *, within: float = 20.0, what: str = "") -> T:
    """Return the first truthy answer; fail when there is none in `within` seconds."""
    end = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what or ask}; the last answer was {answer!r}")
        time.sleep(0.02)

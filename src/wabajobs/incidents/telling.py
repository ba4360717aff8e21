"""How reports are written: spans and moments as people read them, tables, nothing that looks like a secret."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

_HIDDEN: Final = "[hidden]"
_SECRETS: Final = (
    re.compile(r"EA[A-Za-z][A-Za-z0-9]{20,}"),  # a token of Meta's
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(
        r"""(?ix) \b (?:access_token|token|appsecret_proof|client_secret|secret|sig|signature|code|pin|password)
        ["']? \s* [=:] \s* ["']? (?P<value> [^\s"'&,;)]{4,} )"""
    ),
    # Long, and of all sorts of letters.
    re.compile(r"\b(?=\S*\d)(?=\S*[a-z])(?=\S*[A-Z])[\w+/-]{60,}={0,2}"),
)


def clean(text: str) -> str:
    """Return a text without what looks like a token, a PIN or a signature: somebody will have typed one."""
    for pattern in _SECRETS:
        text = pattern.sub(_hide, text)
    return text


def _hide(found: re.Match[str]) -> str:
    value = found.groupdict().get("value")
    return found[0].replace(value, _HIDDEN) if value else _HIDDEN


def span(seconds: float | timedelta) -> str:
    """Return a span in hours and minutes, as incidents are told: `48 h 55 min`, `4 min 05 s`."""
    seconds = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def moment(at: datetime | None) -> str:
    """Return a moment in UTC, and say that it is: `2024-09-12 14:45:07 UTC`."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table in Markdown; without rows, none."""
    lines = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *lines, ""] if lines else []


def _cell(value: object) -> str:
    return "-" if value is None else str(value).replace("|", "\\|").replace("\n", " ")

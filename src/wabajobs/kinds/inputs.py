"""Types of payload fields that several kinds share. What they refuse costs no call.

A secret's field is a `SecretStr`: its value is sealed at the edge, and the payload keeps a reference.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, StringConstraints

from wabajobs.secret import REFERENCE

MetaId = Annotated[str, StringConstraints(pattern=r"^[0-9]{5,20}$")]
"""The id of a thing of Meta's: 5 to 20 digits."""


def secret(rule: Callable[[str], object], what: str) -> AfterValidator:
    """Return a check of a secret's value; a reference to one is taken as it is. The value is in no sentence."""

    def check(value: SecretStr) -> SecretStr:
        plain = value.get_secret_value()
        if not REFERENCE.fullmatch(plain) and not rule(plain):
            raise ValueError(f"it must be {what}, or a reference (vault:<name>)")
        return value

    return AfterValidator(check)


PIN_DIGITS: Final = r"[0-9]{6}"
Pin = Annotated[SecretStr, secret(re.compile(PIN_DIGITS).fullmatch, "a PIN of six digits")]
"""The PIN of a number's two-step verification."""
Token = Annotated[SecretStr, secret(re.compile(r"[!-~]{1,2000}").fullmatch, "a token of visible characters")]


def _callback(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("a callback address begins with https://, and has no user and no fragment in it")
    return url


CallbackUrl = Annotated[str, StringConstraints(max_length=200), AfterValidator(_callback)]
"""Where Meta sends webhooks: https, at most 200 characters."""

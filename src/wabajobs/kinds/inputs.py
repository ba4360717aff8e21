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


def _known_code(number: str) -> str:
    if len(split_number(number)[1]) < 4:
        raise ValueError("a phone number is written with its country calling code: +4930123456")
    return number


PhoneNumber = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$"), AfterValidator(_known_code)]
"""A phone number with its country calling code, as ITU-T E.164 writes it: +4930123456."""

_SHORT_CODE: Final = re.compile(
    r"[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"  # all others have three digits
)


def split_number(number: str) -> tuple[str, str]:
    """Return country calling code and national number of a `PhoneNumber`.

    Source: ITU-T E.164, list of assigned country codes; none begins with another.
    """
    digits = number.removeprefix("+")
    short = _SHORT_CODE.match(digits)
    length = short.end() if short else 3
    return digits[:length], digits[length:]


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

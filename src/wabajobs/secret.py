"""Secrets that do not print themselves, and where they are read from."""

import re
from pathlib import Path
from typing import Final

_MASK: Final = "***"

VAULT_NAME: Final = r"[\w./@+-]{1,180}"
"""Regular expression of a name under which a secret can lie."""
REFERENCE: Final = re.compile(rf"(vault|hub):({VAULT_NAME})")
"""What stands in a payload in the place of a secret."""


def of_operation(operation_id: str, name: str) -> str:
    """Return the name under which an operation's secret lies."""
    return f"operations/{operation_id}/{name}"


class Secret:
    """A token, an app secret or a PIN. It shows itself only when asked by name: `reveal()`.

    `str`, `repr`, formatting and logging give `***`; pickling is refused, so that no secret can
    travel inside a task message.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hold `value`."""
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself. Call it only where it goes onto the wire."""
        return self._value

    def __str__(self) -> str:
        return _MASK

    __repr__ = __str__

    def __format__(self, _spec: str) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret must not be pickled: pass its name instead")


def read_secret_file(path: Path) -> Secret:
    """Read a secret from a file of its own, without the line end."""
    return Secret(path.read_text(encoding="utf-8").strip())

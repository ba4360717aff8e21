"""The house, put together from the settings, once per command."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from wabajobs.settings import Settings
from wabajobs.wiring import House


@contextmanager
def house() -> Iterator[House]:
    """Open the house for one command; its ledger has the right tables."""
    house = House(Settings.load())
    try:
        house.ledger.database.require_schema()
        yield house
    finally:
        house.close()


def me() -> str:
    """Return who types: `anna@host-1`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"unknown@{socket.gethostname()}"

"""The house, put together from the settings, once per command."""

import getpass
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wabajobs.settings import Settings
from wabajobs.wiring import House


@contextmanager
def house(*, wait: Callable[[float], object] | None = None) -> Iterator[House]:
    """Open the house for one command; its ledger has the right tables.

    A command ends when the ledger is away. A program that serves names how to `wait` for it, in seconds, and then
    ends if that answers that it is to stop.
    """
    house = House(Settings.load())
    try:
        if wait is None:
            house.ledger.database.require_schema()
        else:
            house.ledger.database.wait_for_schema(wait)
        yield house
    finally:
        house.close()


def me() -> str:
    """Return who types: `anna@host-1`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"unknown@{socket.gethostname()}"

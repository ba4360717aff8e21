"""wabajobs: the background job queue for WhatsApp Business Account management."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wabajobs.client import Client
    from wabajobs.dry_run import Plan
    from wabajobs.feed import Event, EventKind
    from wabajobs.intake import Request
    from wabajobs.operation import Operation, State

__all__ = ["Client", "Event", "EventKind", "Operation", "Plan", "Request", "State"]

_HOMES = {
    "Client": "wabajobs.client",
    "Event": "wabajobs.feed",
    "EventKind": "wabajobs.feed",
    "Plan": "wabajobs.dry_run",
    "Request": "wabajobs.intake",
    "Operation": "wabajobs.operation",
    "State": "wabajobs.operation",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: who needs only a part does not load the whole."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)

"""What vendors' forms have no place for: each kind of operation, how much of it waits, and since when."""

from typing import Any

from wabajobs.exposed.bulletin import Bulletin, KindLine
from wabajobs.exposed.statuspage import moment

Document = dict[str, Any]


def documents(bulletin: Bulletin) -> dict[str, Document]:
    """Return the document by its path."""
    lines = [_line(one, bulletin) for one in bulletin.kinds]
    return {"/operations.json": {"at": moment(bulletin.at), "operations": lines}}


def _line(one: KindLine, bulletin: Bulletin) -> Document:
    age = bulletin.at - one.oldest_held if one.oldest_held else None
    return {
        "kind": one.kind,
        "state": str(one.health.status),
        "since": moment(one.since),
        "reason": one.health.because,
        "held": one.held,
        "oldest_held_age": round(age.total_seconds()) if age else None,
        "next_update_due": moment(one.next_update_due) if one.next_update_due else None,
    }

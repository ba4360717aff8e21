"""Files that operations give to Meta: put aside by their SHA-256, and read a part at a time."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from sqlalchemy import Connection, func, select

from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import MediaRow


@dataclass(frozen=True, kw_only=True)
class Media:
    """A file to be put aside."""

    sha256: str
    type: str | None
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, content: bytes, *, type: str | None) -> Self:
        """Return these bytes as a file."""
        return cls(sha256=hashlib.sha256(content).hexdigest(), type=type, content=content)


class MediaRecords:
    """The table of files."""

    def __init__(self, database: Database) -> None:
        """Work on the table in `database`."""
        self._database = database

    def put(self, operation_id: str, media: Media, *, now: datetime) -> None:
        """Put a file aside for an operation, with which it goes; once, however often it is done."""
        with self._database.write() as connection:
            keep(connection, [media], operation_id=operation_id, now=now)

    def read(self, operation_id: str, sha256: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return a file, or `length` bytes of it from `start` on; None when it is not there (any more)."""
        content = func.substr(MediaRow.content, start + 1, *([] if length is None else [length]))
        query = select(content).where(MediaRow.operation_id == operation_id, MediaRow.sha256 == sha256)
        with self._database.read() as connection:
            found = connection.scalar(query)
        return None if found is None else bytes(found)


def keep(connection: Connection, files: Iterable[Media], *, operation_id: str, now: datetime) -> None:
    """Put files aside inside a transaction."""
    for one in files:
        row = {"sha256": one.sha256, "type": one.type, "size": len(one.content), "content": one.content}
        statement = upsert(connection, MediaRow).on_conflict_do_nothing()
        connection.execute(statement, row | {"operation_id": operation_id, "created_at": now})

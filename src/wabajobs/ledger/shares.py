"""Partners' shares: the weight and the cap that somebody has set, with actor and reason."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, func, insert, select

from wabajobs.errors import InvalidRequest
from wabajobs.ledger import audit
from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import ShareRow
from wabajobs.settings import HEAVIEST


@dataclass(frozen=True, kw_only=True)
class Share:
    """How a partner is served beside others."""

    partner: str
    weight: float = 1.0
    """How many turns he has for one of an ordinary partner's."""
    at_most: int | None = None
    """How many of his operations may be out at once; None: as many as there are slots."""
    actor: str
    reason: str
    created_at: datetime


@dataclass(frozen=True)
class Setting:
    """One entry of a partner's history."""

    share: Share
    taken_back: bool
    """From then on the configuration alone decided."""

    def __str__(self) -> str:
        share = self.share
        cap = f"at most {share.at_most} at once" if share.at_most else "no cap"
        what = "as configured" if self.taken_back else f"weight {share.weight:g}, {cap}"
        return f"{share.created_at:%Y-%m-%d %H:%M:%S} UTC  {what}, by {share.actor} ({share.reason})"


class Shares:
    """The record of all that was set; the newest of a partner is in force."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def set(self, share: Share) -> None:
        """Put a share in force. Raises `InvalidRequest` when nobody could be served so."""
        _require_possible(share)
        values = {name: getattr(share, name) for name in _FIELDS}
        with self._database.write() as connection:
            connection.execute(insert(ShareRow).values(**values, unset=False))
            audit.note(
                connection,
                "share",
                f"partner:{share.partner}",
                reason=share.reason,
                actor=share.actor,
                now=share.created_at,
                detail={"weight": share.weight, "at_most": share.at_most},
            )

    def unset(self, partner: str, *, actor: str, reason: str, now: datetime) -> bool:
        """Let the configuration decide again; False when nothing was set."""
        if partner not in {one.partner for one in self.current()}:
            return False
        values = {"partner": partner, "weight": 1.0, "actor": actor, "reason": reason, "created_at": now}
        with self._database.write() as connection:
            connection.execute(insert(ShareRow).values(**values, unset=True))
            audit.note(connection, "share forgotten", f"partner:{partner}", reason=reason, actor=actor, now=now)
        return True

    def current(self) -> list[Share]:
        """Return what is in force."""
        with self._database.read() as connection:
            rows = connection.execute(_CURRENT).mappings().all()
        return [_as_share(row) for row in rows]

    def history(self, partner: str) -> list[Setting]:
        """Return all that was ever decided about a partner, oldest first."""
        query = select(ShareRow.__table__).where(ShareRow.partner == partner).order_by(ShareRow.id)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [Setting(_as_share(row), taken_back=row["unset"]) for row in rows]


def _require_possible(share: Share) -> None:
    if not 0 < share.weight <= HEAVIEST:  # nor is NaN
        raise InvalidRequest(f"a weight is more than 0 and at most {HEAVIEST:g}, not {share.weight:g}")
    if share.at_most is not None and share.at_most < 1:
        raise InvalidRequest(f"a cap is at least 1, not {share.at_most}; to let nothing go, pause the partner")


def _as_share(row: RowMapping) -> Share:
    return Share(**{name: row[name] for name in _FIELDS})


_FIELDS: Final = ("partner", "weight", "at_most", "actor", "reason", "created_at")
_NEWEST: Final = select(func.max(ShareRow.id)).group_by(ShareRow.partner).scalar_subquery()
_CURRENT: Final = (
    select(ShareRow.__table__)
    .where(ShareRow.id.in_(_NEWEST), ShareRow.unset.is_(False))
    .order_by(ShareRow.partner)
)

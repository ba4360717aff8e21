"""Words for the public, drafted from how things are. Nobody sees them until a person has released them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from wabajobs.exposed.bulletin import Bulletin, PublicIncident, public_id
from wabajobs.exposed.health import Status
from wabajobs.ledger import Severity, Stage

_HOW: Final = {
    Status.DEGRADED: "slower than usual",
    Status.PARTIAL: "partly unavailable",
    Status.MAJOR: "unavailable",
    Status.MAINTENANCE: "under maintenance",
}
_KEPT: Final = (
    "What is accepted waits, and runs later by itself. Nothing is lost, and nothing need be sent again."
)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What might be said of an incident now."""

    incident: int
    stage: Stage
    title: str
    body: str
    impact: Severity
    components: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the public form."""
        return {
            "incident": self.incident,
            "status": str(self.stage),
            "title": self.title,
            "text": self.body,
            "impact": str(self.impact),
            "components": list(self.components),
        }


def draft(incident: int, bulletin: Bulletin, *, over: bool, update_within: timedelta) -> Draft:
    """Draft what to say of an incident; `over` when it has been closed."""
    told = next((one for one in bulletin.incidents if one.id == public_id("incident", incident)), None)
    unwell = bulletin.unwell
    names = tuple(line.name for line in unwell) or (told.newest.components if told else ())
    stage = _stage(bulletin, told, over=over)
    return Draft(
        incident=incident,
        stage=stage,
        title=told.newest.title if told else _title(names),
        body=_body(stage, bulletin, update_within),
        impact=bulletin.impact,
        components=names,
    )


def _stage(bulletin: Bulletin, told: PublicIncident | None, *, over: bool) -> Stage:
    if over:
        return Stage.RESOLVED
    if not bulletin.unwell:
        return Stage.MONITORING
    return Stage.IDENTIFIED if told and told.newest.stage is not Stage.INVESTIGATING else Stage.INVESTIGATING


def _title(names: tuple[str, ...]) -> str:
    return f"{', '.join(names) or 'Service'}: disruption"


def _body(stage: Stage, bulletin: Bulletin, update_within: timedelta) -> str:
    if stage is Stage.RESOLVED:
        return "The disruption is over. All operations run again, also those that had to wait."
    due = f"Next update by {bulletin.at + update_within:%Y-%m-%d %H:%M} UTC."
    if stage is Stage.MONITORING:
        return f"All operations run again, and what had to wait is being worked off. We keep watching. {due}"
    how = "; ".join(f"{line.name}: {_HOW[line.health.status]}" for line in bulletin.unwell)
    notices = " ".join(sorted({f"{work.notice.rstrip('.')}." for work in bulletin.maintenances}))
    looked = "We are looking into it" if stage is Stage.INVESTIGATING else "We know the cause, and work on it"
    return " ".join(filter(None, [f"{looked}. {how}.", _KEPT, notices, due]))

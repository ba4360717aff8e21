"""The bulletin in the form of Instatus's public data.

Source: Instatus, help, "Publicly available Data". Moments are written as JavaScript prints them.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wabajobs.exposed.bulletin import Bulletin, Line, Maintenance, PublicIncident, public_id
from wabajobs.exposed.health import Status
from wabajobs.ledger import Severity

Document = dict[str, Any]

_STATUSES: Final = {
    Status.OPERATIONAL: "OPERATIONAL",
    Status.DEGRADED: "DEGRADEDPERFORMANCE",
    Status.PARTIAL: "PARTIALOUTAGE",
    Status.MAJOR: "MAJOROUTAGE",
    Status.MAINTENANCE: "UNDERMAINTENANCE",
}
_IMPACTS: Final = {
    Severity.NONE: "OPERATIONAL",
    Severity.MINOR: "DEGRADEDPERFORMANCE",
    Severity.MAJOR: "PARTIALOUTAGE",
    Severity.CRITICAL: "MAJOROUTAGE",
}


def documents(bulletin: Bulletin) -> dict[str, Document]:
    """Return every document by its path."""
    return {
        "/summary.json": {
            "page": {"name": bulletin.name, "url": bulletin.url, "status": _page_status(bulletin)},
            "activeIncidents": [_incident(bulletin, one) for one in bulletin.incidents if not one.is_resolved],
            "activeMaintenances": [_maintenance(bulletin, one) for one in bulletin.maintenances],
        },
        "/v3/components.json": {"components": [_component(line) for line in bulletin.lines]},
    }


def moment(at: datetime) -> str:
    """Write a moment: `Sat Jun 11 2022 18:55:50 GMT+0000 (Coordinated Universal Time)`."""
    return f"{at.astimezone(UTC):%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)"


def _page_status(bulletin: Bulletin) -> str:
    statuses = {line.health.status for line in bulletin.lines} - {Status.OPERATIONAL}
    if not statuses:
        return "UP"
    return "UNDERMAINTENANCE" if statuses == {Status.MAINTENANCE} else "HASISSUES"


def _incident(bulletin: Bulletin, one: PublicIncident) -> Document:
    return {
        "id": one.id,
        "name": one.newest.title,
        "started": moment(one.updates[0].at),
        "status": one.newest.stage.upper(),
        "impact": _IMPACTS[one.impact],
        "url": f"{bulletin.url}/incidents/{one.id}",
        "updatedAt": moment(one.newest.at),
    }


def _maintenance(bulletin: Bulletin, work: Maintenance) -> Document:
    minutes = -((work.begins - work.ends) // timedelta(minutes=1))
    return {
        "id": work.id,
        "name": f"Maintenance: {', '.join(work.components)}",
        "start": moment(work.begins),
        "status": "INPROGRESS",
        "duration": str(minutes),
        "url": f"{bulletin.url}/incidents/{work.id}",
        "updatedAt": moment(work.begins),
    }


def _component(line: Line) -> Document:
    return {
        "id": public_id("component", line.name),
        "name": line.name,
        "description": "",
        "status": _STATUSES[line.health.status],
        "group": None,
    }

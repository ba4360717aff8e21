"""The bulletin in the form of Atlassian Statuspage's public API, version 2.

Source: the page `/api` of any public Statuspage. Lists are always there, and moments are UTC with milliseconds.
"""

from datetime import UTC, datetime
from typing import Any, Final

from wabajobs.exposed.bulletin import Bulletin, Line, Maintenance, PublicIncident, public_id
from wabajobs.exposed.health import Status
from wabajobs.ledger import Announcement, Severity, Stage

Document = dict[str, Any]

_BLENDED: Final = {
    Severity.NONE: "All Systems Operational",
    Severity.MINOR: "Partially Degraded Service",
    Severity.MAJOR: "Partial System Outage",
    Severity.CRITICAL: "Major Service Outage",
}


def documents(bulletin: Bulletin) -> dict[str, Document]:
    """Return every document by its path."""
    page, incidents, works = _page(bulletin), _incidents(bulletin), _maintenances(bulletin)
    unresolved = [one for one in incidents if one["resolved_at"] is None]
    lines = _components(bulletin)
    status = _status(bulletin)
    return {
        "/api/v2/summary.json": {
            "page": page,
            "components": lines,
            "incidents": unresolved,
            "scheduled_maintenances": works,
            "status": status,
        },
        "/api/v2/status.json": {"page": page, "status": status},
        "/api/v2/components.json": {"page": page, "components": lines},
        "/api/v2/incidents.json": {"page": page, "incidents": incidents},
        "/api/v2/incidents/unresolved.json": {"page": page, "incidents": unresolved},
        "/api/v2/scheduled-maintenances.json": {"page": page, "scheduled_maintenances": works},
        "/api/v2/scheduled-maintenances/active.json": {"page": page, "scheduled_maintenances": works},
        "/api/v2/scheduled-maintenances/upcoming.json": {"page": page, "scheduled_maintenances": []},
        **{f"/incidents/{one['id']}": {"page": page, "incident": one} for one in (*incidents, *works)},
    }


def moment(at: datetime) -> str:
    """Write a moment: `2024-09-25T13:02:47.545Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _page_id(bulletin: Bulletin) -> str:
    return public_id("page", bulletin.name)


def _page(bulletin: Bulletin) -> Document:
    return {
        "id": _page_id(bulletin),
        "name": bulletin.name,
        "url": bulletin.url,
        "time_zone": "Etc/UTC",
        "updated_at": moment(bulletin.updated_at),
    }


def _status(bulletin: Bulletin) -> Document:
    if bulletin.impact is Severity.NONE and any(
        one.health.status is Status.MAINTENANCE for one in bulletin.lines
    ):
        return {"indicator": "maintenance", "description": "Service Under Maintenance"}
    return {"indicator": str(bulletin.impact), "description": _BLENDED[bulletin.impact]}


def _components(bulletin: Bulletin) -> list[Document]:
    return [_component(bulletin, line, position) for position, line in enumerate(bulletin.lines, 1)]


def _component(bulletin: Bulletin, line: Line, position: int) -> Document:
    return {
        "id": public_id("component", line.name),
        "name": line.name,
        "status": str(line.health.status),
        "created_at": moment(bulletin.born),
        "updated_at": moment(line.since),
        "position": position,
        "description": None,
        "showcase": False,
        "start_date": None,
        "group_id": None,
        "page_id": _page_id(bulletin),
        "group": False,
        "only_show_if_degraded": False,
    }


def _named(bulletin: Bulletin, names: tuple[str, ...]) -> list[Document]:
    return [one for one in _components(bulletin) if one["name"] in names]


def _incidents(bulletin: Bulletin) -> list[Document]:
    return [_incident(bulletin, one) for one in bulletin.incidents]


def _incident(bulletin: Bulletin, one: PublicIncident) -> Document:
    first, newest = one.updates[0], one.newest
    monitoring, resolved = one.reached(Stage.MONITORING), one.reached(Stage.RESOLVED)
    return {
        "id": one.id,
        "name": newest.title,
        "status": str(newest.stage),
        "created_at": moment(first.at),
        "updated_at": moment(newest.at),
        "monitoring_at": moment(monitoring) if monitoring else None,
        "resolved_at": moment(resolved) if resolved else None,
        "impact": str(one.impact),
        "shortlink": f"{bulletin.url}/incidents/{one.id}",
        "started_at": moment(first.at),
        "page_id": _page_id(bulletin),
        "incident_updates": [_update(one, told) for told in reversed(one.updates)],
        "components": _named(bulletin, newest.components),
    }


def _update(incident: PublicIncident, told: Announcement) -> Document:
    at = moment(told.at)
    return {
        "id": public_id("update", told.id),
        "incident_id": incident.id,
        "status": str(told.stage),
        "body": told.body,
        "created_at": at,
        "updated_at": at,
        "display_at": at,
    }


def _maintenances(bulletin: Bulletin) -> list[Document]:
    return [_maintenance(bulletin, one) for one in bulletin.maintenances]


def _maintenance(bulletin: Bulletin, work: Maintenance) -> Document:
    began = moment(work.begins)
    told = {
        "id": public_id("update", work.id),
        "incident_id": work.id,
        "status": "in_progress",
        "body": work.notice,
        "created_at": began,
        "updated_at": began,
        "display_at": began,
    }
    return {
        "id": work.id,
        "name": f"Maintenance: {', '.join(work.components)}",
        "status": "in_progress",
        "created_at": began,
        "updated_at": began,
        "monitoring_at": None,
        "resolved_at": None,
        "impact": "maintenance",
        "shortlink": f"{bulletin.url}/incidents/{work.id}",
        "started_at": began,
        "page_id": _page_id(bulletin),
        "incident_updates": [told],
        "components": _named(bulletin, work.components),
        "scheduled_for": began,
        "scheduled_until": moment(work.ends),
    }

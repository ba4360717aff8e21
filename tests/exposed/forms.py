"""The vendors' forms as JSON schemas, written from their public documentation.

Statuspage: the page `/api` of any public Statuspage.
Instatus: help, "Publicly available Data", and the lists of possible values of its API reference.
"""

from typing import Any

Schema = dict[str, Any]

MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "format": "date-time"}
WORD = {"type": "string", "minLength": 1}
TEXT = {"type": "string"}
ADDRESS = {"type": "string", "format": "uri", "pattern": "^https?://"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def exactly(**fields: Schema) -> Schema:
    """An object with these fields, all of them, and no other."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def a_list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


# ── Statuspage ──────────────────────────────────────────────────────────────────────────────────────────────

PAGE = exactly(id=WORD, name=WORD, url=ADDRESS, time_zone={"const": "Etc/UTC"}, updated_at=MOMENT)
STATUS = exactly(indicator=one_of("none", "minor", "major", "critical", "maintenance"), description=WORD)
COMPONENT = exactly(
    id=WORD,
    name=WORD,
    status=one_of("operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"),
    created_at=MOMENT,
    updated_at=MOMENT,
    position={"type": "integer", "minimum": 1},
    description=maybe(TEXT),
    showcase={"type": "boolean"},
    start_date=maybe(WORD),
    group_id=maybe(WORD),
    page_id=WORD,
    group={"type": "boolean"},
    only_show_if_degraded={"type": "boolean"},
)
_STAGES = ("investigating", "identified", "monitoring", "resolved", "postmortem")
_WORKS = ("scheduled", "in_progress", "verifying", "completed")


def _told(stages: tuple[str, ...]) -> Schema:
    return exactly(
        id=WORD,
        incident_id=WORD,
        status=one_of(*stages),
        body=WORD,
        created_at=MOMENT,
        updated_at=MOMENT,
        display_at=MOMENT,
    )


def _event(stages: tuple[str, ...], impacts: tuple[str, ...], **more: Schema) -> Schema:
    return exactly(
        id=WORD,
        name=WORD,
        status=one_of(*stages),
        created_at=MOMENT,
        updated_at=MOMENT,
        monitoring_at=maybe(MOMENT),
        resolved_at=maybe(MOMENT),
        impact=one_of(*impacts),
        shortlink=ADDRESS,
        started_at=MOMENT,
        page_id=WORD,
        incident_updates={**a_list(_told(stages)), "minItems": 1},
        components=a_list(COMPONENT),
        **more,
    )


INCIDENT = _event(_STAGES, ("none", "minor", "major", "critical"))
MAINTENANCE = _event(_WORKS, ("none", "maintenance"), scheduled_for=MOMENT, scheduled_until=MOMENT)
UNRESOLVED = {"allOf": [INCIDENT, {"properties": {"status": {"not": {"enum": ["resolved", "postmortem"]}}}}]}

STATUSPAGE: dict[str, Schema] = {
    "/api/v2/summary.json": exactly(
        page=PAGE,
        components=a_list(COMPONENT),
        incidents=a_list(UNRESOLVED),
        scheduled_maintenances=a_list(MAINTENANCE),
        status=STATUS,
    ),
    "/api/v2/status.json": exactly(page=PAGE, status=STATUS),
    "/api/v2/components.json": exactly(page=PAGE, components=a_list(COMPONENT)),
    "/api/v2/incidents.json": exactly(page=PAGE, incidents=a_list(INCIDENT)),
    "/api/v2/incidents/unresolved.json": exactly(page=PAGE, incidents=a_list(UNRESOLVED)),
    **{
        f"/api/v2/scheduled-maintenances{which}.json": exactly(
            page=PAGE, scheduled_maintenances=a_list(MAINTENANCE)
        )
        for which in ("", "/active", "/upcoming")
    },
}

# ── Instatus ────────────────────────────────────────────────────────────────────────────────────────────────

_JAVASCRIPTS = {
    "type": "string",
    "pattern": r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d\d \d{4}"
    r" \d\d:\d\d:\d\d GMT\+0000 \(Coordinated Universal Time\)$",
}
_IMPACTS = ("OPERATIONAL", "UNDERMAINTENANCE", "DEGRADEDPERFORMANCE", "PARTIALOUTAGE", "MAJOROUTAGE")

INSTATUS: dict[str, Schema] = {
    "/summary.json": exactly(
        page=exactly(name=WORD, url=ADDRESS, status=one_of("UP", "HASISSUES", "UNDERMAINTENANCE")),
        activeIncidents=a_list(
            exactly(
                id=WORD,
                name=WORD,
                started=_JAVASCRIPTS,
                status=one_of("INVESTIGATING", "IDENTIFIED", "MONITORING", "RESOLVED"),
                impact=one_of(*_IMPACTS),
                url=ADDRESS,
                updatedAt=_JAVASCRIPTS,
            )
        ),
        activeMaintenances=a_list(
            exactly(
                id=WORD,
                name=WORD,
                start=_JAVASCRIPTS,
                status=one_of("NOTSTARTEDYET", "INPROGRESS", "COMPLETED"),
                duration={"type": "string", "pattern": "^[0-9]+$"},
                url=ADDRESS,
                updatedAt=_JAVASCRIPTS,
            )
        ),
    ),
    "/v3/components.json": exactly(
        components=a_list(
            exactly(id=WORD, name=WORD, description=TEXT, status=one_of(*_IMPACTS), group={"type": "null"})
        )
    ),
}

# ── ours ────────────────────────────────────────────────────────────────────────────────────────────────────

OPERATIONS: dict[str, Schema] = {
    "/operations.json": exactly(
        at=MOMENT,
        operations=a_list(
            exactly(
                kind=WORD,
                state=COMPONENT["properties"]["status"],
                since=MOMENT,
                reason=maybe(WORD),
                held={"type": "integer", "minimum": 0},
                oldest_held_age=maybe({"type": "integer", "minimum": 0}),
                next_update_due=maybe(MOMENT),
            )
        ),
    )
}

FORMS = STATUSPAGE | INSTATUS | OPERATIONS

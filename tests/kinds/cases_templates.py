"""The template kinds: creating in each of its ways, editing, deleting in each of its ways, migrating."""

from typing import Any

from tests.kinds.cases import Case, case
from tests.kinds.cases_profile import uploaded
from tests.kinds.templates import (
    AUTHENTICATION,
    BODY,
    LIBRARY,
    MEDIA,
    TEXT,
    UPSERT,
    brothers,
    mirrored,
    seen,
    there,
)
from tests.support.stage import Stage
from wabajobs.operation import Operation


def _world(stage: Stage, operation: Operation) -> Any:
    """What recipients and the mirror see, and the facts; without what depends on when it was done."""
    assert operation.waba is not None
    result = {
        name: value
        for name, value in (operation.result or {}).items()
        if name not in ("name_blocked_until", "handle", "handle_at")
    }
    return result, seen(stage, operation.waba), mirrored(stage, operation.waba)


for name, payload in {
    "text": TEXT,
    "media": MEDIA,
    "library": LIBRARY,
    "authentication": AUTHENTICATION,
    "several languages": UPSERT,
}.items():
    case(
        Case(
            name=f"template_create, {name}",
            kind="template_create",
            prepare=lambda stage, payload=payload: {"waba": stage.waba, "payload": payload},
            state=_world,
        )
    )


case(
    Case(
        name="template_create, a handle",
        kind="template_create",
        prepare=lambda stage: {
            "waba": stage.waba,
            "payload": {**MEDIA, "media": {"handle": uploaded(stage), "app": stage.app}},
        },
        state=_world,
    )
)


def _edit(stage: Stage, **changes: Any) -> dict[str, Any]:
    payload = {"template_id": there(stage, stage.waba, "welcome"), "name": "welcome", **changes}
    return {"waba": stage.waba, "payload": payload}


case(
    Case(
        name="template_edit",
        kind="template_edit",
        prepare=lambda stage: _edit(stage, components=[BODY]),
        state=_world,
    )
)
case(
    Case(
        name="template_edit, media",
        kind="template_edit",
        prepare=lambda stage: _edit(stage, components=MEDIA["components"], media=MEDIA["media"]),
        state=_world,
    )
)


def _delete(stage: Stage, which: str) -> dict[str, Any]:
    one = there(stage, stage.waba, "welcome")
    other = there(stage, stage.waba, "welcome", language="de")
    payload = {
        "name": {"name": "welcome"},
        "id": {"name": "welcome", "hsm_id": one},
        "ids": {"hsm_ids": [one, other]},
    }[which]
    return {"waba": stage.waba, "payload": payload}


for which in ("name", "id", "ids"):
    case(
        Case(
            name=f"template_delete by {which}",
            kind="template_delete",
            prepare=lambda stage, which=which: _delete(stage, which),
            state=_world,
        )
    )


def _copied(stage: Stage, operation: Operation) -> Any:
    # Whether a template was copied by this call or by one before, of which nobody heard, Meta does not tell.
    assert operation.waba is not None
    assert operation.result is not None
    done = operation.result["migrated"] + len(operation.result["there_already"])
    return done, operation.result["failed"], seen(stage, operation.waba)


def _migration(stage: Stage) -> dict[str, Any]:
    source, destination = brothers(stage)
    there(stage, source, "unloved", status="REJECTED")
    return {"waba": destination, "payload": {"source_waba_id": source}}


def _chosen(stage: Stage) -> dict[str, Any]:
    asked = _migration(stage)
    ids = [one.id for one in stage.simulator.world.listed(stage.simulator.world.waba(stage.waba))]
    return {**asked, "payload": {**asked["payload"], "template_ids": ids[1:]}}


case(
    Case(
        name="template_migration by ids",
        kind="template_migration",
        prepare=_chosen,
        state=_copied,
    )
)
case(
    Case(
        name="template_migration, broken off",
        kind="template_migration",
        prepare=_migration,
        state=_copied,
        knobs={"templates": 6, "template_migration_most": 2},
    )
)
case(
    Case(
        name="template_migration",
        kind="template_migration",
        prepare=_migration,
        state=_copied,
    )
)

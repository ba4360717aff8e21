"""`profile_update`, and `profile_photo` in one part, in several, and with a handle that is there already."""

from collections.abc import Mapping
from typing import Any

from tests.kinds.cases import Case, case
from tests.support.pictures import picture
from tests.support.stage import Stage
from wabajobs.operation import Operation
from wabajobs.simulator.world import uploads

CHANGES: Mapping[str, Any] = {
    "about": "Open all day",
    "address": "1 Main Street",
    "description": "Bread and cake",
    "email": "hello@bakery.example",
    "websites": ["https://bakery.example"],
    "vertical": "RESTAURANT",
}
LARGE = picture(1400, 1400)
PARTS = 2
"""Into so many the large photo is cut."""


def profile(stage: Stage) -> dict[str, Any]:
    """Return the number's profile as the simulator has it."""
    return dict(stage.simulator.world.nodes[stage.number].profile)


def with_photo(stage: Stage, **source: Any) -> Mapping[str, Any]:
    """Return what `accept` takes for a photo."""
    return {"waba": stage.waba, "payload": {"number": stage.number, "photo": source or {"data": picture()}}}


def uploaded(stage: Stage) -> str:
    """Return the handle of a photo that somebody has uploaded before."""
    world = stage.simulator.world
    session = uploads.open_session(
        world, app_id=stage.app, file_name="a", file_length=len(picture()), file_type="image/jpeg"
    )
    uploads.receive(world, session, picture(), offset=0)
    handle = world.nodes[session.id].handle
    assert handle is not None
    return handle


def _set(stage: Stage, operation: Operation) -> Any:
    return profile(stage), operation.payload


case(
    Case(
        name="profile_update",
        kind="profile_update",
        prepare=lambda stage: {"waba": stage.waba, "payload": {"number": stage.number, **CHANGES}},
        state=_set,
    )
)
case(Case(name="profile_photo", kind="profile_photo", prepare=with_photo, state=_set))
case(
    Case(
        name="profile_photo with a handle",
        kind="profile_photo",
        prepare=lambda stage: with_photo(stage, handle=uploaded(stage), app=stage.app),
        state=_set,
    )
)
case(
    Case(
        name="profile_photo in parts",
        kind="profile_photo",
        prepare=lambda stage: with_photo(stage, data=LARGE),
        state=_set,
        settings={"media": {"chunk_bytes": len(LARGE) // PARTS + 1}},
    )
)

"""`profile_photo`: put a photo into the business profile of a number.

The photo is checked, and made square on request, before anything is uploaded; then its handle is set. The API has
no way to take a photo out.

Cost: three calls; one for a handle that is there already.
Source: WhatsApp Cloud API, Business profiles; Graph API, Resumable Upload API.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel

from wabajobs.capability import Capability
from wabajobs.errors import GraphError
from wabajobs.kinds.inputs import MetaId
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.uploads import handle, renew_if_refused, upload_steps
from wabajobs.kinds.work import Work
from wabajobs.media import PROFILE_PHOTO, MediaSource, obeying


class ProfilePhoto(BaseModel, extra="forbid"):
    """The number and its photo."""

    number: MetaId
    """Id of the phone number."""
    photo: Annotated[MediaSource, obeying(PROFILE_PHOTO)]


def set_photo(work: Work) -> dict[str, Any]:
    """Set the photo. To set the same one again changes nothing."""
    number = work.operation.payload["number"]
    try:
        work.graph.post(
            f"{number}/whatsapp_business_profile",
            messaging_product="whatsapp",
            profile_picture_handle=handle(work, "photo"),
        )
    except GraphError as error:
        renew_if_refused(work, error, "photo")
        raise
    return {"number": number}


def _touches(payload: Mapping[str, Any]) -> str:
    # Not the whole profile: a photo that waits for uploads must not keep its texts from being changed.
    return f"photo:{payload['number']}"


KIND: Final = Kind(
    name="profile_photo",
    summary="set the photo of a number's business profile",
    payload=ProfilePhoto,
    steps=(
        *upload_steps("photo", rules=PROFILE_PHOTO),
        Step(
            name="set",
            run=set_photo,
            capability=Capability.PROFILE,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/whatsapp_business_profile"),),
        ),
    ),
    touches=_touches,
)

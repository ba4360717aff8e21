"""The Resumable Upload API: open a session, send the file, get its handle; go on where it broke.

https://developers.facebook.com/docs/graph-api/guides/upload
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from wabajobs.simulator.errors import bad_parameter, no_such_object, token_missing
from wabajobs.simulator.inputs import Input, Nothing, Text, Whole
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Upload, uploads


class OpenInput(Input):
    file_name: Text = Field(min_length=1, max_length=1024)
    file_length: Whole = Field(description="Bytes of the whole file")
    file_type: Text = Field(description="Such as image/jpeg")
    session_type: Literal["attachment"] = "attachment"


def open_session(context: Context, asked: OpenInput) -> dict[str, Any]:
    """Open a session for one file of the app."""
    upload = uploads.open_session(
        context.world,
        app_id=context.app.id,
        file_name=asked.file_name,
        file_length=asked.file_length,
        file_type=asked.file_type,
    )
    subject = f"{context.app.id}/{upload.file_name}/{upload.file_length}/{upload.file_type}"
    context.effect("upload_opened", subject, upload=upload.id)
    return {"id": f"{upload.id}?sig={upload.signature}"}


def send(context: Context, _asked: Nothing) -> dict[str, Any]:
    """Send the file, or the rest of it, as the body; the answer is its handle once all of it is there.

    What the answer to a part is, when more is still to come, is not documented: here the same as to a GET.
    """
    upload = _own(context)
    offset = context.call.headers.get("file_offset", "").strip()
    if not (offset.isdecimal() and offset.isascii() and len(offset) < 16):
        raise bad_parameter("The header file_offset must be a whole number")
    if context.call.unreadable:
        raise bad_parameter("The body cannot be read")
    content = context.call.body
    if not content and upload.handle is None and not context.call.cut:
        raise bad_parameter("The body must be the file's content")
    user = context.token.user_id if context.token else ""
    if uploads.receive(context.world, upload, content, offset=int(offset), user_id=user):
        context.effect("upload_finished", upload.id, crc32=upload.digest, length=upload.file_length)
    elif upload.handle is not None:
        context.remarks.idle = True
    return {"h": upload.handle} if upload.handle is not None else _place(upload)


def show(context: Context, _asked: Nothing) -> dict[str, Any]:
    """How much of a file is there already."""
    _own(context)
    return _place(context.seen(Upload))


def _own(context: Context) -> Upload:
    """The session, if its app asks with the right signature, and with its token in the header."""
    scheme, _, token = context.call.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("oauth", "bearer") or not token.strip():
        raise token_missing()
    upload = context.the(Upload)
    if upload.app_id != context.app.id:
        raise no_such_object(context.call.method, upload.id)
    if context.parameters.one("sig") != upload.signature:
        raise uploads.wrong_signature()
    return upload


def _place(upload: Upload) -> dict[str, Any]:
    return {"id": f"{upload.id}?sig={upload.signature}", "file_offset": upload.received}


ROUTES = (
    Route(
        name="uploads.open",
        method="POST",
        path="/{app}/uploads",
        handler=open_session,
        input=OpenInput,
        capability="uploads",
        scopes=(),
    ),
    Route(
        name="uploads.send",
        method="POST",
        path="/{upload}",
        handler=send,
        capability="uploads",
        scopes=(),
        header_only=True,
        sends="binary",
    ),
    Route(
        name="uploads.get",
        method="GET",
        path="/{upload}",
        handler=show,
        capability="uploads",
        scopes=(),
        header_only=True,
    ),
)

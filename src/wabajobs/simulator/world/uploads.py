"""Uploads: sessions that take a file in one or several parts, and the handle that stands for the file then.

https://developers.facebook.com/docs/graph-api/guides/upload

Nothing of a file is kept but its length, a checksum, its first bytes, and an image's size.
"""

from __future__ import annotations

import base64
import re
import zlib
from typing import TYPE_CHECKING

from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.world.nodes import Upload

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

TYPES = ("application/pdf", "image/jpeg", "image/jpg", "image/png", "video/mp4")
"""What may be uploaded."""

_HEAD_MOST = 64 * 1024
"""So much of a file is looked at for an image's size; in a JPEG it may come after pages of metadata."""
_HEAD_KEPT = 16
_HANDLE = re.compile(r"4::[A-Za-z0-9+/=]+:AR(?P<key>[A-Za-z0-9]+):e:[0-9]+:[0-9]+:[0-9]*:AR[0-9a-f]+")


def open_session(world: World, *, app_id: str, file_name: str, file_length: int, file_type: str) -> Upload:
    """A session for one file."""
    if not 1 <= file_length <= world.config.upload_most:
        raise bad_parameter(f"Param file_length must be between 1 and {world.config.upload_most}")
    if file_type.lower() not in TYPES:
        raise bad_parameter(f"Param file_type must be one of {{{', '.join(TYPES)}}}")
    return world.add(
        Upload(
            id=_session_id(world.fresh_text(40)),
            signature="AR" + world.fresh_text(28),
            app_id=app_id,
            file_name=file_name,
            file_length=file_length,
            file_type=file_type.lower(),
            opened_at=world.now(),
        )
    )


def receive(world: World, upload: Upload, content: bytes, *, offset: int, user_id: str = "") -> bool:
    """Take a part of the file that begins at this offset; whether that made the file whole.

    What a wrong offset is answered with is not documented.
    """
    if offset != upload.received:
        raise bad_parameter(f"Param file_offset must be {upload.received} - got {offset}")
    if len(content) > upload.file_length - offset:
        raise bad_parameter(
            f"The file has {offset + len(content)} bytes, more than the file_length {upload.file_length}"
        )
    if upload.handle is not None:
        return False
    upload = world.change(upload)
    upload.received += len(content)
    upload.crc = zlib.crc32(content, upload.crc)
    upload.head += content[: _HEAD_MOST - len(upload.head)]
    if upload.received < upload.file_length:
        return False
    _finish(world, upload, user_id)
    return True


def _finish(world: World, upload: Upload, user_id: str) -> None:
    upload.digest = f"{upload.crc:08x}"
    upload.content_type = sniffed(upload.head)
    upload.pixels = image_size(upload.head)
    upload.head = upload.head[:_HEAD_KEPT]
    upload.finished_at = world.now()
    upload.handle = ":".join(
        (
            "4:",
            base64.b64encode(upload.file_type.encode()).decode(),
            "AR" + _key_of(upload),
            "e",
            str(int(world.unix() + world.config.handle_ttl)),
            upload.app_id,
            user_id,
            "AR" + upload.digest,
        )
    )


def upload_of(world: World, handle: str) -> Upload | None:
    """The file that a handle stands for, or nothing."""
    match = _HANDLE.fullmatch(handle)
    node = world.nodes.get(_session_id(match["key"])) if match else None
    return node if isinstance(node, Upload) and node.handle == handle else None


def handle_problem(world: World, handle: str, app_id: str) -> str | None:
    """Why this app cannot use a handle: unknown, of another app, or too old; nothing when it can.

    How long a handle lives is not documented: `handle_ttl`.
    """
    upload = upload_of(world, handle)
    if upload is None:
        return "The file handle is not valid"
    if upload.app_id != app_id:
        return "The file handle belongs to another app"
    if world.now() >= upload.finished_at + world.config.handle_ttl:
        return "The file handle has expired"
    return None


def usable(world: World, handle: str, app_id: str, *, name: str) -> Upload:
    """The file that a handle stands for; raises the Graph's error when this app cannot use it.

    `name`: the parameter in which it came.
    """
    problem = handle_problem(world, handle, app_id)
    upload = upload_of(world, handle)
    if problem or upload is None:
        raise bad_parameter(f"Param {name}: {problem}")
    return upload


def wrong_signature() -> GraphError:
    return GraphError(message="Incorrect signature", code=104)


# What a file is


def sniffed(head: bytes) -> str | None:
    """The type that a file's first bytes tell; nothing when they tell none."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    return "video/mp4" if head[4:8] == b"ftyp" else None


def image_size(head: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG or PNG from its first bytes; nothing when they do not tell."""
    match sniffed(head):
        case "image/png" if head[12:16] == b"IHDR" and len(head) >= 24:
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        case "image/jpeg":
            return _jpeg_size(head)
        case _:
            return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    # Segments follow one another: a marker of two bytes, a length of two, and what it holds.
    place = 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = head[place + 5 : place + 7], head[place + 7 : place + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return None


def _session_id(key: str) -> str:
    # So made that the handle, which has the key too, leads back to the session.
    return "upload:" + base64.urlsafe_b64encode(f"1:attachment:{key}".encode()).decode()


def _key_of(upload: Upload) -> str:
    plain = base64.urlsafe_b64decode(upload.id.removeprefix("upload:"))
    return plain.decode().rpartition(":")[2]

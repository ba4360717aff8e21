"""A payload names one source of a file; the bytes go beside it, and never in it."""

import base64
import json
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.support.pictures import picture
from wabajobs.media import PROFILE_PHOTO, MediaSource, obeying, sources_in
from wabajobs.media.rules import LARGEST

PHOTO = picture()
AS_TEXT = base64.b64encode(PHOTO).decode()


class Payload(BaseModel):
    """One file, and more of them deeper."""

    photo: Annotated[MediaSource, obeying(PROFILE_PHOTO)] | None = None
    cards: list[dict[str, MediaSource]] = []


def refused(words: str, **source: Any) -> None:
    with pytest.raises(ValidationError, match=words):
        MediaSource.model_validate(source)


def test_bytes_come_as_they_are_as_base64_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(PHOTO)
    lines = "\n".join(AS_TEXT[place : place + 76] for place in range(0, len(AS_TEXT), 76))

    for source in ({"data": PHOTO}, {"data": AS_TEXT}, {"data": lines}, {"file": str(file)}):
        assert MediaSource.model_validate(source).content == PHOTO


def test_a_payload_keeps_what_names_the_file_and_not_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(PHOTO)

    kept = Payload.model_validate({"photo": {"file": str(file), "convert": True}}).model_dump(mode="json")

    assert kept["photo"].keys() == {"sha256", "size", "type", "convert"}
    assert (kept["photo"]["size"], kept["photo"]["type"]) == (len(PHOTO), "image/jpeg")
    assert AS_TEXT[:20] not in json.dumps(kept)
    assert str(tmp_path) not in json.dumps(kept)
    assert MediaSource(url="https://a.example/b").model_dump(mode="json") == {"url": "https://a.example/b"}
    assert MediaSource(handle="4::a", app="12345").model_dump(mode="json") == {"handle": "4::a", "app": "12345"}


def test_all_files_are_found_however_deep() -> None:
    payload = Payload.model_validate(
        {"photo": {"data": PHOTO}, "cards": [{"a": {"data": b"1"}}, {"b": {"data": b"2"}, "c": {"data": b"1"}}]}
    )

    assert [source.content for source in sources_in(payload)] == [PHOTO, b"1", b"2", b"1"]


def test_the_bytes_are_in_no_repr() -> None:
    assert "JFIF" not in repr(MediaSource(data=PHOTO))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "exactly one of url, data, file, handle is needed, not none"),
        ({"url": "https://a.example/", "data": AS_TEXT}, "exactly one .* not url and data"),
        ({"url": "ftp://a.example/"}, "must begin with https"),
        ({"url": "https://anna:hush@a.example/"}, "no user or password"),
        ({"url": "https://a.example/" + "a" * 2000}, "at most 2000 characters"),
        ({"data": "not base64!"}, "it must be base64"),
        ({"data": AS_TEXT[:-2]}, "it must be base64"),
        ({"handle": "4::a"}, "go together"),
        ({"app": "12345", "data": AS_TEXT}, "go together"),
        ({"handle": "4::a b", "app": "12345"}, "pattern"),
        ({"handle": "4::a", "app": "an app"}, "pattern"),
        ({"handle": "4::a", "app": "12345", "convert": True}, "cannot be converted"),
        ({"sha256": "0" * 64}, "[Ee]xtra"),
    ],
)
def test_what_is_no_source(source: dict[str, Any], words: str) -> None:
    refused(words, **source)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    refused("cannot be read", file=str(tmp_path / "none"))
    refused("is no file", file=str(tmp_path))
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(LARGEST + 1)
    refused("at most 104857600 bytes", file=str(large))


def test_a_pipe_is_no_file_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused("is no file", file=str(tmp_path / "pipe"))


def test_a_file_at_hand_is_checked_at_the_edge_and_one_far_away_is_not() -> None:
    with pytest.raises(ValidationError, match="must be square"):
        Payload.model_validate({"photo": {"data": picture(640, 480)}})
    Payload.model_validate({"photo": {"data": picture(640, 480), "convert": True}})
    Payload.model_validate({"photo": {"url": "https://a.example/b"}})

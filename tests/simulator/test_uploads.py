"""Uploads: sending a file in one part or several, and the handle that stands for it."""

from __future__ import annotations

import re
import socket
import struct
import zlib
from urllib.parse import urlsplit

import pytest
import requests

from .client import Client, error_of


def png(width: int, height: int, *, size: int = 2000) -> bytes:
    """The beginning of a PNG, and any bytes up to a size."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return head.ljust(size, b"\x5a")


def opened(client: Client, *, length: int, kind: str = "image/png", name: str = "photo.png") -> str:
    answer = client.post(
        f"{client.simulator.app.id}/uploads",
        params={"file_name": name, "file_length": length, "file_type": kind},
    )
    assert answer.status_code == 200
    return answer.json()["id"]


def sent(client: Client, session: str, content: bytes, *, offset: int = 0, **headers: str) -> requests.Response:
    return client.post(session, data=content, headers={"file_offset": str(offset), **headers})


def uploaded(client: Client, content: bytes, **kind: str) -> str:
    """The handle of a file."""
    return sent(client, opened(client, length=len(content), **kind), content).json()["h"]


def effects(client: Client, kind: str) -> list:
    return client.simulator.judge.effects.all(kind=kind)


def test_a_file_is_opened_sent_and_gets_a_handle_of_its_app(start) -> None:
    client = start()
    app, content = client.simulator.app.id, png(640, 640)

    session = opened(client, length=len(content))
    handle = sent(client, session, content).json()["h"]

    assert re.fullmatch(r"upload:[\w=-]+\?sig=AR\w+", session)
    assert re.fullmatch(rf"4::aW1hZ2UvcG5n:AR\w+:e:\d+:{app}:\d+:AR\w+", handle)
    assert client.simulator.judge.total == 2


def test_the_judge_sees_what_was_opened_and_what_came(start) -> None:
    client = start()
    app, content = client.simulator.app.id, png(640, 640)

    uploaded(client, content)
    opened(client, length=len(content))
    opened(client, length=len(content) + 1)

    (one, again, other), (end,) = effects(client, "upload_opened"), effects(client, "upload_finished")
    assert one.subject == f"{app}/photo.png/{len(content)}/image/png"
    assert not (one.repeated or again.repeated or other.repeated), "many files are called photo.png"
    assert end.details == {"crc32": f"{zlib.crc32(content):08x}", "length": len(content)}


@pytest.mark.parametrize("kind", ["application/pdf", "image/jpeg", "image/jpg", "image/png", "video/mp4"])
def test_these_types_may_be_uploaded(start, kind) -> None:
    assert uploaded(start(), b"%PDF-", kind=kind).startswith("4::")


@pytest.mark.parametrize(
    "wrong",
    [
        {"file_type": "text/plain"},
        {"file_length": 0},
        {"file_length": "many"},
        {"file_length": 1001},
        {"file_name": None},
        {"file_type": None},
        {"file_length": None},
        {"session_type": "story"},
    ],
)
def test_a_session_with_wrong_parameters_is_error_100(start, wrong) -> None:
    client = start(upload_most=1000)
    right = {"file_name": "a.png", "file_length": 1000, "file_type": "image/png", "session_type": "attachment"}

    answers = [
        client.post(f"{client.simulator.app.id}/uploads", params=right),
        client.post(f"{client.simulator.app.id}/uploads", params=right | wrong),
    ]

    assert answers[0].status_code == 200
    assert (answers[1].status_code, error_of(answers[1])["code"]) == (400, 100)


@pytest.mark.parametrize("scheme", ["OAuth", "Bearer", "bearer"])
def test_both_schemes_are_taken_in_the_header(start, scheme) -> None:
    client = start()
    session = opened(client, length=4)

    answer = sent(client, session, b"%PDF", Authorization=f"{scheme} {client.simulator.app.token}")

    assert answer.status_code == 200


def test_the_token_must_come_in_the_header(start) -> None:
    client = start()
    token = client.simulator.app.token
    url = f"{client.simulator.url}/v23.0/{opened(client, length=4)}"
    headers = {"file_offset": "0"}

    for answer in (
        requests.post(url, data=b"%PDF", headers=headers, params={"access_token": token}, timeout=10),
        requests.post(url, data=b"%PDF", headers=headers, timeout=10),
        requests.get(url, params={"access_token": token}, timeout=10),
        requests.post(
            url,
            data=b"%PDF",
            headers={**headers, "Authorization": "Basic abc"},
            params={"access_token": token},
            timeout=10,
        ),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (401, 104)


@pytest.mark.parametrize("signature", ["", "?sig=", "?sig=ARwrong"])
def test_the_signature_must_be_right(start, signature) -> None:
    client = start()
    bare = opened(client, length=4).partition("?")[0]

    for answer in (sent(client, bare + signature, b"%PDF"), client.get(bare + signature)):
        assert (answer.status_code, error_of(answer)["code"]) == (400, 104)


def test_a_session_is_its_apps_alone(start) -> None:
    client = start(apps=2)
    other = Client(client.simulator, app=1)
    session = opened(client, length=4)

    assert error_of(sent(other, session, b"%PDF"))["error_subcode"] == 33
    assert error_of(other.post(f"{client.simulator.app.id}/uploads"))["error_subcode"] == 33
    assert error_of(sent(client, "upload:nothing?sig=AR", b"%PDF"))["error_subcode"] == 33


def test_a_file_may_come_in_parts(start) -> None:
    client = start()
    content = png(640, 640, size=3000)
    session = opened(client, length=3000)

    first = sent(client, session, content[:1000])
    place = client.get(session).json()
    second = sent(client, session, content[1000:2500], offset=1000)
    last = sent(client, session, content[2500:], offset=2500)

    assert first.json() == place == {"id": session, "file_offset": 1000}
    assert second.json()["file_offset"] == 2500
    assert last.json()["h"].startswith("4::")
    assert effects(client, "upload_finished")[0].details["crc32"] == f"{zlib.crc32(content):08x}"


@pytest.mark.parametrize("offset", ["0", "999", "1001", "-1", "", "x", "9" * 400])
def test_a_wrong_offset_is_error_100_and_takes_nothing(start, offset) -> None:
    client = start()
    session = opened(client, length=3000)
    sent(client, session, bytes(1000))

    answer = client.post(session, data=bytes(2000), headers={"file_offset": offset})

    assert error_of(answer)["code"] == 100
    assert client.get(session).json()["file_offset"] == 1000


def test_an_offset_is_needed_and_so_is_a_body(start) -> None:
    client = start()
    session = opened(client, length=3000)

    assert error_of(client.post(session, data=bytes(3000)))["code"] == 100
    assert error_of(sent(client, session, b""))["code"] == 100


def test_more_than_the_file_is_refused(start) -> None:
    client = start()
    session = opened(client, length=3000)

    assert error_of(sent(client, session, bytes(3001)))["code"] == 100
    assert client.get(session).json()["file_offset"] == 0


def test_a_body_is_taken_as_it_is_whatever_its_type_says(start) -> None:
    client = start()
    content = b'access_token=x&{"fields":1}&a[0][b]=c' + bytes(range(256))

    for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        session = opened(client, length=len(content), kind="application/pdf")
        assert sent(client, session, content, **{"Content-Type": kind}).json()["h"]

    crcs = {one.details["crc32"] for one in effects(client, "upload_finished")}
    assert crcs == {f"{zlib.crc32(content):08x}"}


def test_the_end_can_be_asked_for_again(start) -> None:
    client = start()
    session = opened(client, length=4)
    handle = sent(client, session, b"%PDF").json()["h"]

    again = sent(client, session, b"", offset=4)

    assert again.json() == {"h": handle}
    assert client.get(session).json()["file_offset"] == 4
    assert client.simulator.judge.wasted() == {"nothing to do": 1}
    assert len(effects(client, "upload_finished")) == 1


@pytest.mark.parametrize("lost", [{"upload_keeps": 1200}, {"reset_before": True}])
def test_a_broken_upload_goes_on_where_it_broke(start, lost) -> None:
    client = start()
    content = png(640, 640, size=3000)
    session = opened(client, length=3000)
    client.simulator.faults.add(path="upload:", method="POST", times=1, **lost)

    with pytest.raises(requests.ConnectionError):
        sent(client, session, content)
    offset = client.get(session).json()["file_offset"]
    end = sent(client, session, content[offset:], offset=offset)

    assert offset == lost.get("upload_keeps", 0)
    assert end.json()["h"].startswith("4::")
    assert effects(client, "upload_finished")[0].details["crc32"] == f"{zlib.crc32(content):08x}"


def test_an_upload_whose_answer_was_lost_is_whole(start) -> None:
    client = start()
    session = opened(client, length=4)
    client.simulator.faults.add(path="upload:", method="POST", times=1, reset_after=True)

    with pytest.raises(requests.ConnectionError):
        sent(client, session, b"%PDF")

    assert client.get(session).json()["file_offset"] == 4
    assert sent(client, session, b"", offset=4).json()["h"].startswith("4::")


def test_upload_keeps_leaves_all_else_alone(start) -> None:
    client = start()
    fault = client.simulator.faults.add(upload_keeps=10)

    assert client.templates().status_code == 200
    assert uploaded(client, b"%PDF-1.7")
    assert client.simulator.faults.used(fault) == 0


def test_what_came_before_a_real_break_is_kept(start) -> None:
    client = start()
    session = opened(client, length=5000)
    address = urlsplit(client.simulator.url)

    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            f"POST /v23.0/{session} HTTP/1.1\r\nHost: x\r\nAuthorization: OAuth {client.simulator.app.token}\r\n"
            "file_offset: 0\r\nContent-Length: 5000\r\n\r\n".encode()
        )
        connection.sendall(bytes(700))
        connection.shutdown(socket.SHUT_WR)
        # The end of what the server says: it has noticed, whatever it made of it.
        while connection.recv(4096):
            pass

    assert client.get(session).json()["file_offset"] == 700
    assert client.simulator.judge.defects == 0
    assert client.simulator.judge.by_status()[0] == 1


def test_a_large_file_is_taken(start) -> None:
    client = start(upload_most=100 * 1024 * 1024)
    content = bytes(1024) * (100 * 1024)
    session = opened(client, length=len(content), kind="video/mp4")

    assert sent(client, session, content).json()["h"].startswith("4::")
    # Larger than any file may be: not even read to its end.
    too_large = client.post(session, data=content + b"x", headers={"file_offset": "0"})
    assert error_of(too_large)["code"] == 100


def test_every_step_is_one_call_of_the_app(start) -> None:
    client = start(app_limit=3)
    session = opened(client, length=5)

    sent(client, session, b"%PD")
    client.get(session)

    for answer in (
        sent(client, session, b"F-", offset=3),
        client.get(session),
        client.post(f"{client.simulator.app.id}/uploads"),
    ):
        assert error_of(answer)["code"] == 4
    assert client.simulator.judge.by_capability() == {"uploads": 6}


def test_a_stale_read_tells_an_older_place(start) -> None:
    client = start()
    session = opened(client, length=3000)
    client.simulator.advance(60)
    sent(client, session, bytes(1000))
    client.simulator.faults.add(path="upload:", stale=30, times=1)

    assert [client.get(session).json()["file_offset"] for _ in range(2)] == [0, 1000]

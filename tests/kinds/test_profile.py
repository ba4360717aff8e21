"""`profile_update` and `profile_photo`: what they change and refuse, and that neither keeps the other waiting."""

import base64
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.kinds.cases_profile import CHANGES, profile, with_photo
from tests.support.databases import SqliteFiles
from tests.support.pictures import picture
from tests.support.stage import Stage
from wabajobs.cli import cli
from wabajobs.errors import InvalidRequest
from wabajobs.intake import Request, checked
from wabajobs.kinds import catalogue
from wabajobs.kinds.profile_update import ProfileUpdate
from wabajobs.operation import Operation, State
from wabajobs.settings import Settings
from wabajobs.simulator import SimulatorConfig
from wabajobs.simulator.endpoints import profiles

NUMBER = "859030558045565"
SETTINGS = Settings.model_validate({"apps": {"10001": {"token": {"env": "TOKEN"}}}})
Stages = Callable[..., AbstractContextManager[Stage]]


def an_update(stage: Stage, **changes: Any) -> Operation:
    return stage.accept("profile_update", waba=stage.waba, payload={"number": stage.number, **changes})


# ── profile_update ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_update_is_one_call(stage: Stage) -> None:
    operation = an_update(stage, **CHANGES)

    done = stage.work(operation)

    assert (done.state, done.result) == (
        State.SUCCEEDED,
        {"number": stage.number, "changed": sorted(CHANGES)},
    )
    (call,) = stage.calls(operation)
    assert (call.method, call.path) == ("POST", f"{stage.number}/whatsapp_business_profile")
    assert {name: call.params[name] for name in (*CHANGES, "messaging_product")} == {
        **CHANGES,
        "messaging_product": "whatsapp",
    }
    assert profile(stage) == CHANGES


def test_what_is_not_named_stays(stage: Stage) -> None:
    stage.work(an_update(stage, **CHANGES))

    stage.work(an_update(stage, about="Closed today", websites=[], email=""))

    assert profile(stage) == {
        "about": "Closed today",
        "address": CHANGES["address"],
        "description": CHANGES["description"],
        "vertical": CHANGES["vertical"],
    }


@pytest.mark.parametrize(
    ("code", "knobs"), [(100, {"profile_refusal_code": 100}), (131009, {"profile_refusal_code": 131009})]
)
def test_where_metas_sources_disagree_meta_has_the_last_word(
    stages: Stages, code: int, knobs: dict[str, Any]
) -> None:
    with stages(knobs={**knobs, "description_most": 256}) as stage:
        operation = an_update(stage, description="a" * 257)

        failed = stage.work(operation)

        assert failed.state is State.FAILED
        assert failed.error is not None
        assert failed.error["code"] == code
        assert "description must be at most 256" in f"{failed.error['message']} {failed.error['details']}"
        assert len(stage.calls(operation)) == 1


def test_a_number_that_is_not_registered(stage: Stage) -> None:
    stage.simulator.world.set_registered(stage.number, False)
    operation = an_update(stage, about="x")

    failed = stage.work(operation)

    assert failed.error is not None
    assert (failed.state, failed.error["code"], failed.error["type"]) == (State.FAILED, 133010, "WrongState")


@pytest.mark.parametrize(
    ("fault", "type_"),
    [
        ({"code": 190, "status": 401}, "Unauthorized"),
        ({"code": 10}, "Forbidden"),
        ({"code": 200}, "Forbidden"),
        ({"code": 33}, "InvalidCall"),
        ({"code": 100, "subcode": 33}, "InvalidCall"),
        ({"code": 368}, "Blocked"),
    ],
)
def test_what_meta_refuses_fails_with_its_words_after_one_call(
    stage: Stage, fault: dict[str, Any], type_: str
) -> None:
    stage.fault(capability="profile", **fault)
    operation = an_update(stage, about="x")

    failed = stage.work(operation)

    assert failed.error is not None
    assert (failed.state, failed.error["type"], failed.error["step"]) == (State.FAILED, type_, "update")
    assert len(stage.calls(operation)) == 1


def test_what_passes_is_tried_again(stage: Stage) -> None:
    stage.fault(capability="profile", code=131057, times=1)
    operation = an_update(stage, about="x")

    assert stage.work(operation).state is State.SUCCEEDED
    assert len(stage.calls(operation)) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "nothing is to be changed: give one or more of about, address"),
        ({"about": None}, "nothing is to be changed"),
        ({"about": ""}, "about: String should have at least 1 character"),
        ({"about": "a" * 140}, "about: String should have at most 139 characters"),
        ({"address": "a" * 257}, "address: String should have at most 256 characters"),
        ({"description": "a" * 513}, "description: String should have at most 512 characters"),
        ({"description": "a\0b"}, "description: String should match pattern"),
        ({"email": "a" * 120 + "@b.example"}, "email: String should have at most 128 characters"),
        ({"email": "hello"}, "email: Value error, it must be an e-mail address"),
        ({"email": "a@b"}, "email: Value error, it must be an e-mail address"),
        ({"email": "a b@c.example"}, "email: Value error, it must be an e-mail address"),
        ({"websites": ["https://a.example"] * 3}, "websites: List should have at most 2 items"),
        ({"websites": ["a.example"]}, "websites.0: Value error, it must be an address that begins with https"),
        ({"websites": ["ftp://a.example"]}, "websites.0: Value error, it must be an address"),
        ({"websites": ["https://"]}, "websites.0: Value error, it must be an address"),
        ({"websites": ["https://[a"]}, "websites.0: Value error, it must be an address"),
        ({"websites": ["https://a.example/" + "a" * 256]}, "websites.0: String should have at most 256"),
        ({"websites": "https://a.example"}, "websites: Input should be a valid list"),
        ({"vertical": "BAKERY"}, "vertical: Value error, it must be one of OTHER, AUTO, BEAUTY"),
        ({"number": "+49 30 1234"}, "number: String should match pattern"),
        ({"abuot": "x"}, "abuot: Extra inputs are not permitted"),
    ],
)
def test_what_meta_would_refuse_is_refused_at_the_edge(changes: dict[str, Any], words: str) -> None:
    request = Request(
        kind="profile_update", partner="acme", waba="10293847561", payload={"number": NUMBER, **changes}
    )
    with pytest.raises(InvalidRequest) as told:
        checked(request, kinds=catalogue(), settings=SETTINGS)
    assert words in str(told.value)


_lengths = st.one_of(st.none(), st.integers(0, 600).map("é".__mul__))


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "about": _lengths,
            "address": _lengths,
            "description": _lengths,
            "email": st.sampled_from(["", "a@b.example", "@", "a@", "a@@b.example", "a@b.c" + "d" * 125]),
            "vertical": st.sampled_from([*profiles.VERTICALS, "retail", "", "X"]),
            "websites": st.lists(
                st.sampled_from(["http://a.example", "https://b.example/c?d", "HTTPS://c.example", "b.example"]),
                max_size=3,
            ),
        },
    )
)
def test_what_the_edge_lets_through_meta_takes(changes: dict[str, Any]) -> None:
    """Meta's rules are those of the simulator, whose makers have read the same sources without us."""
    try:
        payload = ProfileUpdate.model_validate({"number": NUMBER, **changes})
    except ValidationError:
        return
    said = payload.model_dump(mode="json", exclude_none=True, exclude={"number"})
    asked = profiles.ProfileInput.model_validate({"messaging_product": "whatsapp", **said})
    profiles._check(SimulatorConfig(), asked.model_dump(exclude_none=True, exclude={"messaging_product"}))


def test_from_the_command_line(sqlite_files: SqliteFiles, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(
        f'database_url = "{sqlite_files.fresh()}"\n[apps.10001]\ntoken = {{ env = "TOKEN" }}\n'
    )
    (tmp_path / "photo.jpg").write_bytes(picture())
    environment = {"WABAJOBS_CONFIG": str(tmp_path / "site.toml")}

    def enqueue(kind: str, *fields: str) -> Any:
        given = [part for field in fields for part in ("--set", field)]
        asked = ["enqueue", kind, "--partner", "acme", "--waba", "10293847561", "--json", *given]
        accepted = json.loads(CliRunner().invoke(cli, asked, env=environment).stdout)
        return accepted["payload"]

    changes = enqueue("profile_update", f"number={NUMBER}", "about=24", 'websites=["https://a.example"]')
    photo = enqueue("profile_photo", f"number={NUMBER}", f'photo={{"file": "{tmp_path / "photo.jpg"}"}}')

    assert changes == {"number": NUMBER, "about": "24", "websites": ["https://a.example"]}
    assert photo["photo"]["size"] == len(picture())


# ── profile_photo ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        ({"data": base64.b64encode(picture(640, 480)).decode()}, "photo: Value error, the image must be square"),
        ({"data": "aGVsbG8="}, "photo: Value error, its 5 bytes are no file of a known type"),
        ({"data": ""}, "photo: Value error, it is empty"),
        ({"url": "http://anna:hush@a.example/"}, "photo.url: Value error, the URL must have no user or password"),
        ({}, "photo: Value error, exactly one of url, data, file, handle is needed"),
        ("https://a.example/", "photo: Input should be a valid dictionary"),
    ],
)
def test_a_photo_that_cannot_be_one_is_refused_at_the_edge(stage: Stage, photo: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        stage.accept("profile_photo", waba=stage.waba, payload={"number": stage.number, "photo": photo})
    assert words in str(told.value)
    assert "hush" not in str(told.value)


def test_a_photo_waits_while_uploads_are_down_and_the_rest_goes_on(stage: Stage) -> None:
    photo = stage.accept("profile_photo", **with_photo(stage))
    stage.break_("uploads")
    stage.attempt(photo)
    held = stage.get(photo)
    assert held.hold is not None
    assert (held.state, held.hold.by, str(held.capability)) == (State.HELD, "held_open", "uploads")

    update = an_update(stage, about="Open all day")

    assert stage.work(update).state is State.SUCCEEDED
    assert profile(stage) == {"about": "Open all day"}
    assert stage.calls(photo) == []
    stage.mend("uploads")
    assert stage.work(photo).state is State.SUCCEEDED
    assert len(stage.calls(photo)) == 3
    assert profile(stage).keys() == {"about", "profile_picture_url"}


def test_a_photo_that_is_uploaded_waits_for_the_profile_alone(stage: Stage) -> None:
    photo = stage.accept("profile_photo", **with_photo(stage))
    stage.before(3, lambda: stage.break_("profile"))
    stage.attempt(photo)
    held = stage.get(photo)
    assert (held.state, str(held.capability)) == (State.HELD, "profile")
    stage.break_("uploads")
    stage.mend("profile")

    assert stage.work(photo).state is State.SUCCEEDED
    assert len(stage.calls(photo)) == 3


def test_two_photos_of_one_number_keep_their_order(stage: Stage) -> None:
    first = stage.accept("profile_photo", **with_photo(stage, data=picture(300, 300)))
    second = stage.accept("profile_photo", **with_photo(stage, data=picture(400, 400)))

    lines = stage.house.ledger.operations.lines(["profile_photo"])
    heads = stage.house.ledger.operations.heads(dict.fromkeys(lines, 10))

    assert [one.id for head in heads.values() for one in head] == [first.id], "the second is blocked"
    assert stage.work(first).state is State.SUCCEEDED
    assert stage.work(second).state is State.SUCCEEDED

"""A dry run tells what would be done and what is missing, and leaves no trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.secretive import KIND as SECRETIVE
from tests.support.stage import Stage
from wabajobs.dry_run import Plan
from wabajobs.errors import IdempotencyConflict, InvalidRequest
from wabajobs.intake import Request, checked
from wabajobs.kinds import catalogue

Stages = Callable[..., AbstractContextManager[Stage]]
SYNC = catalogue()["template_sync"]


def plan(stage: Stage, kind: str, *, partner: str = "acme", **more: Any) -> Plan:
    request = Request(kind=kind, partner=partner, **more)
    house = stage.house
    return house.dry_run.plan(checked(request, kinds=house.kinds, settings=house.settings, seal=lambda _: ""))


def everything(stage: Stage) -> dict[str, int]:
    """How many rows each table has."""
    with stage.house.ledger.database.read() as connection:
        names = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
        return {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in names}


def secretive(stage: Stage) -> dict[str, Any]:
    return {
        "waba": stage.waba,
        "payload": {"number": stage.number, "pin": "424242", "token": "EAAB-of-acme"},
    }


def test_it_tells_steps_calls_and_cost_and_shows_no_secret(stages: Stages) -> None:
    with stages(kinds=[SECRETIVE]) as stage:
        told = plan(stage, "secretive", **secretive(stage)).as_json()

    assert told["payload"] == {"number": stage.number, "pin": "***", "token": "***"}
    assert [step["name"] for step in told["steps"]] == ["use_token", "ask_code", "register"]
    assert told["steps"][1]["asks"] == {"code": "the code of six digits that the number was sent"}
    assert "424242" not in str(told)
    assert "EAAB" not in str(told)


def test_what_is_known_of_a_path_is_filled_in_and_what_comes_more_often_is_said(stage: Stage) -> None:
    told = plan(stage, "template_sync", waba=stage.waba)

    [call] = told.steps[0].calls
    assert (call.method, call.path, call.note) == ("GET", f"{stage.waba}/message_templates", "per page")
    assert (told.cost, told.is_exact) == (1, False)


def test_it_has_no_effect(stages: Stages) -> None:
    with stages(kinds=[SECRETIVE]) as stage:
        before = everything(stage)

        plan(stage, "secretive", key="one", **secretive(stage))

        assert everything(stage) == before
        assert stage.simulator.judge.total == 0


def test_it_says_what_is_missing(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_KEYS", raising=False)
    more = {"vault": {"keys": {"env": "NO_KEYS"}}}
    with stages(kinds=[SECRETIVE], settings=more) as stage:
        payload = {**secretive(stage)["payload"], "token": "hub:acme/token"}

        told = plan(stage, "secretive", waba=stage.waba, payload=payload)

    assert told.missing == (
        "keys of the vault: the environment variable NO_KEYS is not set",
        "a reference hub:<name> needs [vault] provider, the function that is asked",
        "no dispatcher runs: nothing leaves the ledger (wabajobs dispatcher)",
        "no worker is alive for secretive",
    )


@pytest.mark.parametrize(("shut", "why"), [("pause", "all is paused by ops"), ("budget", "budget")])
def test_it_says_whether_its_first_call_would_wait(stage: Stage, shut: str, why: str) -> None:
    free = plan(stage, "template_sync", waba=stage.waba)
    stage.pause("all") if shut == "pause" else stage.spend()

    told = plan(stage, "template_sync", waba=stage.waba)

    assert free.waits is None
    assert told.waits is not None
    assert why in told.waits


def test_it_says_which_operation_it_would_join_or_be(stage: Stage) -> None:
    pending = stage.accept("template_sync", waba=stage.waba, key="one")

    assert plan(stage, "template_sync", waba=stage.waba).joins == pending.id
    assert plan(stage, "template_sync", waba=stage.waba, key="one").known == pending.id
    with pytest.raises(IdempotencyConflict):
        plan(stage, "template_sync", waba=stage.simulator.world.waba_ids[1], key="one")


def test_what_enqueue_would_refuse_it_refuses(stage: Stage) -> None:
    with pytest.raises(InvalidRequest, match="waba is missing"):
        plan(stage, "template_sync")

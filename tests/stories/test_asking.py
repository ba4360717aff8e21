"""Commands around people and secrets: what waits for somebody is told, given, and shown nowhere."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import tomli_w

from tests.support import secretive
from tests.support.stage import Stage
from wabajobs import cli
from wabajobs.operation import Operation, State
from wabajobs.secret import Secret
from wabajobs.simulator.world.nodes import Number
from wabajobs.vault import new_key

Stages = Callable[..., AbstractContextManager[Stage]]
Typed = Callable[..., subprocess.CompletedProcess[str]]
PIN, TOKEN, CODE = "428173", "EAABplanted", "135790"


@pytest.fixture
def stage(stages: Stages) -> Iterator[Stage]:
    with stages(kinds=[secretive.KIND]) as made:
        yield made


@pytest.fixture
def typed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Typed:
    """Runs a command as its program does, on the ledger of the stage."""
    table = stage.house.settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    table |= {"database_url": str(stage.house.ledger.database.url), "kinds": ["tests.support.secretive"]}
    (tmp_path / "wabajobs.toml").write_text(tomli_w.dumps(table))
    monkeypatch.setenv("WABAJOBS_CONFIG", str(tmp_path / "wabajobs.toml"))

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["wabajobs", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)

    return run


def asking(stage: Stage) -> Operation:
    """An operation that waits for a code."""
    token = stage.simulator.app.token
    number = stage.simulator.world.nodes[stage.number]
    assert isinstance(number, Number)
    payload = {"number": number.id, "pin": number.pin, "token": token}
    operation = stage.accept("secretive", waba=stage.waba, payload=payload)
    return stage.work(operation, give=None)


def test_everybody_sees_what_is_needed_until_when_and_how_to_give_it(stage: Stage, typed: Typed) -> None:
    operation = asking(stage)
    assert operation.needs is not None
    assert operation.needs.until is not None
    how = f"give code until {operation.needs.until:%Y-%m-%d %H:%M:%S} UTC: wabajobs ops provide {operation.id}"

    show = typed("ops", "show", operation.id).stdout
    assert "It needs input: Meta has sent a code to the number." in show
    assert "  code: the code of six digits that the number was sent" in show
    assert how in show
    assert "it needs code: Meta has sent a code to the number" in show
    assert f"?  secretive of acme: {how}" in " ".join(typed("status").stdout.split("\n"))
    status = json.loads(typed("status", "--json").stdout)
    assert [one["id"] for one in status["needs_input"]] == [operation.id]
    assert next(one for one in status["queues"] if one["queue"] == "secretive")["needs_input"] == 1
    assert how.replace(" ", "") in "".join(typed("ops", "list").stdout.split())
    waited = typed("ops", "wait", operation.id)
    assert (waited.returncode, how in waited.stdout) == (1, True)


@pytest.mark.parametrize("way", ["--set", "stdin"])
def test_what_is_given_lets_it_go_on(stage: Stage, typed: Typed, way: str) -> None:
    operation = asking(stage)
    provide = ("ops", "provide", operation.id)

    done = (
        typed(*provide, "--set", f"code={CODE}")
        if way == "--set"
        else typed(*provide, stdin=f"code={CODE}\r\n\n")
    )

    assert (done.returncode, done.stdout) == (0, f"{operation.id} goes on: it is waiting.\n")
    assert stage.house.vault.get(f"operations/{operation.id}/code") == Secret(CODE)
    assert stage.work(operation).state is State.SUCCEEDED
    assert "has given code" in typed("ops", "show", operation.id).stdout


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--set", "code=98765"], "code: what is given cannot be it; it is the code of six digits"),
        (["--set", "98765"], "number 1 of what is given is not written NAME=VALUE"),
        (["--set", "pin=98765"], "'pin' was not asked for; it needs code"),
        ([], "nothing is given; it needs code"),
    ],
)
def test_what_cannot_be_it_is_refused_without_being_shown(
    stage: Stage, typed: Typed, given: list[str], sentence: str
) -> None:
    operation = asking(stage)

    refused = typed("ops", "provide", operation.id, *given)

    assert refused.returncode != 0
    assert sentence in refused.stderr
    assert "98765" not in refused.stderr + refused.stdout


def test_who_needs_nothing_is_given_nothing(stage: Stage, typed: Typed) -> None:
    operation = asking(stage)
    stage.provide(operation, code=CODE)

    refused = typed("ops", "provide", operation.id)

    assert refused.stderr == f"wabajobs: operation {operation.id} is waiting: it needs no input\n"


def test_the_vault_by_commands(stage: Stage, typed: Typed) -> None:
    assert typed("vault", "list").stdout == "The vault is empty.\n"

    put = typed("vault", "set", "app-token", stdin=f"{TOKEN}\n")

    assert put.stdout == "app-token lies in the vault (vault:app-token).\n"
    assert stage.house.vault.get("app-token") == Secret(TOKEN)
    assert [one["name"] for one in json.loads(typed("vault", "list", "--json").stdout)] == ["app-token"]
    assert "app-token" in typed("vault", "list").stdout
    assert typed("vault", "delete", "app-token").returncode == 0
    assert "there is no secret 'app-token'" in typed("vault", "delete", "app-token").stderr


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("app-token", " \n", "app-token: nothing was given"),
        ("operations/1/pin", PIN, "belong to operations: wabajobs ops provide ID"),
        ("app token", TOKEN, "'app token' is no name for a secret"),
    ],
)
def test_what_cannot_lie_in_the_vault(stage: Stage, typed: Typed, name: str, value: str, sentence: str) -> None:
    refused = typed("vault", "set", name, stdin=value)

    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert stage.house.ledger.secrets.known() == []


def test_keys_are_changed_one_after_the_other(stage: Stage, typed: Typed) -> None:
    typed("vault", "set", "app-token", stdin=TOKEN)
    source = stage.house.settings.vault.keys.file
    assert source is not None
    old, new = source.read_text(), typed("vault", "new-key").stdout.strip()

    source.write_text(f"{new},{old}")
    rotated = typed("vault", "rotate")
    source.write_text(new)

    assert rotated.stdout == "1 secrets, 1 sealed anew with the first key.\n"
    assert json.loads(typed("vault", "rotate", "--json").stdout) == {"seen": 1, "sealed": 0, "unopened": 0}
    source.write_text(new_key())
    lost = typed("vault", "rotate")
    assert lost.returncode == 1
    assert "1 cannot be opened with any of the keys" in lost.stdout
    source.write_text(old)


def test_a_dry_run_in_words_and_in_json(stage: Stage, typed: Typed) -> None:
    wanted = ["enqueue", "secretive", "--partner", "acme", "--waba", stage.waba, "--dry-run"]
    wanted += ["--set", f"number={stage.number}", "--set", f"pin={PIN}", "--set", f"token={TOKEN}"]

    said = typed(*wanted)
    told = json.loads(typed(*wanted, "--json").stdout)

    assert said.returncode == 0
    assert "Nothing is accepted." in said.stdout
    assert "asks a person for code: the code of six digits" in said.stdout
    assert "Missing: no worker is alive for secretive" in said.stdout
    assert told["payload"]["pin"] == "***"
    assert PIN not in said.stdout
    assert stage.house.ledger.operations.find() == []

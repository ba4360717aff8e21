"""The commands: an error is one sentence and an exit code, never a stack trace; JSON is JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.waiting import until
from tests.support.witness import answer
from wabajobs import cli
from wabajobs.ledger import Condition, Rules
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]
Typed = Callable[..., subprocess.CompletedProcess[str]]
NO_ID = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def alone(on_sqlite: FleetOn) -> Fleet:
    """A ledger and a Redis, and nothing that runs."""
    return on_sqlite()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command as its program does, in this process, which is quicker: there are many of them."""

    def run(
        fleet: Fleet, *arguments: str, folder: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        for name, value in {**fleet.env, **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder or fleet.folder)
        monkeypatch.setattr(sys, "argv", ["wabajobs", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


def _sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence that a failed command has said."""
    assert done.returncode not in (0, 70), done
    assert "Traceback" not in done.stdout + done.stderr
    assert "internal error" not in done.stderr
    # A command that was typed wrongly begins with how it is typed.
    said = [line for line in done.stderr.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(said) == 1, done.stderr
    assert done.stdout == ""
    return said[0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("enqueue template_sync --partner acme --waba acme", "waba 'acme' is no WABA id: 5 to 20 digits"),
        ("enqueue template_sync --partner acme", "waba is missing"),
        ("enqueue template_sync --partner a/b --waba 1234567", "partner 'a/b' is no partner id"),
        ("enqueue template_sync --waba 1234567", "Missing option '--partner'"),
        ("enqueue templates --partner acme --waba 1234567", "there is no kind 'templates'; there are: "),
        ("enqueue template_sync --partner acme --waba 1234567 --app 12345", "app '12345' is not configured"),
        ("enqueue template_sync --partner acme --waba 1234567 --set pages=3", "pages: Extra inputs"),
        ("enqueue template_sync --partner acme --waba 1234567 --set pages", "write FIELD=VALUE"),
        ("enqueue template_sync --partner acme --waba 1234567 --class urgent", "'urgent' is not one of"),
        ("pause queue templates --reason limit", "there is no queue 'templates'; there are: "),
        ("pause queue template_sync", "Missing option '--reason'"),
        ("pause queue template_sync --reason x", "say why"),
        ("pause queue --reason limit", "scope 'queue' needs a name"),
        ("pause all template_sync --reason limit", "scope 'all' takes no name"),
        ("pause everything --reason limit", "there is no scope 'everything'; use one of all, "),
        ("pause queue template_sync --reason limit --for 2hours", "'2hours' is no span of time; write "),
        ("pause queue template_sync --reason limit --for 0s", "'0s' is no span of time"),
        ("resume queue template_sync", "queue:template_sync is not paused; paused is: nothing"),
        ("limits set app:77777 --calls 5 --reason why", "app '77777' is not configured"),
        ("limits set queue:template_sync --calls 5 --reason why", "is no limit's scope; write app:APP_ID"),
        ("limits set capability:magic --calls 5 --reason why", "there is no capability 'magic'; there are: "),
        ("limits unset partner:acme --reason why", "nobody has set a limit for partner:acme; set are: none"),
        ("breakers open app:77777 --reason why", "app '77777' is not configured"),
        ("breakers open app:77777/magic --reason why", "there is no capability 'magic'; there are: "),
        ("breakers open queue:template_sync --reason why", "is no breaker's scope; write app:APP_ID, "),
        ("breakers close number:123", "Missing option '--reason'"),
        ("breakers release number:123 --reason why", "nobody holds the breaker of number:123; held are: none"),
        (f"ops show {NO_ID}", f"there is no operation '{NO_ID}'"),
        (f"ops wait {NO_ID}", f"there is no operation '{NO_ID}'"),
        ("enqueue template_sync --partner acme --waba 1234567 --expires-after soon", "'soon' is no span of time"),
        ("enqueue template_sync --partner acme --waba 1234567 --expires-after 999d", "1 to 31536000 seconds"),
        (f"ops cancel {NO_ID} --reason why", f"there is no operation '{NO_ID}'"),
        (f"ops cancel {NO_ID}", "Missing option '--reason'"),
        (f"ops cancel {NO_ID} --reason x", "say why"),
        ("ops cancel --reason why", "say which: ID..., or at least one of --kind"),
        (f"ops cancel {NO_ID} --partner acme --reason why", "by their ids, or by what they have in common"),
        ("ops cancel --state failed --reason why", "'failed' is not one of"),
        (f"ops retry {NO_ID}", f"there is no operation '{NO_ID}'"),
        ("ops retry", "say which: ID..., or at least one of --kind"),
        ("ops retry --state running", "'running' is not one of"),
        ("ops retry --since yesterday", "'yesterday' is no span of time"),
        ("ops dead --since 0d", "'0d' is no span of time"),
        ("partners set acme --reason why", "say what: --weight, --at-most or --no-cap"),
        ("partners set acme --weight 3", "Missing option '--reason'"),
        ("partners set acme --weight 3 --reason x", "say why"),
        ("partners set a/b --weight 3 --reason why", "partner 'a/b' is no partner id"),
        ("partners set acme --weight 0 --reason why", "a weight is more than 0 and at most 1000"),
        ("partners set acme --weight nan --reason why", "a weight is more than 0 and at most 1000"),
        ("partners set acme --at-most 0 --reason why", "0 is not in the range"),
        ("partners set acme --at-most 3 --no-cap --reason why", "contradict each other"),
        ("partners unset acme --reason why", "nothing is set for partner 'acme'; set are: none"),
        ("db prune --older-than ever", "'ever' is no span of time"),
        ("ops list --state gone", "'gone' is not one of"),
        ("ops list --limit 0", "0 is not in the range"),
        ("frobnicate", "No such command 'frobnicate'"),
        ("status --frobnicate", "No such option"),
    ],
)
def test_what_was_asked_wrongly_is_refused_in_a_sentence(
    alone: Fleet, typed: Typed, wrong: str, says: str
) -> None:
    assert says in _sentence(typed(alone, *wrong.split()))
    assert alone.house.ledger.operations.find() == []
    assert alone.house.ledger.decisions.revision() == 0


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"WABAJOBS_CONFIG": "/nowhere/wabajobs.toml"}, "/nowhere/wabajobs.toml cannot be read"),
        ({"WABAJOBS_CONFIG": "broken.toml"}, "broken.toml is not TOML"),
        ({"WABAJOBS_CONFIG": "strange.toml"}, "configuration: gates: Extra inputs are not permitted"),
        ({"WABAJOBS_DATABASE_URL": "sqlite:///empty.sqlite3"}, "; run: wabajobs db upgrade"),
        ({"WABAJOBS_DATABASE_URL": "sqlite:////nowhere/at/all.sqlite3"}, "cannot be asked"),
        ({"WABAJOBS_DATABASE_URL": "postgresql://anna:hush@127.0.0.1:1/none"}, "cannot be asked"),
        ({"WABAJOBS_DATABASE_URL": "mysql://root@localhost/none"}, "SQLite or PostgreSQL, not on 'mysql'"),
        ({"WABAJOBS_DATABASE_URL": "nonsense"}, "WABAJOBS_DATABASE_URL is no database URL"),
        ({"WABAJOBS_REDIS_URL": "http://localhost"}, "WABAJOBS_REDIS_URL cannot be used"),
        ({"WABAJOBS_GRAPH_VERSION": "24"}, "configuration: graph_version"),
    ],
)
@pytest.mark.parametrize("command", ["status", "enqueue template_sync --partner acme --waba 1234567"])
def test_a_set_up_that_does_not_fit_is_told_in_a_sentence(
    alone: Fleet, typed: Typed, variables: dict[str, str], says: str, command: str
) -> None:
    (alone.folder / "broken.toml").write_text("apps = [")
    (alone.folder / "strange.toml").write_text("[gates]\nwindow_seconds = 3\n")

    said = _sentence(typed(alone, *command.split(), **variables))

    assert says in said
    assert "hush" not in said


def test_without_any_configuration_the_commands_say_what_is_missing(
    alone: Fleet, typed: Typed, tmp_path: Path
) -> None:
    def bare(command: str) -> subprocess.CompletedProcess[str]:
        return typed(alone, *command.split(), folder=tmp_path, WABAJOBS_CONFIG="")

    assert "has no tables yet; run: wabajobs db upgrade" in _sentence(bare("status"))
    assert bare("db upgrade").returncode == 0
    assert "no Meta app is configured" in _sentence(bare("enqueue template_sync --partner acme --waba 1234567"))


def test_an_error_of_a_real_process_looks_the_same(alone: Fleet) -> None:
    said = _sentence(alone.command("enqueue", "template_sync", "--partner", "acme", "--waba", "acme"))
    assert said == "wabajobs: waba 'acme' is no WABA id: 5 to 20 digits, as a string"


def test_every_answer_in_json_can_be_read(alone: Fleet, typed: Typed) -> None:
    app = alone.simulator.app.id
    waba = alone.simulator.world.waba_ids[0]

    upgraded = answer(typed(alone, "db", "upgrade", "--json"))
    accepted = answer(typed(alone, *f"enqueue template_sync --partner acme --waba {waba} --json".split()))
    again = answer(typed(alone, *f"enqueue template_sync --partner acme --waba {waba} --json".split()))
    shown = answer(typed(alone, "ops", "show", accepted["id"], "--json"))
    listed = answer(typed(alone, "ops", "list", "--json"))
    limit = answer(typed(alone, "limits", "set", f"app:{app}", "--calls", "77", "--reason", "why", "--json"))
    limits = answer(typed(alone, "limits", "show", "--json"))
    paused = answer(typed(alone, "pause", "all", "--reason", "why", "--for", "2h", "--json"))
    status = answer(typed(alone, "status", "--json"))
    resumed = answer(typed(alone, "resume", "all", "--json"))

    assert upgraded["was"] == upgraded["revision"]
    fields = "id kind state attempts hold result error created_at finished_at"
    assert set(fields.split()) <= accepted.keys()
    assert again["id"] == accepted["id"]
    assert [one["event"] for one in shown["events"]] == ["accepted", "joined"]
    assert [one["id"] for one in listed] == [accepted["id"]]
    assert (limit["calls"], limit["in_force"]) == (77, True)
    in_force = {one["scope"]: (one["calls"], one["reason"]) for one in limits}
    assert in_force[f"app:{app}"] == (77, "why")
    assert in_force["register:*"] == (8, "from the configuration")
    assert (paused["in_force"], paused["pauses"][0]["scope"]) == (True, "all")
    assert {one["queue"]: one["held"] for one in status["queues"]}["template_sync"] == 1
    assert status["pauses"] == paused["pauses"]
    assert [pause["id"] for pause in resumed["pauses"]] == [paused["pauses"][0]["id"]]


def test_wait_tells_by_its_exit_code_what_has_become_of_it(on_sqlite: FleetOn, typed: Typed) -> None:
    fleet = on_sqlite(knobs={"wabas": 3})
    good, bad, paused = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path=bad, code=100))
    fleet.start("dispatcher", "worker")
    fleet.ready()
    typed(fleet, "pause", "waba", paused, "--reason", "not now")
    done, failed, held = (one.id for one in fleet.sync(good, bad, paused))

    succeeded = typed(fleet, "ops", "wait", done, "--timeout", "20s", "--json")
    broken = typed(fleet, "ops", "wait", done, failed, "--timeout", "20s", "--json")
    late = typed(fleet, "ops", "wait", held, "--timeout", "1s")

    assert [one["state"] for one in answer(succeeded)] == ["succeeded"]
    assert broken.returncode == 1
    assert [one["state"] for one in json.loads(broken.stdout)] == ["succeeded", "failed"]
    said = _sentence(late)
    assert f"operation {held} is still held" in said
    assert "is paused by" in said


def test_list_filters_by_everything_that_it_offers(on_sqlite: FleetOn, typed: Typed) -> None:
    fleet = on_sqlite(knobs={"wabas": 4})
    good, bad, held, waiting = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path=bad, code=100))
    fleet.start("dispatcher", "worker")
    ids = {good: "", bad: ""}
    for waba, partner in ((good, "acme"), (bad, "bolt")):
        (operation,) = fleet.finished(fleet.sync(waba, partner=partner))
        ids[waba] = operation.id
    fleet.kill("worker")
    until(lambda: not fleet.house.presence.living(["template_sync"])["template_sync"], what="it is forgotten")
    typed(fleet, "pause", "waba", held, "--reason", "not now")
    ids[held] = fleet.sync(held, partner="acme")[0].id
    ids[waiting] = fleet.sync(waiting, partner="acme")[0].id

    def listed(*filters: str) -> list[str]:
        return [one["id"] for one in answer(typed(fleet, "ops", "list", *filters, "--json"))]

    assert listed() == [ids[waba] for waba in (waiting, held, bad, good)]
    assert listed("--state", "succeeded") == [ids[good]]
    assert listed("--state", "failed") == [ids[bad]]
    assert listed("--state", "held") == [ids[held]]
    assert listed("--state", "waiting") == [ids[waiting]]
    assert listed("--partner", "bolt") == [ids[bad]]
    assert listed("--waba", good) == [ids[good]]
    assert listed("--kind", "template_sync", "--partner", "acme", "--limit", "2") == [ids[waiting], ids[held]]
    said = typed(fleet, "ops", "list")
    assert all(id_ in said.stdout for id_ in ids.values())
    assert typed(fleet, "ops", "list", "--partner", "nobody").stdout == "No operations.\n"


def test_an_operation_that_cannot_be_cancelled_or_retried_says_why(alone: Fleet, typed: Typed) -> None:
    waba = alone.simulator.world.waba_ids[0]
    (shared,) = alone.sync(waba)
    alone.sync(waba)

    cancel, retry = ("ops", "cancel", shared.id, "--reason", "they have left"), ("ops", "retry", shared.id)
    assert "is shared by 2 requests" in _sentence(typed(alone, *cancel))
    assert f"operation {shared.id} is waiting: it goes on by itself" in _sentence(typed(alone, *retry))
    assert typed(alone, *cancel, "--force").stdout == f"{shared.id} is cancelled.\n"
    assert typed(alone, *cancel).returncode == 0, "once more is no error"
    newer = alone.sync(waba)
    assert f"operation {shared.id} is superseded" in _sentence(typed(alone, *retry))
    typed(alone, "ops", "cancel", newer[0].id, "--reason", "so that the other goes")
    assert typed(alone, *retry).stdout == f"{shared.id} is waiting.\n"


def test_a_partners_share_is_kept_with_who_when_and_why(on_sqlite: FleetOn, typed: Typed) -> None:
    fleet = on_sqlite(partners={"bolt": {"weight": 2.0, "at_most": 5}})
    assert [one["partner"] for one in answer(typed(fleet, "partners", "show", "--json"))] == ["bolt"]

    as_anna, as_ben = ("--actor", "anna", "--json"), ("--actor", "ben", "--json")
    first = typed(fleet, "partners", "set", "bolt", "--weight", "3", "--reason", "onboarding", *as_anna)
    second = typed(fleet, "partners", "set", "bolt", "--no-cap", "--reason", "relaxed", *as_ben)
    third = typed(fleet, "partners", "unset", "bolt", "--reason", "over", *as_anna)

    shares = [answer(one) for one in (first, second, third)]
    assert [(one["weight"], one["at_most"], one["by"]) for one in shares] == [
        (3.0, 5, "anna"),
        (3.0, None, "ben"),
        (2.0, 5, "config"),
    ]
    shown = answer(typed(fleet, "partners", "show", "bolt", "--json"))
    assert [(one["by"], one["reason"], one["taken_back"]) for one in shown["history"]] == [
        ("anna", "onboarding", False),
        ("ben", "relaxed", False),
        ("anna", "over", True),
    ]
    said = typed(fleet, "partners", "show", "bolt").stdout
    assert "bolt: weight 2, at most 5 at once, set by config (from the configuration)" in said
    assert "weight 3, no cap, by ben (relaxed)" in said


def test_pruning_counts_before_it_deletes(alone: Fleet, typed: Typed) -> None:
    (operation,) = alone.sync(alone.simulator.world.waba_ids[0])
    typed(alone, "ops", "cancel", operation.id, "--reason", "they have left")

    kept = answer(typed(alone, "db", "prune", "--json"))
    assert {"secrets", "operations", "pages", "files", "keys", "changes", "outbox", "incidents"} <= kept.keys()
    assert not any(kept.values())
    until(
        lambda: alone.house.clock.now() > operation.created_at + timedelta(seconds=1.1), what="a second is over"
    )
    prune = ("db", "prune", "--older-than", "1s", "--json")
    assert answer(typed(alone, *prune, "--dry-run")) == kept | {"dry_run": True, "operations": 1}
    assert alone.client.get(operation.id).state == "cancelled"
    assert answer(typed(alone, *prune)) == kept | {"operations": 1}
    assert f"there is no operation {operation.id!r}" in _sentence(typed(alone, "ops", "show", operation.id))


def test_the_same_idempotency_key_gives_the_same_operation(alone: Fleet, typed: Typed) -> None:
    first, second = alone.simulator.world.waba_ids[:2]
    command = "enqueue template_sync --partner acme --key k-1 --waba"

    once = typed(alone, *command.split(), first)
    again = typed(alone, *command.split(), first)
    other = typed(alone, *command.split(), second)

    assert once.stdout == again.stdout
    assert "idempotency key 'k-1' of partner 'acme' belongs to operation" in _sentence(other)


def test_incidents_are_opened_noted_told_and_closed_by_hand(alone: Fleet, typed: Typed) -> None:
    app = alone.simulator.app.id
    assert "no incident is open" in typed(alone, "incident", "list").stdout
    opened = json.loads(
        typed(alone, "incident", "open", "--reason", "customers call", "--app", app, "--json").stdout
    )
    number = str(opened["id"])
    assert (opened["state"], opened["app"], opened["title"]) == ("quiet", app, "customers call")

    assert "is open; note it there" in _sentence(
        typed(alone, "incident", "open", "--reason", "x y", "--app", app)
    )
    assert "is not configured" in _sentence(typed(alone, "incident", "open", "--reason", "x y", "--app", "99999"))
    assert "say why" in _sentence(typed(alone, "incident", "close", number, "--reason", ""))
    assert "no incident 4711" in _sentence(typed(alone, "incident", "note", "4711", "where"))
    assert "no note" in _sentence(typed(alone, "incident", "note", number, " "))
    assert typed(alone, "incident", "note", number, "called Meta", "--actor", "anna").returncode == 0
    listed = typed(alone, "incident", "list").stdout
    assert "customers call" in listed

    told = typed(alone, "incident", "report", number).stdout
    assert told.startswith(f"# Incident {number}: customers call\n")
    assert "| anna | called Meta |" in told
    written = typed(alone, "incident", "pack", number, "--json", "--out", "pack.json")
    assert written.stdout == "pack.json is written\n"
    assert json.loads((alone.folder / "pack.json").read_text())["app"] == app
    nowhere = typed(alone, "incident", "report", number, "--out", "no/folder/r.md")
    assert "no/folder/r.md cannot be written: No such file" in _sentence(nowhere)

    assert typed(alone, "incident", "close", number, "--reason", "all is well").returncode == 0
    assert "is closed already" in _sentence(typed(alone, "incident", "close", number, "--reason", "again"))
    assert json.loads(typed(alone, "incident", "list", "--json").stdout) == []
    [closed] = json.loads(typed(alone, "incident", "list", "--all", "--json").stdout)
    assert (closed["state"], closed["close_reason"]) == ("closed", "all is well")


def test_an_alarm_that_nobody_hears_is_a_trouble_of_the_status(on_sqlite: FleetOn, typed: Typed) -> None:
    fleet = on_sqlite(watch={"alarm_command": ["/nowhere/at/all"]})
    house, now = fleet.house, fleet.house.clock.now()
    seen = Condition(cause="breaker", scope=f"app:{fleet.simulator.app.id}", since=now, evidence="it has opened")
    rules = Rules(quiet=timedelta(minutes=1), rejoin=timedelta(days=1))
    house.ledger.incidents.see(fleet.simulator.app.id, [seen], rules=rules, now=now, channels=["command"])
    house.alarms.turn()

    status = json.loads(typed(fleet, "status", "--json").stdout)

    assert any("could not be given by its command (it cannot be run" in one for one in status["troubles"])

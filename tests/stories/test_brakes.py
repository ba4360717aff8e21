"""The brakes hold also where something else is out of joint."""

from collections.abc import Callable

from tests.support.fleet import Fleet
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES, answer, calls_since
from wabajobs.controls import Controls
from wabajobs.decisions import Scope

FleetOn = Callable[..., Fleet]


def _controls(fleet: Fleet) -> Controls:
    return fleet.house.controls


def test_a_pause_holds_though_the_gate_knows_a_later_revision_of_a_ledger_that_is_gone(
    on_sqlite: FleetOn,
) -> None:
    fleet = on_sqlite(**SHORT_PAGES)
    lost = _controls(fleet).mirror()
    for app in fleet.settings.apps:
        fleet.house.gate._redis.hset(f"wabajobs:{{{app}}}:told", "revision", lost.revision + 999)
    fleet.start("dispatcher", "worker")
    fleet.ready()

    paused = fleet.command("pause", "queue", "template_sync", "--reason", "must stop now")
    operations = fleet.sync(*fleet.simulator.world.waba_ids[:3])
    until(lambda: "consuming=False" in fleet.log("worker"), what="the worker consumes no more")

    assert paused.returncode == 0
    assert fleet.house.gate.told() == fleet.house.ledger.decisions.revision()
    assert fleet.calls() == 0
    fleet.command("resume", "queue", "template_sync")
    assert {one.state for one in fleet.finished(operations)} == {"succeeded"}


def test_a_pause_of_a_ledger_that_is_gone_is_forgotten(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    controls = _controls(fleet)
    decided = controls.pause(Scope.of("all"), reason="in the ledger that will be lost", actor="anna")
    told = fleet.house.ledger.decisions.current(now=fleet.house.clock.now())
    fleet.house.ledger.decisions.resume(
        Scope.of("all"), reason="restored", actor="b", now=told.pauses[0].created_at
    )
    newer = type(told)(told.revision + 50, decided.pauses, ())
    fleet.house.gate.tell(newer)

    controls.keep_mirrored()

    fleet.start("dispatcher", "worker")
    assert [one.state for one in fleet.finished(fleet.sync(fleet.simulator.world.waba_ids[0]))] == ["succeeded"]


def test_a_worker_without_its_token_gives_operations_back_instead_of_failing_them(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    token = fleet.folder / "token"
    kept = token.read_text()
    token.unlink()
    fleet.start("dispatcher", "worker")
    [operation] = fleet.sync(fleet.simulator.world.waba_ids[0])

    held = until(lambda: (one := fleet.client.get(operation.id)).hold and one)
    calls = fleet.calls()
    token.write_text(kept)

    assert held.state == "held"
    assert held.hold is not None
    assert (held.hold.by, held.attempts) == ("configuration", 0)
    assert "token of app" in held.hold.reason
    assert calls == 0


def test_brackets_in_a_reason_are_shown_as_they_are(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    fleet.command("pause", "all", "--reason", "see ticket [/INC-7] [bold]now")
    fleet.sync(fleet.simulator.world.waba_ids[0])

    listed = fleet.command("ops", "list")
    shown = fleet.command("status")

    assert (listed.returncode, shown.returncode) == (0, 0), listed.stderr + shown.stderr
    assert "[/INC-7]" in "".join(listed.stdout.split())
    assert "[/INC-7]" in "".join(shown.stdout.split())


def test_everything_can_be_paused_where_a_kind_cannot_be_loaded(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(kinds=["no_such_module_of_kinds"])

    paused = fleet.command("pause", "all", "--reason", "must stop now")

    assert paused.returncode == 0, paused.stderr
    assert "all is paused" in paused.stdout


def test_an_operation_that_waits_for_its_turn_says_what_for(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    [operation] = fleet.sync(fleet.simulator.world.waba_ids[0])
    before = answer(fleet.command("ops", "show", operation.id, "--json"))
    _controls(fleet).mirror()

    nobody = answer(fleet.command("ops", "show", operation.id, "--json"))
    troubles = answer(fleet.command("status", "--json"))["troubles"]

    assert "lost its state" in before["waits_for"]
    assert nobody["waits_for"] == "a worker: none is alive for template_sync"
    assert any("no dispatcher runs" in trouble for trouble in troubles)
    assert calls_since(fleet, 0) == []

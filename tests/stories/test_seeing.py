"""At 3 a.m.: what keeps it, whose word is that, who used the budget. Asked by command, with real programs."""

from collections.abc import Callable
from typing import Any

from tests.support.fleet import Fleet
from tests.support.waiting import until
from tests.support.witness import answer

FleetOn = Callable[..., Fleet]


def explained(fleet: Fleet, operation_id: str) -> dict[str, Any]:
    found: dict[str, Any] = answer(fleet.command("explain", operation_id, "--json"))
    return found


def test_a_refusal_of_metas_and_a_persons_pause_are_told_apart_and_the_flood_is_named(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(
        knobs={"wabas": 30, "templates": 3, "latency": 0.02},
        gate={"breaker_seconds": 60, "breaker_cap_seconds": 60},
    )
    fleet.start("dispatcher", "worker")
    fleet.ready()
    wabas = fleet.simulator.world.waba_ids
    done = [fleet.sync(waba, partner=f"p{nth}") for nth, waba in enumerate(wabas[:4])]
    fleet.finished([one for some in done for one in some])
    fleet.finished(fleet.sync(*wabas, partner="bravo"))

    talkers = answer(fleet.command("top", "partners", "--json"))
    assert (talkers["calls"], talkers["explained_by"]) == (34, ["bravo"])
    told = fleet.command("top", "partners")
    assert "Explained by bravo with 88%" in told.stdout

    fleet.simulator.faults.add(code=4)
    refused, *_ = fleet.sync(*wabas[:10], partner="corto")
    until(lambda: fleet.simulator.judge.refused >= 1, what="Meta refuses")
    status = until(
        lambda: (
            (now := answer(fleet.command("status", "--json"))) and _of(now)["kept_by"].get("meta") == 10 and now
        ),
        what="all of it is kept by Meta",
    )
    assert _of(status)["kept_by"] == {"meta": 10}
    why = until(
        lambda: (one := explained(fleet, refused.id)["why"]) and one["origin"] == "meta" and one,
        what="it is explained by Meta's refusal",
    )
    assert why["by"] in {"breaker", "meta"}
    assert "code 4" in why["reason"]
    assert [one["kept_by"] for one in answer(fleet.command("budget", "--json"))] == [{"meta": 10}]

    paused = fleet.command("pause", "partner", "corto", "--reason", "a flood", "--for", "2h", "--json")
    assert paused.returncode == 0
    found = explained(fleet, refused.id)
    assert (found["why"]["by"], found["why"]["origin"]) == ("pause", "person")
    assert "breaker" in {one["by"] for one in found["behind"]}
    plain = fleet.command("explain", refused.id).stdout
    assert "is paused by" in plain
    assert "If that were gone:" in plain
    assert _of(answer(fleet.command("status", "--json")))["held_by"].get("pause") == 10


def _of(status: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in status["queues"] if one["queue"] == "template_sync")


def test_what_cannot_be_answered_is_said_in_a_sentence(fleet: Fleet) -> None:
    nobody = fleet.command("explain", "01a2-nobody")
    no_time = fleet.command("top", "partners", "--since", "soon")
    nothing = fleet.command("top", "planets")
    both = fleet.command("top", "kinds", "--window", "1h", "--since", "05:40")
    stranger = fleet.command("top", "kinds", "--app", "99999")

    assert "there is no operation '01a2-nobody'" in nobody.stderr
    assert "'soon' is no moment; write 05:40" in no_time.stderr
    assert "partners" in nothing.stderr
    assert "give one of them" in both.stderr
    assert "99999" in stranger.stderr
    for one in (nobody, no_time, nothing, both, stranger):
        assert one.returncode != 0
        assert "Traceback" not in one.stderr

"""Budgets and breakers at the command line: set, seen, and felt by the next call."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fleet import Fleet
from tests.support.waiting import until
from wabajobs.operation import Operation

FleetOn = Callable[..., Fleet]


@pytest.fixture
def fleet(on_sqlite: FleetOn) -> Fleet:
    """A dispatcher and a worker, and six WABAs with one page of templates each."""
    fleet = on_sqlite(knobs={"wabas": 6, "templates": 5})
    fleet.start("dispatcher", "worker")
    fleet.ready()
    return fleet


def facts(fleet: Fleet, *arguments: str) -> Any:
    done = fleet.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def set_(fleet: Fleet, *arguments: str) -> None:
    assert facts(fleet, *arguments, "--reason", "to see what happens")["in_force"]


def _succeeded(fleet: Fleet, operations: list[Operation], number: int) -> set[str]:
    """The ids of those that have succeeded, once they are so many."""
    found = {one.id for one in operations if fleet.client.get(one.id).state == "succeeded"}
    return found if len(found) == number else set()


def test_a_partners_limit_holds_that_partner_and_nobody_else(fleet: Fleet) -> None:
    *ours, theirs = fleet.simulator.world.waba_ids[:4]
    set_(fleet, "limits", "set", "partner:acme", "--per-hour", "3")

    mine = fleet.sync(*ours, partner="acme")
    other = fleet.sync(theirs, partner="beta")

    assert fleet.finished(other)[0].state == "succeeded"
    done = until(lambda: _succeeded(fleet, mine, 2), what="two of acme's have run")
    (left,) = {one.id for one in mine} - done
    # At its first calls the gate learns, and holds others for a second; that is not what is waited for.
    until(lambda: "partner:acme" in str(facts(fleet, "ops", "show", left)["waits_for"]), what="it says what for")
    assert fleet.calls() == 3

    set_(fleet, "limits", "unset", "partner:acme")
    assert {one.state for one in fleet.finished(mine)} == {"succeeded"}
    assert fleet.calls() == 4


def test_a_limit_on_trial_holds_nobody_and_says_whom_it_would_have(fleet: Fleet) -> None:
    set_(fleet, "limits", "set", "partner:acme", "--per-hour", "3", "--shadow")

    operations = fleet.sync(*fleet.simulator.world.waba_ids)

    assert {one.state for one in fleet.finished(operations)} == {"succeeded"}
    (app,) = facts(fleet, "budget")
    (trial,) = [one for one in app["budgets"] if one["scope"] == "partner:acme"]
    assert (trial["shadow"], trial["used"], trial["would_refuse"]) == (True, 6, 4)


def test_the_budget_says_who_used_it(fleet: Fleet) -> None:
    first, second, third = fleet.simulator.world.waba_ids[:3]
    fleet.finished([*fleet.sync(first, second, partner="acme"), *fleet.sync(third, partner="beta")])

    (app,) = facts(fleet, "budget")

    assert app["budgets"][0]["used"] == 3
    spent = {(one["kind"], one["partner"], one["waba"]): one["calls"] for one in app["spenders"]}
    assert spent == {
        ("template_sync", "acme", first): 1,
        ("template_sync", "acme", second): 1,
        ("template_sync", "beta", third): 1,
    }
    plain = fleet.command("budget").stdout
    assert "acme" in plain and "67%" in plain


def test_a_breaker_that_is_held_open_stops_its_part_until_it_is_released(fleet: Fleet) -> None:
    scope = f"app:{fleet.simulator.app.id}/template_reads"
    set_(fleet, "breakers", "open", scope)

    (operation,) = fleet.sync(fleet.simulator.world.waba_ids[0])

    (shown,) = [one for one in facts(fleet, "breakers", "show") if one["held"]]
    assert (shown["scope"], shown["state"]) == (scope, "open")
    assert "to see what happens" in shown["held"]
    story = facts(fleet, "ops", "show", operation.id)
    assert "held open" in json.dumps(story)
    assert fleet.calls() == 0

    set_(fleet, "breakers", "release", scope)
    assert fleet.finished([operation])[0].state == "succeeded"


def test_a_breaker_that_is_held_closed_lets_calls_through_an_outage(fleet: Fleet) -> None:
    app = fleet.simulator.app.id
    fleet.simulator.limits.add_others(app, 200_000)
    (stopped,) = fleet.sync(fleet.simulator.world.waba_ids[0])
    until(lambda: fleet.simulator.judge.refused == 1, what="Meta refuses")
    fleet.simulator.limits.forget()

    set_(fleet, "breakers", "close", f"app:{app}")

    assert fleet.client.get(stopped.id).state in ("held", "waiting", "running", "succeeded")
    (other,) = fleet.sync(fleet.simulator.world.waba_ids[1])
    waits = facts(fleet, "breakers", "show")
    assert [one["state"] for one in waits if one["scope"] == f"app:{app}"] == ["closed"]
    assert other.id

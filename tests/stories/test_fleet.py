"""The fleet, in real processes: webhooks keep the mirror true without a call; the planner is the backstop."""

from collections.abc import Callable, Iterable
from typing import Any

from tests.clients.hook import Hook, receiving
from tests.support.fleet import Fleet
from tests.support.waiting import until
from tests.support.witness import answer
from wabajobs.simulator.world import template_life

FleetOn = Callable[..., Fleet]

EAGER: dict[str, Any] = {
    "planner": {"every_seconds": 3, "least_seconds": 1, "waiting": 4, "survey_seconds": 1, "jitter": 0.2}
}
"""A list is stale after three seconds."""


def challenge(_token: str | None, word: str | None) -> tuple[str | None, int]:
    return word, 200


def heard(fleet: Fleet, hook: Hook) -> list[str]:
    """Give everything that has arrived to the client, until what the simulator made is there."""
    made = len(fleet.simulator.webhooks.sent())
    did: list[str] = []
    for _ in range(made):
        delivery = hook.next()
        applied = fleet.client.apply_webhook(delivery.body, signature=delivery.signature)
        did += [str(one.did) for one in applied]
    return did


def facts_of_mirror(fleet: Fleet, waba: str) -> dict[str, tuple[Any, ...]]:
    return {
        one["id"]: (one["status"], one["category"], one["rejected_reason"], one["quality_score"])
        for one in fleet.house.ledger.templates.templates(waba)
    }


def facts_of_meta(fleet: Fleet, waba: str) -> dict[str, tuple[Any, ...]]:
    return {
        one.id: (
            one.status,
            one.category,
            one.rejected_reason,
            {"score": one.quality, "date": one.quality_date, "reasons": []},
        )
        for one in fleet.simulator.world.templates(waba)
    }


def test_webhooks_keep_the_mirror_true_without_a_call(fleet_on: FleetOn, database_url: str) -> None:
    with receiving(challenge) as hook:
        fleet = fleet_on(
            database_url, knobs={"wabas": 1, "templates": 12, "webhook_url": hook.url, "webhooks_twice": 0.5}
        )
        [waba] = fleet.simulator.world.waba_ids
        fleet.start("dispatcher", "worker")
        fleet.finished(fleet.sync(waba))
        calls, world = fleet.calls(), fleet.simulator.world
        first, second, third, fourth, fifth, *_ = [one.id for one in world.templates(waba)]

        template_life.set_quality(world, first, "YELLOW")
        template_life.set_quality(world, second, "RED")  # which pauses it
        template_life.reject(world, third, "PROMOTIONAL")
        template_life.recategorise(world, fourth, "MARKETING", notice=0)
        account = world.waba_of(world.node(fifth))
        assert account is not None
        template_life.delete(world, account, template_life.located(world, fifth)[1])

        did = heard(fleet, hook)

    assert "changed" in did
    assert facts_of_mirror(fleet, waba) == facts_of_meta(fleet, waba)
    assert fleet.calls() == calls, "not one call"


def test_the_planner_keeps_lists_fresh_stops_with_the_queue_and_goes_on_with_the_stalest(
    fleet_on: FleetOn, database_url: str
) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 12, "templates": 3, "app_limit": 100_000}, **EAGER)
    wabas = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    answer(fleet.command("fleet", "add", *wabas, "--partner", "acme", "--reason", "all of ours", "--json"))

    def rounds() -> int:
        return min((fleet.simulator.judge.by_waba().get(waba, 0) for waba in wabas), default=0)

    until(lambda: rounds() >= 2, what="every list was read twice, and nobody asked", within=40)

    answer(fleet.command("pause", "queue", "template_sync", "--reason", "app limit", "--json"))
    until(lambda: not _leased(fleet), what="what ran has given its slot back")
    calls = fleet.calls()
    until(lambda: len(_overdue(fleet)) == 12 - len(_open(fleet)), what="every list is overdue", within=30)
    heap = _open(fleet)
    stale = _overdue(fleet)
    [told] = answer(fleet.command("fleet", "--json"))
    before = {one.id for one in fleet.house.ledger.operations.find(at_most=1000)}

    assert fleet.calls() == calls
    assert len(heap) <= 4, "no heap of syncs waits behind the pause"
    assert "queue:template_sync is paused" in told["held"]

    answer(fleet.command("resume", "queue", "template_sync", "--json"))
    until(lambda: len(_called_since(fleet, calls)) == 12, what="every list is read again", within=40)

    planned = sorted((one for one in fleet.house.ledger.operations.find(at_most=1000)), key=lambda one: one.id)
    order = list(dict.fromkeys(one.waba for one in planned if one.id not in before and one.waba in stale))
    assert order == stale, "those that nobody had planned before the pause, the stalest first"


def _open(fleet: Fleet) -> set[str]:
    found = fleet.house.ledger.operations.find(at_most=1000)
    return {str(one.waba) for one in found if not one.state.finished}


def _synced(fleet: Fleet, wabas: Iterable[str]) -> list[str]:
    kept = (fleet.house.ledger.fleet.get(waba, settings=fleet.settings.planner) for waba in wabas)
    return [one.facts.waba for one in kept if one is not None and one.facts.success_at is not None]


def _leased(fleet: Fleet) -> int:
    return fleet.house.ledger.operations.out().get(("template_sync", "acme"), 0)


def _overdue(fleet: Fleet) -> list[str]:
    """Return the WABAs that are due and not planned, the stalest first."""
    app, now = fleet.simulator.app.id, fleet.house.clock.now()
    return [one.waba for one in fleet.house.ledger.fleet.stalest(app, at_most=100, now=now)]


def _called_since(fleet: Fleet, calls: int) -> set[str]:
    """Return the WABAs that were called since."""
    return {str(one.waba) for one in fleet.simulator.judge.calls()[calls:]}


def test_an_operator_is_told_what_the_budget_is_good_for(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 5, "templates": 3, "app_limit": 100}, **EAGER)
    wabas = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    fleet.ready()

    added = fleet.command("fleet", "add", *wabas, "--partner", "acme", "--every", "30s", "--reason", "a campaign")
    waba = until(lambda: next(iter(_synced(fleet, wabas)), ""), what="the first of them is synced")
    sentence = "5 WABAs x 1.0 pages at 60 % of 100 calls per hour: one round takes 5 min; you asked for 30 s"
    until(
        lambda: any(sentence in one for one in answer(fleet.command("status", "--json"))["troubles"]),
        what="the status tells",
    )
    overview, shown = fleet.command("fleet"), fleet.command("fleet", "show", waba)
    log = fleet.log("dispatcher")
    less = fleet.command("fleet", "set", "--every", "2h", "--share", "0.5", "--reason", "the limit is low")
    removed = fleet.command("fleet", "remove", waba, "--reason", "left us", "--actor", "anna")
    after = fleet.command("fleet", "show", waba)
    unknown = [
        fleet.command("fleet", "show", "99999"),
        fleet.command("fleet", "set", "--reason", "nothing"),
        fleet.command("fleet", "add", "12", "--partner", "acme", "--reason", "no id"),
        fleet.command("fleet", "set", "--app", "55555", "--every", "1h", "--reason", "no app"),
    ]

    assert added.stdout == "5 WABAs are kept fresh.\n"
    assert sentence in overview.stdout
    assert "That cannot be reached" in overview.stdout
    assert f"WABA {waba} of acme" in shown.stdout
    assert "every 30 s, as" in shown.stdout
    assert log.count("freshness_changed") == 1
    assert "every 7200 s, 50% of the limit" in less.stdout
    assert removed.stdout == "1 WABA is no longer kept fresh.\n"
    assert "not kept fresh: anna at" in after.stdout
    assert [one.returncode for one in unknown] == [1] * 4
    assert "is not kept fresh; begin with: wabajobs fleet add 99999" in unknown[0].stderr
    assert "say what to set" in unknown[1].stderr
    assert "waba '12' is no WABA id" in unknown[2].stderr
    assert "app '55555' is not configured" in unknown[3].stderr

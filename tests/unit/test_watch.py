"""The watch sees breakers, budgets, queues and workers, and keeps who spent what."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.support.servers import RunningRedis
from tests.support.stage import Stage
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Stand
from wabajobs.gate import Call, Outcome, Permit, Report
from wabajobs.incidents.watch import Watch
from wabajobs.ledger import Happening, Incident, Sight
from wabajobs.settings import Settings
from wabajobs.signals import Worker

WATCH = {"quiet_seconds": 600, "slope_seconds": 300, "sample_seconds": 60, "no_worker_seconds": 120}
SETTINGS = {"watch": WATCH, "gate": {"pacing": False, "margin": 0.0}}
QUEUE = "template_sync"


@dataclass
class Tower:
    """A watch on a stage: looks as often as a test says."""

    stage: Stage
    watch: Watch

    def look(self, *, after: float = 0) -> None:
        self.stage.pass_time(after)
        self.stage.house.controls.keep_mirrored()
        self.watch.look()

    def look_on(self, seconds: float, *, every: float = 10) -> None:
        for _ in range(round(seconds / every)):
            self.look(after=every)

    @property
    def incidents(self) -> list[Incident]:
        return self.stage.house.incidents.find(open_only=False)[::-1]

    @property
    def seen(self) -> set[tuple[str, str]]:
        """Cause and scope of all that incidents consist of."""
        episodes = [episode for one in self.incidents for episode in one.episodes]
        return {(one.cause, one.scope) for episode in episodes for one in episode.conditions}

    def call(self, outcome: Outcome = Outcome.OK, *, number: int = 1, **report: Any) -> None:
        for _ in range(number):
            permit = self.stage.house.gate.admit(self.a_call())
            assert isinstance(permit, Permit), str(permit)
            self.stage.house.gate.settle(permit, Report(outcome=outcome, **report))

    def call_if_it_may(self, service_class: ServiceClass, *, number: int) -> None:
        for _ in range(number):
            permit = self.stage.house.gate.admit(self.a_call(service_class))
            if isinstance(permit, Permit):
                self.stage.house.gate.settle(permit, Report(outcome=Outcome.OK))

    def a_call(self, service_class: ServiceClass = ServiceClass.INTERACTIVE) -> Call:
        return Call(
            app=self.stage.app,
            queue=QUEUE,
            partner="acme",
            waba="20001",
            capability=Capability.TEMPLATE_READS,
            service_class=service_class,
        )


@pytest.fixture
def tower(stages: Callable[..., Any]) -> Iterator[Tower]:
    with stages(settings=SETTINGS) as stage:
        yield _tower(stage)


def _tower(stage: Stage) -> Tower:
    house, settings = stage.house, stage.house.settings
    assert isinstance(settings, Settings)
    watch = Watch(
        ledger=house.ledger,
        gate=house.gate,
        presence=house.presence,
        queues=lambda: house.kinds.names,
        settings=settings,
        clock=stage.clock,
        channels=("command",),
        monotonic=lambda: stage.clock.now().timestamp(),
    )
    for queue in house.kinds.names:
        house.presence.announce(Worker(name=f"{queue}@host:1", queue=queue, slots=8))
    return Tower(stage, watch)


def app_scope(tower: Tower, capability: str = "") -> str:
    return f"app:{tower.stage.app}" + (f"/{capability}" if capability else "")


def test_a_quiet_day_is_sampled_and_nothing_else(tower: Tower) -> None:
    tower.call(number=3)

    tower.look_on(180)

    samples = tower.stage.house.ledger.samples.usage()
    assert [(one.used, one.broken) for one in samples] == [(4, ())] * 3, "one call was made to learn"
    queues = tower.stage.house.ledger.samples.backlog()
    assert len(queues) == 3 * len(tower.stage.house.kinds.names)
    assert tower.incidents == []


def test_a_trip_is_an_incident_at_the_next_look_and_over_after_a_quiet_time(tower: Tower) -> None:
    tower.look()
    tower.call(Outcome.APP_LIMIT, code=4, subcode=1504022, fbtrace_id="Abc")
    tower.look(after=10)

    [incident] = tower.incidents
    assert incident.state == "on"
    assert "code 4, subcode 1504022, fbtrace Abc" in incident.title
    assert [one.channel for one in incident.episodes[0].alarms] == ["command"]
    assert ("breaker", app_scope(tower)) in tower.seen

    tower.look_on(600)
    assert tower.incidents[0].state == "on", "half open is not well"
    tower.call(app_percent=10)
    tower.look_on(590)
    assert tower.incidents[0].state == "on"
    tower.look_on(30)

    [incident] = tower.incidents
    assert incident.state == "quiet"
    [episode] = incident.episodes
    assert timedelta(seconds=590) <= episode.lasted(tower.stage.clock.now()) <= timedelta(seconds=620)


def test_a_breaker_of_a_capability_counts_and_those_of_wabas_and_held_ones_do_not(tower: Tower) -> None:
    tower.look()
    scope = app_scope(tower, "flows")
    tower.stage.house.controls.hold_breaker(scope, Stand.OPEN, reason="a test", actor="ops")
    tower.call(Outcome.WABA_LIMIT, code=80007)
    tower.look(after=10)
    assert tower.incidents == []

    other = Call(app=tower.stage.app, queue=QUEUE, partner="a", capability=Capability.UPLOADS)
    permit = tower.stage.house.gate.admit(other)
    assert isinstance(permit, Permit)
    tower.stage.house.gate.settle(permit, Report(outcome=Outcome.CAPABILITY_LIMIT, code=613))
    tower.look(after=10)
    assert tower.seen == {("breaker", app_scope(tower, "uploads"))}


def test_a_breaker_that_was_open_between_two_looks_only_is_seen_by_what_the_worker_told(tower: Tower) -> None:
    tower.look()
    opened_at = tower.stage.clock.now()
    tower.stage.house.ledger.happenings.put(
        [
            Happening(
                at=opened_at,
                name=Sight.BREAKER_OPENED,
                app=tower.stage.app,
                scope=app_scope(tower, "uploads"),
                detail={"evidence": "code 613, fbtrace Xyz"},
            )
        ]
    )

    tower.look(after=10)

    [incident] = tower.incidents
    assert incident.episodes[0].began_at == opened_at
    assert "fbtrace Xyz" in incident.title
    tower.look(after=10)
    assert not tower.incidents[0].episodes[0].conditions[0].here


def test_a_budget_that_fills_too_fast_is_foretold(stages: Callable[..., Any]) -> None:
    limit = 1000
    with stages(knobs={"app_limit": limit}, settings=SETTINGS) as stage:
        tower = _tower(stage)
        tower.look()
        for _ in range(60):
            tower.call(number=12)  # full after 14 minutes
            tower.look(after=10)
            if tower.seen:
                break

        window = stage.house.gate.read(stage.app).windows[0]
        assert tower.seen == {("budget", app_scope(tower))}
        assert 0.5 * limit <= window.used < limit, "told while there is still something left, and not too early"
        assert "will be spent in" in tower.incidents[0].title


def test_a_budget_that_is_spent_is_told_at_once_and_a_steady_one_never(tower: Tower) -> None:
    tower.look()
    tower.call(number=1, app_percent=80)
    tower.look_on(600)
    assert tower.incidents == [], "as full as it may be, and not filling"

    tower.call(number=1, app_percent=100)
    tower.look(after=10)

    assert tower.seen == {("budget", app_scope(tower))}
    assert "is spent" in tower.incidents[0].title


def test_a_backlog_that_is_worked_off_at_full_pace_spends_nothing_of_peoples_budget(
    stages: Callable[..., Any],
) -> None:
    limit = 1000
    with stages(knobs={"app_limit": limit}, settings={"watch": WATCH, "gate": {"pacing": True}}) as stage:
        tower = _tower(stage)
        tower.look()
        for _ in range(90):
            tower.call_if_it_may(ServiceClass.INTERACTIVE, number=1)
            for _ in range(4):
                tower.call_if_it_may(ServiceClass.BACKGROUND, number=7)
                stage.pass_time(15)
            tower.look()

        assert stage.house.gate.read(stage.app).windows[0].used > 0.9 * limit
        assert tower.incidents == []


# ── a limit that was lowered ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lowered(stages: Callable[..., Any]) -> Iterator[Tower]:
    """An hour in which 300 calls of 1,000 were made; then Meta allows 300, of which all are spent."""
    with stages(knobs={"app_limit": 1000}, settings=SETTINGS) as stage:
        tower = _tower(stage)
        tower.look()
        for _ in range(60):
            tower.call(number=5, app_percent=100 * stage.house.gate.read(stage.app).windows[0].used // 1000)
            tower.look(after=60)
        assert tower.incidents == []
        yield tower


def refuse_and_recover(tower: Tower) -> None:
    """Let Meta refuse a call, and the next probe succeed."""
    tower.call(Outcome.APP_LIMIT, code=4, app_percent=104)
    tower.look_on(130)
    tower.call(app_percent=97)
    tower.look(after=10)
    assert {one.state for one in tower.stage.house.gate.read(tower.stage.app).breakers} == {"closed"}


def test_an_episode_goes_on_while_meta_grants_less_although_it_refuses_nothing_any_more(lowered: Tower) -> None:
    tower = lowered
    refuse_and_recover(tower)
    for _ in range(90):
        tower.call(app_percent=95)
        tower.look_on(60)

    [incident] = tower.incidents
    assert incident.state == "on", "an hour and a half without a refusal"
    assert ("limit", app_scope(tower)) in tower.seen

    limited_until = tower.stage.clock.now()
    tower.call(number=100, app_percent=20)
    tower.look_on(700)

    [incident] = tower.incidents
    assert incident.state == "quiet"
    [episode] = incident.episodes
    assert episode.ended_at is not None
    assert abs(episode.ended_at - limited_until) <= timedelta(seconds=60)


def test_an_episode_begins_when_the_header_shows_that_most_of_a_limit_is_gone(lowered: Tower) -> None:
    lowered.call(app_percent=95)
    lowered.look_on(20)

    assert lowered.seen == {("limit", app_scope(lowered))}
    assert "its limit is lower than it was, or somebody else calls" in lowered.incidents[0].title


def test_what_a_gate_without_a_memory_takes_for_others_calls_is_no_lower_limit(
    lowered: Tower, redis_for_stages: RunningRedis
) -> None:
    redis_for_stages.client.flushall()
    lowered.look(after=1)
    lowered.call(app_percent=95)  # they were our own
    lowered.look_on(1200)

    assert ("limit", app_scope(lowered)) not in lowered.seen


def test_calls_of_others_that_were_always_there_are_no_lower_limit(stages: Callable[..., Any]) -> None:
    with stages(knobs={"app_limit": 1000}, settings=SETTINGS) as stage:
        tower = _tower(stage)
        for nth in range(60):
            tower.call(number=6, app_percent=60 + 6 * nth // 10)
            tower.look(after=60)
        refuse_and_recover(tower)
        for _ in range(15):
            tower.look(after=60)
            tower.call(number=6, app_percent=96)

        [incident] = tower.incidents
        assert ("limit", app_scope(tower)) not in tower.seen
        assert incident.state == "quiet", tower.seen


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backlog_that_will_be_caught_up_with_in_time_is_none(tower: Tower) -> None:
    waiting = [
        tower.stage.accept(QUEUE, partner=f"p{nth}", waba=tower.stage.waba, service_class="interactive")
        for nth in range(40)
    ]
    tower.stage.pause(f"queue:{QUEUE}")
    tower.look_on(1200, every=60)
    tower.stage.resume(f"queue:{QUEUE}")

    while waiting:
        for _ in range(4):
            tower.stage.house.interventions.cancel(waiting.pop().id, reason="a test", actor="ops")
        tower.look(after=60)
        assert ("backlog", "class:interactive") not in tower.seen, "four a minute, each of them late"


def test_operations_that_are_late_are_an_incident_unless_somebody_holds_them(tower: Tower) -> None:
    tower.stage.accept(QUEUE, partner="held", waba=tower.stage.waba, service_class="interactive")
    tower.stage.pause("partner:held")
    tower.look()
    tower.look_on(1200, every=60)
    assert tower.incidents == []

    tower.stage.accept(QUEUE, partner="acme", waba=tower.stage.waba, service_class="interactive")
    tower.look_on(840, every=60)
    assert tower.incidents == []
    tower.look_on(300, every=60)

    assert tower.seen == {("backlog", "class:interactive")}
    assert "are late: the oldest, of template_sync, was asked for" in tower.incidents[0].title


def test_work_without_a_worker_is_an_incident(tower: Tower) -> None:
    tower.stage.accept(QUEUE, partner="acme", waba=tower.stage.waba)
    tower.look_on(180)
    assert tower.incidents == []

    tower.stage.house.presence.leave(Worker(name=f"{QUEUE}@host:1", queue=QUEUE, slots=8))
    tower.look_on(90)
    assert tower.incidents == []
    tower.look_on(60)

    assert tower.seen == {("workers", f"queue:{QUEUE}")}


def test_who_spent_what_is_kept_and_a_redis_that_was_emptied_makes_nothing_twice(
    tower: Tower, redis_for_stages: RunningRedis
) -> None:
    tower.call(number=20)
    tower.look_on(120)
    spending = tower.stage.house.ledger.spending
    assert ("acme", 20) in {(one.name, one.calls) for one in spending.by("partner")}
    before = sum(one.calls for one in spending.by("partner"))
    redis_for_stages.client.flushall()
    tower.look(after=1)
    tower.call(number=1, app_percent=10)
    tower.call(number=4)
    tower.look_on(120)

    assert sum(one.calls for one in spending.by("partner")) == before + 5
    assert sum(one.calls for one in spending.by("capability")) == before + 5
    names = [one.name for one in tower.stage.house.ledger.happenings.find()]
    assert names == [Sight.LEARNING_BEGAN, Sight.LEARNING_ENDED]


def test_while_redis_is_away_nothing_begins_and_nothing_ends(
    tower: Tower, redis_for_stages: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower.look()
    tower.call(Outcome.APP_LIMIT, code=4)
    tower.look(after=10)
    house = tower.stage.house
    away = type(house)(
        house.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}), clock=house.clock
    )
    monkeypatch.setattr(tower.watch, "_gate", away.gate)
    tower.stage.pass_time(100_000)

    tower.watch.look()

    assert tower.incidents[0].state == "on"

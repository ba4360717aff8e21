"""Who spent an app's budget is known for each twelfth of the window, also how much of it met a limit."""

from collections.abc import Callable
from datetime import timedelta

import redis

from tests.gate.conftest import APP, Door
from wabajobs.capability import Capability
from wabajobs.gate import Outcome, Report

PART = timedelta(seconds=50)


def told(door: Door, newest: int = 12) -> list[list[tuple[str, str, str, str, int, int]]]:
    return [
        [(one.queue, one.partner, one.waba, one.capability, one.calls, one.refused) for one in part.spenders]
        for part in door.gate.spent_parts(APP, newest=newest)
    ]


def test_each_part_of_the_window_tells_who_spent_how_much_with_what(door: Door) -> None:
    door.later(10)
    for _ in range(3):
        door.call_as(partner="p1", waba="w1")
    door.call_as(partner="p1", waba="w1", capability=Capability.UPLOADS)
    door.later(PART.total_seconds())
    door.call_as(partner="p2", queue="onboarding", cost=5)
    door.gate.settle(door.pass_(partner="p3"), Report(outcome=Outcome.UNUSED))

    first, second = door.gate.spent_parts(APP)

    assert told(door) == [
        [("template_sync", "p1", "w1", "template_reads", 3, 0), ("template_sync", "p1", "w1", "uploads", 1, 0)],
        [("onboarding", "p2", "", "template_reads", 5, 0)],
    ]
    assert (first.lasting, second.since - first.since) == (PART, PART)
    assert first.since <= door.clock.now() - PART < second.since <= door.clock.now()
    assert len(told(door, newest=1)) == 1
    assert [(one.waba, one.calls) for one in door.gate.spenders(APP)] == [("", 5), ("w1", 4)]


def test_what_met_a_limit_is_counted_beside_and_belongs_to_the_part_in_which_it_was_admitted(door: Door) -> None:
    door.later(10)
    door.call_as(partner="p1", waba="w1")
    slow = door.pass_(partner="p1", waba="w1", cost=2)
    door.later(50)
    door.gate.settle(slow, Report(outcome=Outcome.WABA_LIMIT, code=80007))
    door.later(1)
    failed = door.pass_(partner="p2")
    door.gate.settle(failed, Report(outcome=Outcome.FAILED))

    assert told(door) == [
        [("template_sync", "p1", "w1", "template_reads", 3, 2)],
        [("template_sync", "p2", "", "template_reads", 1, 0)],
    ]


def test_a_settlement_that_comes_twice_or_after_all_is_forgotten_counts_nothing(
    door: Door, client: redis.Redis
) -> None:
    permit = door.pass_(partner="p1")
    for _ in range(2):
        door.gate.settle(permit, Report(outcome=Outcome.APP_LIMIT, code=4))
    assert told(door) == [[("template_sync", "p1", "", "template_reads", 1, 1)]]

    door.later(1200)
    late = door.pass_(partner="p1")
    client.flushall()
    door.tell()
    door.gate.settle(late, Report(outcome=Outcome.APP_LIMIT, code=4))
    assert told(door) == []
    assert [key for key in client.keys("*") if b"spent" in key] == []


def test_counters_that_began_anew_have_another_name(door: Door, client: redis.Redis) -> None:
    door.call_as(partner="p1")
    [before] = door.gate.spent_parts(APP)
    [again] = door.gate.spent_parts(APP)
    client.flushall()
    door.tell()
    door.call_as(partner="p1")

    [after] = door.gate.spent_parts(APP)

    assert before.generation == again.generation != after.generation
    assert after.spenders[0].calls == 1


def test_nothing_is_kept_for_ever_by_being_read(door_with: Callable[..., Door], client: redis.Redis) -> None:
    door = door_with()
    door.learn()
    door.call_as(partner="p1")

    door.gate.spent_parts(APP)

    assert all(client.ttl(key) > 0 for key in client.keys("*") if b"spent" in key)

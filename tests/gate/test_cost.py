"""What the gate costs: one round trip, whole numbers, little memory, and nothing that piles up."""

from collections.abc import Callable
from importlib.resources import files

import pytest
from redis.crc import key_slot

from tests.gate.conftest import APP, Door, a_call
from wabajobs.decisions import Limit
from wabajobs.gate import Outcome, Permit, Report, Wait


def commands_sent(door: Door) -> int:
    """How many requests the server has read so far: what scripts run inside does not arrive as a request."""
    return int(door.client.info("stats")["total_reads_processed"])


def test_admit_and_settle_are_one_round_trip_each(door: Door) -> None:
    door.call(waba="w1")
    asking = commands_sent(door)
    asking = commands_sent(door) - asking
    before = commands_sent(door)

    permit = door.pass_(waba="w1")
    after_admit = commands_sent(door)
    door.gate.settle(permit, Report(outcome=Outcome.OK, app_percent=3))
    after_settle = commands_sent(door)

    assert (after_admit - before - asking, after_settle - after_admit - asking) == (1, 1)


def test_a_permit_is_one_call_of_a_function(door: Door) -> None:
    door.call(waba="w1")
    door.client.config_resetstat()

    door.pass_(waba="w1")

    stats = door.client.info("commandstats")
    ways = ("script", "eval", "fcall")
    scripts = {name: each["calls"] for name, each in stats.items() if any(way in name for way in ways)}
    assert scripts == {"cmdstat_fcall": 1}


@pytest.mark.parametrize("limit", [5_000, 1_000_000])
def test_a_window_takes_less_than_a_kibibyte_however_many_calls(
    door_with: Callable[..., Door], limit: int
) -> None:
    door = door_with(calls=limit, per_waba=limit, window_seconds=3600)
    door.learn()
    for _ in range(125):
        door.call(waba="w1", app_percent=1, waba_percent=1)
        door.pass_(cost=limit // 150, waba="w1")
        door.later(30.05)

    window = f"wabajobs:{{{APP}}}:window:waba:{APP}:w1"
    assert door.gate.read(APP, wabas=["w1"]).windows[1].used > limit / 2
    assert 0 < door.client.memory_usage(window) < 1024


def test_the_finest_window_takes_no_more(door_with: Callable[..., Door]) -> None:
    door = door_with(window_buckets=180, window_seconds=180, spread_seconds=0)
    door.learn()
    for _ in range(500):
        door.ask("background")
        door.later(1.003)

    assert 0 < door.client.memory_usage(f"wabajobs:{{{APP}}}:window:app:{APP}") < 1024


def test_a_call_touches_one_string_for_each_window_and_nothing_of_a_sound_breaker(door: Door) -> None:
    door.tell(limits=(Limit("partner:p1", 50, 600), Limit("capability:template_reads", 50, 600)))
    door.call(waba="w1")
    door.client.config_resetstat()

    door.pass_(waba="w1")

    stats = door.client.info("commandstats")
    inside = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    assert inside.pop("fcall") == 1
    for aside in ("config|resetstat", "zremrangebyscore"):  # the second now and then
        inside.pop(aside, None)
    assert inside == {"mget": 1, "setrange": 4, "hincrby": 1, "zadd": 1}


def test_what_people_decided_is_read_once_and_not_at_every_call(door: Door) -> None:
    door.tell(limits=(Limit("partner:p1", 50, 600),))
    door.client.config_resetstat()

    for _ in range(10):
        door.call(waba="w1")

    assert door.client.info("commandstats")["cmdstat_hmget"]["calls"] == 1


def test_ten_thousand_shapes_of_calls_leave_the_functions_small(door: Door) -> None:
    door.gate.forecast([a_call(waba=f"w{n}") for n in range(500)])
    before = int(door.client.info("memory")["used_memory_vm_functions"])

    for first in range(0, 10_000, 500):
        door.gate.forecast([a_call(waba=f"w{n}", partner=f"p{n}") for n in range(first, first + 500)])

    assert int(door.client.info("memory")["used_memory_vm_functions"]) < before + 12_000_000


def test_all_keys_of_an_app_are_in_one_hash_slot(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w1"), Report(outcome=Outcome.WABA_LIMIT))

    slots = {key_slot(key) for key in door.client.keys("*")}

    assert len(slots) == 1


def test_what_could_pile_up_expires_and_what_was_told_does_not(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w1"), Report(outcome=Outcome.WABA_LIMIT, waba_percent=5))
    door.pass_()

    lives = {key.decode().split(":", 2)[2]: door.client.ttl(key) for key in door.client.keys("*")}

    assert lives.pop("told") == lives.pop("state") == -1
    assert lives.pop("wire") == -1, "it empties itself"
    assert lives.pop("tripped") == -1, "a day's WABAs at most"
    assert lives
    assert {name for name, ttl in lives.items() if not 100 < ttl < 7200} == set()


def test_no_script_answers_with_a_boolean() -> None:
    for script in (files("wabajobs.gate") / "lua").iterdir():
        for line in script.read_text().splitlines():
            assert not line.startswith("return") or ("true" not in line and "false" not in line), script.name


def test_every_kind_of_answer_arrives(door: Door) -> None:
    answers = [door.ask(), door.ask(cost=1000), door.ask(waba="w1")]

    assert [type(answer) for answer in answers] == [Permit, Wait, Permit]

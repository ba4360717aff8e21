"""What the gate costs: one round trip, whole numbers, little memory, and nothing that piles up."""

from collections.abc import Callable
from importlib.resources import files

import pytest
from redis.crc import key_slot

from tests.gate.conftest import APP, Door
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
    assert door.client.hlen(window) > 120
    assert door.client.memory_usage(window) < 1024
    assert door.client.object("encoding", window) in (b"listpack", b"ziplist")


def test_the_finest_window_is_still_a_compact_hash(door_with: Callable[..., Door]) -> None:
    door = door_with(window_buckets=240, window_seconds=240, spread_seconds=0)
    door.learn()
    for _ in range(500):
        door.ask("background")
        door.later(1.003)

    window = f"wabajobs:{{{APP}}}:window:app:{APP}"
    assert door.client.hlen(window) <= 241 + 10
    assert door.client.object("encoding", window) in (b"listpack", b"ziplist")


def test_every_number_is_written_whole(door_with: Callable[..., Door]) -> None:
    door = door_with(pacing=True, window_seconds=59.9, window_buckets=97, breaker_seconds=0.3)
    door.learn()
    for outcome in (Outcome.OK, Outcome.FAILED, Outcome.WABA_LIMIT, Outcome.APP_LIMIT):
        door.gate.settle(
            door.pass_(waba="w1", service_class="background"), Report(outcome=outcome, app_percent=7)
        )
        door.later(5)

    texts, doubles = {b"ev", b"tok"}, {b"a": 8, b"b": 7, b"m": 6, b"p": 2}
    for key in door.client.keys("*"):
        if door.client.type(key) == b"hash" and not key.endswith(b"told"):
            for field, value in door.client.hgetall(key).items():
                if field in doubles:
                    assert len(value) == 8 * doubles[field] <= 64
                elif field != b"r":
                    assert field in texts or value.lstrip(b"-").isdigit(), (key, field, value)


def test_all_keys_of_an_app_are_in_one_hash_slot(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w1"), Report(outcome=Outcome.WABA_LIMIT))

    slots = {key_slot(key) for key in door.client.keys("*")}

    assert len(slots) == 1


def test_what_could_pile_up_expires_and_what_was_told_does_not(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w1"), Report(outcome=Outcome.WABA_LIMIT, waba_percent=5))
    door.pass_()

    lives = {key.decode().split(":", 2)[2]: door.client.ttl(key) for key in door.client.keys("*")}

    assert lives.pop("told") == -1
    assert lives.pop("wire") == -1, "it empties itself"
    assert lives.pop("tripped") == -1, "a day's WABAs at most"
    assert lives
    assert {name for name, ttl in lives.items() if not 600 < ttl < 7200} == set()


def test_no_script_answers_with_a_boolean() -> None:
    for script in (files("wabajobs.gate") / "lua").iterdir():
        for line in script.read_text().splitlines():
            assert not line.startswith("return") or ("true" not in line and "false" not in line), script.name


def test_every_kind_of_answer_arrives(door: Door) -> None:
    answers = [door.ask(), door.ask(cost=1000), door.ask(waba="w1")]

    assert [type(answer) for answer in answers] == [Permit, Wait, Permit]

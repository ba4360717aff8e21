"""Registrations are a one-way mine: Meta locks a number at its eleventh in 72 hours. Nobody ever sends it."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from tests.kinds.owner import does, edges, held_for, why
from tests.support.stage import Crash, Point, Stage
from wabajobs.operation import Operation, State

Stages = Callable[..., AbstractContextManager[Stage]]
HOURS = 72
RIGHT, WRONG = "111111", "222222"
APP_LIMIT = 4


@pytest.fixture
def stage(stages: Stages) -> Iterator[Stage]:
    """A world whose numbers are verified, and have a PIN."""
    with stages(knobs={"inactive_wabas": 2, "pin_pause": 0.0, "pin_guesses": (1000, 1.0)}) as made:
        for number in made.simulator.world.number_ids:
            does(made, "verify", number)
            does(made, "set_pin", number, value=RIGHT)
        yield made


def accept(stage: Stage, pin: str, *, place: int = 0, partner: str = "acme") -> Operation:
    """Ask for the registration of a number."""
    waba = stage.simulator.world.waba_ids[place]
    [number] = stage.simulator.world.waba(waba).numbers
    payload = {"number": number.id, "pin": pin, "verify": False}
    return stage.accept("number_registration", waba=waba, payload=payload, partner=partner)


def spent(stage: Stage) -> int:
    """Return how many of the first number's registrations the gate knows of."""
    scope = f"register:{stage.number}"
    windows = stage.house.gate.read(stage.app, budgets=[scope]).windows
    return next((window.used for window in windows if window.scope == scope), 0)


def most_in_a_window(stage: Stage) -> int:
    """Return the most registrations that any number was sent in any 72 hours, as Meta counts them."""
    sent: dict[str, list[float]] = defaultdict(list)
    for call in stage.simulator.judge.calls():
        if call.path.endswith("/register") and call.code != APP_LIMIT:
            sent[call.path].append(call.time)
    window = HOURS * 3600
    return max(
        (sum(start <= at < start + window for at in times) for times in sent.values() for start in times),
        default=0,
    )


def test_a_refusal_by_the_apps_limit_does_not_spend_a_registration(stage: Stage) -> None:
    operation = accept(stage, RIGHT)
    stage.fault(path="/register$", code=4, times=12)

    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register"] * 13
    assert spent(stage) == 1


def test_an_answer_that_is_lost_has_spent_a_registration(stage: Stage) -> None:
    operation = accept(stage, RIGHT)
    stage.fault(path="/register$", status=500, code=2, times=1)

    stage.work(operation)

    assert spent(stage) == 2


@pytest.mark.parametrize("forgets", [False, True], ids=["", "after Redis was emptied"])
def test_after_eight_the_ninth_waits_until_the_first_is_72_hours_old(stage: Stage, forgets: bool) -> None:
    operation = accept(stage, WRONG)
    for _ in range(7):
        stage.work(operation)
        stage.pass_time(600)
        stage.provide(operation, pin=WRONG)
    stage.work(operation)
    stage.provide(operation, pin=RIGHT)

    if forgets:
        _empty_redis(stage)
    stage.attempt(operation)
    wait, reason, calls = held_for(stage, operation), why(stage, operation), len(stage.calls(operation))
    others = stage.work(accept(stage, RIGHT, place=1))
    done = stage.work(operation)

    assert calls == 8
    assert timedelta(hours=70) < wait < timedelta(hours=73)
    assert f"number {stage.number}" in reason if forgets else f"register:{stage.number}" in reason
    assert others.state is State.SUCCEEDED
    assert done.state is State.SUCCEEDED
    assert stage.simulator.judge.by_code().get(133016) is None


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_no_number_is_sent_an_eleventh_registration(stage: Stage, seed: int) -> None:
    chance, open_ones = random.Random(seed), list[Operation]()
    deeds = _deeds(stage, chance)

    for _ in range(120):
        if len(open_ones) < 2:
            pin, place = chance.choice([RIGHT, WRONG, WRONG]), chance.randrange(2)
            open_ones.append(accept(stage, pin, place=place, partner=f"partner-{chance.random()}"))
        chance.choice(deeds)()
        _go_on_with(stage, chance.choice(open_ones), chance)
        open_ones = [one for one in open_ones if not stage.get(one).state.finished]

    assert most_in_a_window(stage) <= 8
    assert stage.simulator.judge.by_code().get(133016) is None
    assert all(number.locked_until == 0.0 for number in _numbers(stage))
    assert sum(call.path.endswith("/register") for call in stage.simulator.judge.calls()) > 8


def _go_on_with(stage: Stage, operation: Operation, chance: random.Random) -> None:
    """Let a person, the dispatcher or a worker do what is next; the worker may be killed."""
    _reclaim(stage, operation)
    now = stage.get(operation)
    if now.state is State.NEEDS_INPUT:
        stage.provide(operation, pin=chance.choice([RIGHT, WRONG, WRONG, WRONG]))
    elif now.state is State.WAITING or (now.state is State.HELD and chance.random() < 0.3):
        crash = Crash(len(stage.calls(operation)) + 1, chance.choice(list(Point)[:3]))
        stage.attempt(operation, chance.choice([None, None, None, crash]))


def _reclaim(stage: Stage, operation: Operation) -> None:
    """Take back what a killed worker held; who has lost too many workers fails."""
    if stage.get(operation).state is State.RUNNING:
        stage.pass_time(stage.house.settings.dispatch.attempt_lease_seconds + 1)
        stage.house.ledger.operations.reclaim(now=stage.clock.now(), max_attempts=6)


def _numbers(stage: Stage) -> list[Any]:
    world = stage.simulator.world
    return [number for waba in world.waba_ids for number in world.waba(waba).numbers]


def _empty_redis(stage: Stage) -> None:
    """Let the gate forget everything, and the dispatcher tell it what people have decided."""
    Redis.from_url(stage.house.settings.redis).flushall()
    stage.house.controls.mirror()


def _deeds(stage: Stage, chance: random.Random) -> list[Callable[[], object]]:
    """Return what may happen to the world between two attempts."""
    return [
        lambda: stage.pass_time(chance.uniform(0, 4 * 3600)),
        lambda: stage.pass_time(chance.uniform(0, 600)),
        lambda: stage.fault(path="/register$", code=4, times=1),
        lambda: stage.fault(path="/register$", status=500, code=2, times=1),
        lambda: stage.fault(path="/register$", reset_after=True, times=1),
        lambda: stage.fault(path="/register$", reset_before=True, times=1),
        lambda: stage.fault(path="/register$", code=133015, times=1),
        lambda: _empty_redis(stage) if chance.random() < 0.3 else None,
        lambda: does(stage, "deregister", chance.choice(_numbers(stage)).id),
        lambda: does(stage, "verify", chance.choice(_numbers(stage)).id),
    ]

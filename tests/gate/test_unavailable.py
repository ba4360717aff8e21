"""A gate that cannot be asked lets nothing pass, and says why in plain words."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.gate.conftest import APP, Door, a_call, gate_on, run_server, servers
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Decisions, Scope
from wabajobs.errors import GateUnavailable
from wabajobs.gate import Gate, Outcome, Permit, Quota, Report
from wabajobs.settings import GateSettings

PERMIT = Permit(id="x", call=a_call(), start_before=0.0)

QUESTIONS: dict[str, Callable[[Gate], Any]] = {
    "admit": lambda gate: gate.admit(a_call()),
    "settle": lambda gate: gate.settle(PERMIT, Report(outcome=Outcome.OK)),
    "tell": lambda gate: gate.tell(Decisions(1, (), ())),
    "told": lambda gate: gate.told(),
    "await_started": lambda gate: gate.await_started(Scope.of("all")),
    "read": lambda gate: gate.read(APP),
}


@pytest.fixture(params=QUESTIONS)
def question(request: pytest.FixtureRequest) -> Callable[[Gate], Any]:
    return QUESTIONS[request.param]


def hasty(sock: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(sock), socket_timeout=0.2, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Any]:
    process, sock = run_server(next(iter(servers().values())), tmp_path)
    yield process, sock
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.wait(10)


def test_a_redis_that_is_not_there(tmp_path: Path, question: Callable[[Gate], Any]) -> None:
    gate = gate_on(hasty(tmp_path / "nowhere.sock"), clock=None)

    with pytest.raises(GateUnavailable, match=r"^the gate cannot be asked: Redis cannot be reached; no call"):
        question(gate)


def test_a_redis_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()

        with pytest.raises(GateUnavailable, match="Redis did not answer in time"):
            gate_on(hasty(tmp_path / "deaf.sock"), clock=None).admit(a_call())


def test_a_redis_that_stopped_in_between(own_server: Any) -> None:
    process, sock = own_server
    gate = gate_on(hasty(sock), clock=None)
    gate.tell(Decisions(1, (), ()))
    permit = gate.admit(a_call())
    assert isinstance(permit, Permit)

    process.send_signal(signal.SIGSTOP)

    with pytest.raises(GateUnavailable, match="in time"):
        gate.settle(permit, Report(outcome=Outcome.OK))


def test_a_redis_without_memory(own_server: Any) -> None:
    _, sock = own_server
    client = hasty(sock)
    gate = gate_on(client, clock=None)
    gate.tell(Decisions(1, (), ()))

    client.config_set("maxmemory", "1")

    with pytest.raises(GateUnavailable, match="Redis is out of memory"):
        gate.admit(a_call())


def test_a_redis_that_is_a_replica(own_server: Any) -> None:
    _, sock = own_server
    client = hasty(sock)
    gate = gate_on(client, clock=None)
    gate.tell(Decisions(1, (), ()))

    client.replicaof("127.0.0.1", "1")

    with pytest.raises(GateUnavailable, match=r"read-only replica|lost its primary"):
        gate.admit(a_call())


def test_a_redis_that_wants_a_password(own_server: Any) -> None:
    _, sock = own_server
    hasty(sock).config_set("requirepass", "secret")

    with pytest.raises(GateUnavailable, match="does not accept our user and password"):
        gate_on(hasty(sock), clock=None).admit(a_call())


def test_scripts_that_redis_has_forgotten_are_taught_again(door: Door) -> None:
    door.client.script_flush()

    assert door.call() == ()


def test_a_client_that_decodes_answers_is_as_good(server: Path, door: Door) -> None:
    decoding = redis.Redis(unix_socket_path=str(server), decode_responses=True)
    gate = gate_on(decoding, clock=door.clock, settings=door.settings)

    permit = gate.admit(a_call())
    assert isinstance(permit, Permit)
    (change,) = gate.settle(permit, Report(outcome=Outcome.APP_LIMIT, code=4))

    assert change.state == "open"
    assert "code 4" in str(gate.admit(a_call()))
    assert gate.read(APP).breakers[0].evidence.startswith("code 4")
    assert gate.await_started(Scope.of("all")) == 0
    assert gate.told() is not None


def test_without_a_clock_of_its_own_it_goes_by_the_time_of_redis(client: redis.Redis) -> None:
    gate = gate_on(client, clock=None)
    gate.tell(Decisions(1, (), ()))

    permit = gate.admit(a_call())
    assert isinstance(permit, Permit)
    (change,) = gate.settle(permit, Report(outcome=Outcome.APP_LIMIT))

    assert change.evidence.startswith("app limit, ")
    now = datetime.now(UTC)
    assert change.evidence[-12:-4] in {f"{now - timedelta(seconds=ago):%H:%M:%S}" for ago in range(60)}


def test_without_redis_a_process_lets_interactive_calls_through_only_if_told_so(tmp_path: Path) -> None:
    nowhere = hasty(tmp_path / "nothing")
    strict, lenient = (
        gate_on(nowhere, clock=None, settings=GateSettings(away_calls_per_minute=calls)) for calls in (0, 60)
    )
    person = a_call(service_class=ServiceClass.INTERACTIVE)

    with pytest.raises(GateUnavailable):
        strict.admit(person)
    permit = lenient.admit(person)
    with pytest.raises(GateUnavailable):
        lenient.admit(person)  # one a second
    with pytest.raises(GateUnavailable):
        lenient.admit(a_call(service_class=ServiceClass.BACKGROUND))

    assert isinstance(permit, Permit)
    assert lenient.settle(permit, Report(outcome=Outcome.APP_LIMIT)) == ()


def test_without_redis_no_number_is_registered(tmp_path: Path) -> None:
    nowhere = hasty(tmp_path / "nothing")
    gate = gate_on(nowhere, clock=None, settings=GateSettings(away_calls_per_minute=60))

    with pytest.raises(GateUnavailable):
        gate.admit(a_call(service_class=ServiceClass.INTERACTIVE, number="n1", quota=Quota.REGISTER))


def test_connections_that_broke_while_they_lay_idle_are_opened_anew(tmp_path: Path) -> None:
    process, sock = run_server(next(iter(servers().values())), tmp_path)
    client = redis.Redis(unix_socket_path=str(sock), socket_timeout=2, retry=Retry(NoBackoff(), 1))
    gate = gate_on(client, clock=None)
    gate.tell(Decisions(1, (), ()))
    assert isinstance(gate.admit(a_call()), Permit)

    process.terminate()
    process.wait(10)
    process, sock = run_server(next(iter(servers().values())), tmp_path)

    assert gate.told() is None, "it is empty, knows no functions and no settings, and answers"
    gate.tell(Decisions(1, (), ()))
    assert isinstance(gate.admit(a_call()), Permit)
    process.terminate()
    process.wait(10)


def test_a_process_that_was_forked_does_not_answer_from_its_parents_connection(door: Door) -> None:
    door.pass_()

    child = os.fork()
    if child == 0:  # no assertion may leave this branch: it would run the rest of the tests twice
        status = 1
        with contextlib.suppress(BaseException):
            status = 0 if all(isinstance(door.ask(), Permit) for _ in range(20)) else 2
        os._exit(status)
    answers = [door.ask() for _ in range(20)]
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert all(isinstance(answer, Permit) for answer in answers)
    assert door.gate.read(APP).windows[0].used == 41

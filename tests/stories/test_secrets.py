"""Secrets stay out of sight: planted everywhere that Meta can plant them, they come out nowhere."""

import base64
import hashlib
import hmac
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from redis import Redis

from tests.stories.test_flower import open_flower
from tests.support.fleet import Fleet
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES
from wabajobs.operation import Operation
from wabajobs.simulator.faults import FaultRule
from wabajobs.simulator.world.nodes import Number

FleetOn = Callable[..., Fleet]
_OVER = "nothing more is overheard"


def test_no_secret_comes_out_anywhere(on_sqlite: FleetOn, own_redis: RunningRedis) -> None:
    fleet = on_sqlite(knobs={"wabas": 8, "templates": 30, "require_proof": True}, **SHORT_PAGES)
    app = fleet.simulator.app
    proof = hmac.new(app.secret.encode(), app.token.encode(), hashlib.sha256).hexdigest()
    secrets = [app.token, app.secret, proof]
    told = " ".join(secrets)
    for number, rule in enumerate(
        [
            {"code": 190, "status": 401, "message": f"Malformed access token {told}"},
            {"code": 100, "message": f"Invalid parameter appsecret_proof={proof}", "subcode": 33},
            {"code": 987654, "message": f"Never seen: {told}"},
            {"status": 502, "body": f"<html>GET /?access_token={app.token}&appsecret_proof={proof}</html>"},
            {"status": 500, "code": 2, "message": f"Service unavailable for {app.token}"},
            {"reset_before": True},
            {"reset_after": True},
        ]
    ):
        fleet.simulator.faults.add(FaultRule(path="message_templates", after=number, times=1, **rule))

    with overheard(own_redis) as said_to_redis:
        flower = open_flower(fleet)
        fleet.start("dispatcher", "worker")
        fleet.ready()
        operations = fleet.finished(fleet.sync(*fleet.simulator.world.waba_ids))
        failed = next(one for one in operations if one.state == "failed")
        fleet.command("pause", "queue", "template_sync", "--reason", "to see", "--json")
        seen = {
            "flower": until(lambda: _settled_tasks(flower, len(operations)), what="Flower has heard of all"),
            "ops list": fleet.command("ops", "list", "--json").stdout,
            "ops show": fleet.command("ops", "show", failed.id, "--json").stdout,
            "ops show in words": fleet.command("ops", "show", failed.id).stdout,
            "status": fleet.command("status", "--json").stdout,
            "limits": fleet.command("limits", "show", "--json").stdout,
            "redis": "\n".join(_everything_in(own_redis)),
        }
    seen["said to redis"] = "\n".join(said_to_redis)
    seen |= {path.name: path.read_text(errors="replace") for path in fleet.folder.glob("*.log")}
    seen |= {
        path.name: path.read_bytes().decode(errors="replace")
        for path in _beside(fleet.database_url.removeprefix("sqlite:///"))
    }

    # The faults were met, so there was something to hide, and we have looked at the right places.
    assert {"succeeded", "failed"} == {str(one.state) for one in operations}
    assert "Never seen" in seen["worker.log"]
    assert "Malformed access token" in seen["worker.log"]
    assert str(failed.error and failed.error["code"]) in seen["ops show in words"]
    assert operations[0].id in seen["said to redis"]
    assert operations[0].id in seen["flower"]
    assert operations[0].id in seen["worker.log"]
    places = [
        (place, secret[:12])
        for place, text in seen.items()
        for secret in secrets
        if secret in text or secret in _decoded(text)
    ]
    assert places == []


@pytest.mark.timeout(300)
def test_what_an_operation_brings_is_given_and_keeps_comes_out_nowhere(
    on_sqlite: FleetOn, own_redis: RunningRedis
) -> None:
    """PINs, codes and tokens of operations that succeed, fail in every way, wait, expire and are cancelled.

    The programs log as JSON here, and as text in the story above: neither shows anything.
    """
    fleet = on_sqlite(knobs={"wabas": 1, "require_proof": True}, kinds=("tests.support.secretive",), log="json")
    planted = [_plant(fleet, number) for number in range(9)]
    echoes = [
        {"code": 190, "status": 401, "message": "Malformed access token {token}"},
        {"code": 100, "message": "Param pin={pin} is not allowed", "subcode": 33},
        {"code": 987654, "message": "Never seen: {pin} {token} {proof}"},
        {"status": 502, "body": "<html>POST /?pin={pin}&access_token={token}</html>"},
        {"reset_after": True},
    ]
    for one, rule in zip(planted, echoes, strict=False):
        told = {name: text.format(**one) if isinstance(text, str) else text for name, text in rule.items()}
        fleet.simulator.faults.add(FaultRule(path=f"{one['number']}/register", times=1, **told))
    with_code = planted[5]
    fleet.simulator.faults.add(
        FaultRule(
            path=f"{with_code['number']}$", after=1, code=136025, message=f"Code {with_code['code']} is wrong"
        )
    )

    with overheard(own_redis) as said_to_redis:
        flower = open_flower(fleet)
        fleet.start("dispatcher")
        worker = [sys.executable, "-m", "celery", "-A", "tests.support.secretive_worker", "worker"]
        fleet.start_program("worker", [*worker, "--loglevel=DEBUG", "--hostname", "worker@%h"])
        operations = [
            fleet.client.enqueue(
                "secretive",
                partner="acme",
                waba=one["waba"],
                payload={name: one[name] for name in ("number", "pin", "token")},
                key=one["number"],
            )
            for one in planted
        ]
        for one in operations:
            until(lambda one=one: fleet.client.get(one.id).needs, within=40, what=f"it asks\n{fleet.logs()}")
        commands = [
            fleet.command("ops", "provide", operations[0].id, "--set", f"code={planted[0]['code']}9"),
            fleet.command("ops", "provide", operations[0].id, "--set", f"{planted[0]['code']}"),
            fleet.command("ops", "provide", operations[0].id, "--set", f"code={planted[0]['code']}", "--json"),
        ]
        for one, plant in zip(operations[1:-2], planted[1:-2], strict=True):
            fleet.client.provide(one.id, code=plant["code"])
        fleet.client.cancel(operations[-1].id, reason="not wanted")
        ended = fleet.finished([*operations[:-2], operations[-1]])
        wanted = ["--set", f"number={planted[0]['number']}", "--set", f"token={planted[0]['token']}"]
        to_enqueue = ["enqueue", "secretive", "--partner", "acme", "--waba", planted[0]["waba"], *wanted]
        pin = planted[0]["pin"]
        commands += [
            fleet.command("ops", "list", "--json"),
            fleet.command("ops", "show", operations[2].id),
            fleet.command("ops", "dead", "--json"),
            fleet.command("vault", "list", "--json"),
            fleet.command(*to_enqueue, "--set", f"pin={pin}", "--dry-run", "--json"),
            fleet.command(*to_enqueue, "--set", f"pin={pin}7"),
        ]
        tasks = until(lambda: _told_of(flower, operations), what="Flower has heard of all that ended", within=30)
        seen = {"flower": tasks, "redis": "\n".join(_everything_in(own_redis))}
    seen |= {f"command {n}: {one.args[3:5]}": one.stdout + one.stderr for n, one in enumerate(commands)}
    seen["said to redis"] = "\n".join(said_to_redis)
    seen |= {path.name: path.read_text(errors="replace") for path in fleet.folder.glob("*.log")}
    seen |= {
        path.name: path.read_bytes().decode(errors="replace")
        for path in _beside(fleet.database_url.removeprefix("sqlite:///"))
    }

    # There was something to hide, and we have looked at the right places.
    assert {"succeeded", "failed", "cancelled"} == {str(one.state) for one in ended}
    assert "Malformed access token" in seen["worker.log"]
    assert "Never seen" in seen["worker.log"]
    for place in ("worker.log", "said to redis", "flower"):
        assert all(one.id in seen[place] for one in operations), place
    number = fleet.simulator.world.nodes[planted[6]["number"]]
    assert isinstance(number, Number)
    assert number.pin == planted[6]["pin"], "on the wire it is what it is"
    found = [
        (place, name)
        for place, text in ((place, f"{text} {_decoded(text)}") for place, text in seen.items())
        for plant in planted
        for name in ("pin", "code", "token", "proof", "derived")
        for form in _forms(plant[name])
        if re.search(rf"(?<![\w.]){re.escape(form)}(?!\w)" if form.isdigit() else re.escape(form), text)
    ]
    assert found == []


def _plant(fleet: Fleet, number: int) -> dict[str, str]:
    """A customer who has signed up: his number and business token, a PIN and a code that nobody else has."""
    simulator = fleet.simulator
    app, signup = simulator.app, simulator.world.signup(name=f"Shop {number}")
    exchange = {"client_id": app.id, "client_secret": app.secret, "code": signup.code}
    answer = requests.get(f"{simulator.url}/v24.0/oauth/access_token", params=exchange, timeout=5)
    token = answer.json()["access_token"]
    return {
        "waba": signup.waba_id,
        "number": signup.number_id,
        "pin": f"{918_273 - 7 * number}",
        "code": f"{564_738 + 7 * number}",
        "token": token,
        "proof": hmac.new(app.secret.encode(), token.encode(), hashlib.sha256).hexdigest(),
        "derived": f"derived-{token}",
    }


def _forms(secret: str) -> set[str]:
    """The secret, and what it looks like when somebody has wrapped it; short ones hash to nothing secret."""
    forms = {secret, quote(secret, safe="")}
    if not secret.isdigit():
        forms |= {base64.b64encode(secret.encode()).decode().rstrip("="), secret[12:40]}
    return forms | {hashlib.sha256(secret.encode()).hexdigest()}


def _told_of(url: str, operations: Sequence[Operation]) -> str:
    tasks = requests.get(f"{url}/api/tasks", timeout=5).text
    return tasks if all(one.id in tasks for one in operations) else ""


@contextmanager
def overheard(redis: RunningRedis) -> Iterator[list[str]]:
    """Yield a list that gets every command that Redis is given."""
    heard: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        client = Redis.from_url(redis.url, socket_timeout=None)  # however long nobody says anything
        with client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                heard.append(command["command"])
                if _OVER in command["command"]:
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(5)
    yield heard
    redis.client.echo(_OVER)  # what was said before is heard first, however far the listener is behind
    thread.join(60)
    assert not thread.is_alive()


def _everything_in(redis: RunningRedis) -> Iterator[str]:
    client = redis.client
    for key in client.scan_iter():
        yield repr(key)
        yield repr(client.dump(key))
        match client.type(key):
            case b"hash":
                yield repr(client.hgetall(key))
            case b"list":
                yield repr(client.lrange(key, 0, -1))
            case b"zset":
                yield repr(client.zrange(key, 0, -1))
            case b"set":
                yield repr(client.smembers(key))
            case _:
                yield repr(client.get(key))


def _decoded(text: str) -> str:
    """Return what stands in the text in base 64, as Celery wraps the bodies of messages."""
    pieces = re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text)
    whole = (piece.rstrip("=")[: len(piece.rstrip("=")) // 4 * 4] for piece in pieces)
    return " ".join(base64.b64decode(piece).decode(errors="replace") for piece in whole)


def _beside(path: str) -> list[Path]:
    return list(Path(path).parent.glob(f"{Path(path).name}*"))


def _settled_tasks(url: str, number: int) -> str:
    tasks = requests.get(f"{url}/api/tasks", timeout=5)
    settled = [one for one in tasks.json().values() if one["state"] in {"SUCCESS", "FAILURE"}]
    return tasks.text if len(settled) == number else ""

"""Secrets stay out of sight: planted everywhere that Meta can plant them, they come out nowhere."""

import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.stories.test_flower import open_flower
from tests.support.fleet import Fleet
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]


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


@contextmanager
def overheard(redis: RunningRedis) -> Iterator[list[str]]:
    """Yield a list that gets every command that Redis is given."""
    heard: list[str] = []
    over = threading.Event()
    ready = threading.Event()

    def listen() -> None:
        with redis.client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                heard.append(command["command"])
                if over.is_set():
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(5)
    yield heard
    over.set()
    redis.client.ping()
    thread.join(5)


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

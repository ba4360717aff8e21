"""What a drill runs on: simulated Metas, the product in its own processes, and plain Celery beside it."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import tomli_w
from celery import Celery
from redis import ConnectionError, Redis

from wabajobs.client import Client
from wabajobs.drills import scale
from wabajobs.drills.ends import ENDS
from wabajobs.drills.vendor import Vendor
from wabajobs.errors import NotReady
from wabajobs.kinds import catalogue
from wabajobs.ledger import Database
from wabajobs.machine import RedisServer, Service, Supervisor, find_server
from wabajobs.settings import Settings
from wabajobs.vault import new_key
from wabajobs.wiring import House

NAIVE_QUEUES: Final = ("naive", "naive-syncs")
_PATIENCE: Final = 60.0
_ROOM: Final = 500_000_000
_CELERY: Final = (sys.executable, "-m", "celery")
_QUIET: Final = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")


class Site:
    """Everything that runs for one drill."""

    def __init__(
        self,
        folder: Path,
        *,
        hour: float,
        knobs: Mapping[str, Any],
        needs: Mapping[str, int],
        fleet: int,
        probes: scale.Probes = scale.PROBES,
    ):
        """Plan it; an hour lasts `hour` seconds."""
        self.folder = folder
        self.hour = hour
        self._probes = probes
        self._server = RedisServer(find_server(), folder=folder / "redis")
        (folder / "logs").mkdir(exist_ok=True)
        plan = {
            "knobs": {**_KNOBS, "speed": 3600 / hour, "latency": _latency(hour), **knobs},
            "needs": dict(needs),
            "fleet": fleet,
        }
        self.meta = Vendor("meta", folder, plan)
        self.meta_of_naive = Vendor("meta-of-naive", folder, plan)
        self.redis_service = Service(
            name="redis", argv=self._server.command(), ready=self._server.is_ready, stop_order=3
        )

    @cached_property
    def config(self) -> Path:
        """The product's configuration; its Meta must be up."""
        app, secrets = self.meta.app, {}
        for name in ("token", "secret"):
            secrets[name] = self._private(f"app-{name}", app[name])
        table: dict[str, Any] = {
            "database_url": f"sqlite:///{self.folder / 'ledger.sqlite3'}",
            "redis_url": self._server.redis_url,
            "broker_url": self._server.broker_url,
            "graph_url": self.meta.url,
            "vault": {"keys": {"file": str(self._private("vault-key", new_key()))}},
            "apps": {
                app["id"]: {
                    "token": {"file": str(secrets["token"])},
                    "secret": {"file": str(secrets["secret"])},
                    "calls_per_window": app["limit"],
                    "system_user": app["system_user"],
                }
            },
            **scale.settings(self.hour, self._probes),
        }
        path = self.folder / "wabajobs.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        return path

    @cached_property
    def settings(self) -> Settings:
        """The product's settings."""
        return Settings.load({"WABAJOBS_CONFIG": str(self.config)})

    @cached_property
    def house(self) -> House:
        """The product's parts, to look at them."""
        return House(self.settings)

    @cached_property
    def client(self) -> Client:
        """The Hub's door."""
        return Client(self.settings)

    @cached_property
    def redis(self) -> "Redis":
        """The gate's Redis."""
        return Redis.from_url(self._server.redis_url)

    @cached_property
    def naive_config(self) -> dict[str, Any]:
        """What plain Celery needs to know. It has a database of Redis to itself."""
        app = self.meta_of_naive.app
        return {
            "url": self.meta_of_naive.url,
            "app": app["id"],
            "token": app["token"],
            "secret": app["secret"],
            "system_user": app["system_user"],
            "broker": self._server.broker_url.replace("virtual_host=0", "virtual_host=1"),
            "redis": self._server.redis_url.replace("db=0", "db=1"),
            "speed": 3600 / self.hour,
            "page": scale.PAGE,
        }

    @cached_property
    def naive_redis(self) -> "Redis":
        """Where plain Celery notes what has ended."""
        return Redis.from_url(self.naive_config["redis"])

    @cached_property
    def naive_sender(self) -> Celery:
        """Sends plain Celery its tasks."""
        return Celery("sender", broker=self.naive_config["broker"], set_as_current=False)

    def naive_ends(self) -> list[tuple[int, str, float]]:
        """Return what has ended at plain Celery's: number, `done` or `lost`, Unix time."""
        return [tuple(json.loads(one)) for one in self.naive_redis.lrange(ENDS, 0, -1)]

    def product(self) -> list[Service]:
        """Return the product's programs: dispatcher and workers."""
        env = {"WABAJOBS_CONFIG": str(self.config)}
        Database(self.settings.database).upgrade()
        dispatcher = [sys.executable, "-m", "wabajobs", "dispatcher"]
        syncs = [*_CELERY, "-A", "workers.template_sync", "worker", *_QUIET, "--hostname", "syncs@drill"]
        others = [*_CELERY, "-A", "wabajobs.drills.worker", "worker", *_QUIET, "--hostname", "others@drill"]
        return [
            Service(name="dispatcher", argv=dispatcher, env=env),
            Service(name="worker-syncs", argv=syncs, env=env),
            Service(name="worker-others", argv=others, env=env),
        ]

    def naive(self, syncs_per_hour: float) -> list[Service]:
        """Return plain Celery's workers: one for the fleet's syncs, with a rate limit, and one for the rest."""
        path = self._private(
            "naive.json", json.dumps({**self.naive_config, "syncs": f"{syncs_per_hour / self.hour:.3f}/s"})
        )
        env = {"DRILL_NAIVE": str(path)}
        # A rate limit is kept in the event loop of the main process, which a pool of threads does not have.
        base = [*_CELERY, "-A", "wabajobs.drills.naive", "worker", *_QUIET, "--concurrency=4"]
        return [
            Service(name=f"naive-{queue}", argv=[*base, "-Q", queue, "--hostname", f"{queue}@drill"], env=env)
            for queue in NAIVE_QUEUES
        ]

    def wait_for_workers(self, *, naive: bool) -> None:
        """Wait until somebody works. Raises `NotReady`."""
        names = catalogue().names
        self.until(lambda: all(self.house.presence.living(names).values()), "the product's workers")
        self.until(lambda: bool(self.house.gate.read(self.meta.app["id"]).told), "the gate")
        if naive:
            for number, queue in enumerate(NAIVE_QUEUES):
                self.naive_sender.send_task("ping", [number], queue=queue)
            self.until(lambda: len(self.naive_ends()) == len(NAIVE_QUEUES), "plain Celery's workers")
            self.naive_redis.delete(ENDS)

    def until(self, so: Callable[[], object], what: str, within: float = _PATIENCE) -> None:
        """Wait until something is so. Raises `NotReady` that names it."""
        end = time.monotonic() + within
        while True:
            try:
                if so():
                    return
            except NotReady:
                pass
            if time.monotonic() > end:
                raise NotReady(f"{what}: not ready within {within:g} s; see the logs in the drill's folder")
            time.sleep(0.1)

    def lose_redis(self) -> None:
        """End the Redis server without a word, and delete its data. It is started again, and knows nothing."""
        self.redis.flushall()
        with suppress(ConnectionError):
            self.redis.shutdown(nosave=True)
        self.redis.close()

    def close(self) -> None:
        """Let go of what was opened."""
        for name in ("client", "house"):
            if name in self.__dict__:
                self.__dict__[name].close()
        for name in ("redis", "naive_redis", "naive_sender"):
            if name in self.__dict__:
                self.__dict__[name].close()
        self._server.close()

    def _private(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path


_KNOBS: Final[dict[str, Any]] = {
    "templates": (80, 120),
    "window": 3600,
    "header_floor": 0,
    "waba_limit_active": 1_000_000,
    "waba_limit_inactive": 1_000_000,
    "template_creations": (1_000_000, 3600),
    "signup_code_seconds": 30 * 86_400.0,
    "callback_asked": False,
}
"""Knobs of every drill's Meta: the app's limit is what it is about, so no other is in the way."""


def _latency(hour: float) -> float:
    """Simulated seconds for an answer that takes 20 ms on this machine."""
    return 0.02 * 3600 / hour


@contextmanager
def running(
    *,
    hour: float,
    knobs: Mapping[str, Any],
    needs: Mapping[str, int],
    fleet: int,
    naive: float | None = None,
    probes: scale.Probes = scale.PROBES,
    keep_logs: Path | None = None,
) -> Iterator[Site]:
    """Yield a site that is up; afterwards nothing is left of it but, if wanted, its logs.

    `naive` is the rate limit of plain Celery's syncs an hour; None leaves plain Celery out.
    """
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="wabajobs-drill-", dir=_in_memory())
        folder = Path(stack.enter_context(place))
        site = Site(folder, hour=hour, knobs=knobs, needs=needs, fleet=fleet, probes=probes)
        stack.callback(site.close)
        if keep_logs is not None:
            stack.callback(_copy_logs, folder / "programs" / "logs", keep_logs)
        metas = [site.meta.service] + ([site.meta_of_naive.service] if naive is not None else [])
        # Programs that others need come first, in a supervisor of their own: settings follow from what they say.
        stack.enter_context(Supervisor(folder, [site.redis_service, *metas]))
        programs = site.product() + (site.naive(naive) if naive is not None else [])
        stack.enter_context(Supervisor(folder / "programs", programs, grace=timedelta(seconds=8)))
        site.wait_for_workers(naive=naive is not None)
        site.meta.forget()
        if naive is not None:
            site.meta_of_naive.forget()
        yield site


def _in_memory() -> str | None:
    """Return a place in memory with enough room: a disk does not get faster because an hour lasts seconds."""
    place = Path("/dev/shm")  # noqa: S108 (the folder made there is ours alone)
    has_room = place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free > _ROOM
    return str(place) if has_room else None


def _copy_logs(programs: Path, target: Path) -> None:
    """Keep the logs of our own programs. Those of Meta begin with its secrets."""
    target.mkdir(parents=True, exist_ok=True)
    for log in programs.glob("*.log"):
        (target / log.name).write_bytes(log.read_bytes())

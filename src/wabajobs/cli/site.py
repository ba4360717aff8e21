"""Everything on one machine: which programs run, in what order, and the settings they share."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import tomli_w

from wabajobs.errors import ConfigurationError, NotReady
from wabajobs.kinds import own_names
from wabajobs.ledger import Database
from wabajobs.machine import (
    FolderLock,
    RedisServer,
    Service,
    find_server,
    free_port,
    is_listened_on,
    require_free,
)
from wabajobs.settings import RUNNING_FILE, VAULT_KEYS, RampSettings, SecretSource, Settings
from wabajobs.vault import new_key
from wabajobs.wiring import House

WORKERS: Final = {
    "template_sync": ("template_sync",),
    "onboarding": ("onboarding",),
    "migrations": ("template_migration", "number_migration", "hosting_change"),
    "profile_photo": ("profile_photo",),
    "templates": ("template_create", "template_edit", "template_delete"),
    "others": ("number_registration", "profile_update", "flow_publish", "channel_update"),
}
"""Worker entries under `workers/`, and the queues that each serves. `own` serves the kinds of the settings."""

_FIRST, _THEN, _LATER, _LAST = range(4)
"""In which order programs stop: first those that use the others."""


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """A simulated Graph API to run against."""

    wabas: int = 200
    app_limit: int = 300
    window: float = 60.0
    templates: int | tuple[int, int] = 40
    latency: float = 0.05
    """Least seconds that an answer takes; up to as much again is added by chance."""


class Site:
    """One folder with the data, the logs and the shared settings of everything that runs."""

    def __init__(self, folder: Path, *, settings: Settings, simulator: SimulatorOptions | None = None) -> None:
        """Plan to run in `folder`; nothing is written yet. Raises `ConfigurationError`."""
        if simulator is None and not settings.apps:
            raise ConfigurationError(
                "no Meta app is configured. Write [apps.<app id>] into a TOML file and name it in"
                " WABAJOBS_CONFIG, or play with a simulated Graph API: wabajobs up --simulator"
            )
        self.folder = folder.absolute()
        self.config = self.folder / "running.toml"
        self._settings = settings
        self._simulator = simulator
        self._flower_port: int | None = None
        self._feeds_port: int | None = None

    @contextmanager
    def prepared(self, *, flower_port: int | None, feeds_port: int | None = None) -> Iterator[list[Service]]:
        """Make folder, tables and settings, and yield the services to run. Raises `NotReady`."""
        if flower_port is not None:
            require_free(flower_port, "Flower", option="--flower-port")
        if feeds_port is not None:
            require_free(feeds_port, "the feeds", option="--feeds-port")
        self._flower_port, self._feeds_port = flower_port, feeds_port
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        FolderLock.take(self.folder / "lock").release()  # who runs here already must not be disturbed
        own_redis = None if self._settings.redis_url else RedisServer(find_server(), folder=self.folder / "redis")
        try:
            self._resolve(own_redis)
            Database(self._settings.database).upgrade()
            services = [*self._redis(own_redis), *self._graph(), *self._ours()]
            if self._simulator is None:
                self._write_config()
            yield services
        finally:
            self.config.unlink(missing_ok=True)
            if own_redis is not None:
                own_redis.close()

    def welcome(self) -> str:
        """Return what a person wants to know once everything runs."""
        lines = ["", "wabajobs is up."]
        if self._flower_port is not None:
            lines.append(f"  Flower      http://127.0.0.1:{self._flower_port}, the control room at /wabajobs")
        if self._feeds_port is not None:
            lines.append(f"  Status page http://127.0.0.1:{self._feeds_port}/api/v2/summary.json")
            lines.append(f"  Metrics     http://127.0.0.1:{self._feeds_port}/metrics")
        if self._simulator is not None:
            lines.append(f"  Graph API   {self.settings().graph_url} (simulated)")
            lines.append(f"  some WABAs  {', '.join(self.wabas[:4])}")
        lines.append(f"  logs        {self.folder / 'logs'}")
        lines.append("In another terminal, in this folder:")
        if self.config != RUNNING_FILE.absolute():
            lines.append(f"  export WABAJOBS_CONFIG={self.config}")
        lines.append(f"  wabajobs enqueue template_sync --partner acme --waba {(self.wabas or ['WABA_ID'])[0]}")
        lines.append("  wabajobs status --watch")
        lines.append('  wabajobs pause queue template_sync --reason "trying it out"')
        lines.append("Ctrl-C stops everything.")
        return "\n".join(lines)

    def settings(self) -> Settings:
        """Return the settings that everything here runs with."""
        return Settings.load({"WABAJOBS_CONFIG": str(self.config)})

    @property
    def facts(self) -> dict[str, Any]:
        """What the simulator said at its start: `url`, `apps`, `wabas`."""
        return self._facts or {}

    @property
    def wabas(self) -> list[str]:
        """Some WABAs of the simulator."""
        return list(self.facts.get("wabas", []))

    def world(self) -> list[str]:
        """Return all WABAs of the simulator."""
        with urlopen(f"{self.facts['url']}/_simulator/world", timeout=10) as answer:  # noqa: S310 (on loopback)
            return [waba["id"] for waba in json.load(answer)["wabas"]]

    def _resolve(self, own_redis: RedisServer | None) -> None:
        """Settle where ledger, Redis and broker are; paths become absolute, as programs start anywhere."""
        changes: dict[str, Any] = {}
        if not self._settings.database_url:
            changes["database_url"] = f"sqlite:///{self.folder / 'ledger.sqlite3'}"
        if own_redis is not None:
            changes["redis_url"] = own_redis.redis_url
            if not self._settings.broker_url:
                changes["broker_url"] = own_redis.broker_url
        if self._feeds_port is not None and "url" not in self._settings.status_page.model_fields_set:
            own = {"url": f"http://127.0.0.1:{self._feeds_port}"}
            changes["status_page"] = self._settings.status_page.model_copy(update=own)
        if self._settings.vault.keys == SecretSource(env=VAULT_KEYS) and not os.environ.get(VAULT_KEYS):
            changes["vault"] = self._settings.vault.model_copy(update={"keys": self._own_key()})
        self._settings = self._settings.model_copy(update=changes)
        self._facts: dict[str, Any] | None = None

    def _own_key(self) -> SecretSource:
        """Return where the vault's key of this folder lies; only its owner can read it."""
        path = self.folder / "vault-key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(new_key(), encoding="utf-8")
        return SecretSource(file=path)

    def _redis(self, own_redis: RedisServer | None) -> list[Service]:
        if own_redis is None:
            return []
        return [Service(name="redis", argv=own_redis.command(), ready=own_redis.is_ready, stop_order=_LAST)]

    def _graph(self) -> list[Service]:
        if self._simulator is None:
            return []
        wanted = self._simulator
        scenario = self.folder / "scenario.toml"
        scenario.write_text(
            tomli_w.dumps(
                {
                    "wabas": wanted.wabas,
                    "templates": wanted.templates,
                    "app_limit": wanted.app_limit,
                    "window": wanted.window,
                    # From the first call on: what the gate need not guess, it need not be careful about.
                    "header_floor": 0,
                    "latency": wanted.latency,
                    "jitter": wanted.latency,
                }
            ),
            encoding="utf-8",
        )
        port = free_port()
        argv = [*_WABAJOBS, "simulator", "--port", str(port), "--scenario", str(scenario), "--json"]
        log = self.folder / "logs" / "simulator.log"
        log.unlink(missing_ok=True)  # its first line is what we wait for
        return [Service(name="simulator", argv=argv, ready=lambda: self._heard(log), stop_order=_LATER)]

    def _heard(self, log: Path) -> bool:
        """Read the simulator's first line, and write the settings that follow from it."""
        if self._facts is not None:
            return True
        line = log.read_text(encoding="utf-8").partition("\n") if log.exists() else ("", "", "")
        if not line[1]:
            return False
        try:
            self._facts = json.loads(line[0])
        except ValueError:
            raise NotReady(f"the simulator did not start: {line[0]}") from None
        self._use_simulator(self._facts)
        return True

    def _use_simulator(self, facts: Mapping[str, Any]) -> None:
        assert self._simulator is not None  # noqa: S101 (it has just spoken)
        apps: dict[str, Any] = {}
        for app in facts["apps"]:
            token, secret = self.folder / f"token-{app['id']}", self.folder / f"secret-{app['id']}"
            for path, value in ((token, app["token"]), (secret, app["secret"])):
                path.touch(mode=0o600)
                path.write_text(value, encoding="utf-8")
            apps[app["id"]] = {
                "token": {"file": str(token)},
                "secret": {"file": str(secret)},
                "calls_per_window": app["limit"],
                "system_user": app["system_user"],
                "credit_line": facts["credit"],
            }
        played = {
            "graph_url": facts["url"],
            "apps": apps,
            "gate": quick_gate(self._simulator.window),
            "ramp": {"step_seconds": max(0.5, RampSettings().step_seconds * self._simulator.window / 3600)},
            "dispatch": {"retry_seconds": 1.0},
        }
        self._settings = Settings.model_validate(
            {**self._settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True), **played}
        )
        self._write_config()

    def _ours(self) -> list[Service]:
        env = {"WABAJOBS_CONFIG": str(self.config)}
        services = [Service(name="dispatcher", argv=[*_WABAJOBS, "dispatcher"], env=env, stop_order=_FIRST)]
        own = own_names(self._settings.kinds)
        for entry, queues in (WORKERS | ({"own": own} if own else {})).items():
            argv = [sys.executable, "-m", "celery", "-A", f"workers.{entry}", "worker"]
            argv += ["--loglevel=INFO", "--hostname", f"{entry}@%h"]
            services.append(
                Service(
                    name=f"worker-{entry}",
                    argv=argv,
                    env=env,
                    ready=lambda queues=queues: self._is_served(queues),  # type: ignore[misc]
                    stop_order=_FIRST,
                )
            )
        if self._flower_port is not None:
            argv = [*_WABAJOBS, "flower", "--port", str(self._flower_port)]
            port = self._flower_port
            services.append(
                Service(name="flower", argv=argv, env=env, ready=lambda: is_listened_on(port), stop_order=_THEN)
            )
        if self._feeds_port is not None:
            argv = [*_WABAJOBS, "feeds", "--port", str(self._feeds_port)]
            feeds = self._feeds_port
            services.append(
                Service(name="feeds", argv=argv, env=env, ready=lambda: is_listened_on(feeds), stop_order=_THEN)
            )
        return services

    @cached_property
    def _house(self) -> House:
        return House(self.settings())

    def _is_served(self, queues: tuple[str, ...]) -> bool:
        try:
            return all(self._house.presence.living(queues).values())
        except NotReady:
            return False

    def _write_config(self) -> None:
        table = self._settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        # None of it is a secret: tokens are named here, not written.
        self.config.write_text(tomli_w.dumps(table), encoding="utf-8")


def quick_gate(window: float) -> dict[str, float]:
    """Return the gate's settings for a window that is shorter than Meta's hour, everything in proportion."""
    scale = window / 3600
    return {
        "window_seconds": window,
        "spread_seconds": max(0.25, 5 * scale),
        "breaker_seconds": max(0.5, 30 * scale),
        "breaker_cap_seconds": max(2.0, 120 * scale),
        "header_stale_seconds": max(0.5, 30 * scale),
    }


_WABAJOBS: Final = (sys.executable, "-m", "wabajobs")

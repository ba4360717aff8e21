"""The levers and the account of a simulated Meta that runs as a process."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from wabajobs.machine import Service

_PAGE: Final = 50_000
_LIMITED: Final = frozenset({4, 17, 613, 80007, 80008, 80012})
"""Codes by which Meta says: too many calls."""


@dataclass(frozen=True)
class GraphCall:
    """One call as Meta saw it."""

    at: float
    """Unix time of its arrival."""
    status: int
    code: int | None
    capability: str

    @property
    def refused(self) -> bool:
        """Whether it was told that there are too many."""
        return self.code in _LIMITED

    @property
    def good(self) -> bool:
        """Whether it was answered with what it asked for."""
        return self.status == 200 and self.code is None


class Vendor:
    """One simulated Meta."""

    def __init__(self, name: str, folder: Path, plan: Mapping[str, Any]) -> None:
        """Plan it; the service has to be started."""
        self._plan = folder / f"{name}.json"
        self._plan.write_text(json.dumps(plan), encoding="utf-8")
        self._log = folder / "logs" / f"{name}.log"
        argv = [sys.executable, "-m", "wabajobs.drills.meta", str(self._plan)]
        self.service = Service(name=name, argv=argv, ready=self.is_up, stop_order=2, restart=False)

    def is_up(self) -> bool:
        """Whether it has said its first line."""
        return self._log.exists() and "\n" in self._log.read_text(encoding="utf-8")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What it has said: `url`, `apps`, `things`, …"""
        facts: dict[str, Any] = json.loads(self._log.read_text(encoding="utf-8").partition("\n")[0])
        return facts

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.facts["url"])

    @property
    def app(self) -> dict[str, Any]:
        """The app: `id`, `secret`, `token`, `system_user`, `limit`."""
        app: dict[str, Any] = self.facts["apps"][0]
        return app

    def play(self, phases: Sequence[Mapping[str, Any]]) -> None:
        """Let a scenario begin now."""
        self._ask("scenario", {"description": "a drill", "phases": list(phases)})

    def forget(self) -> None:
        """Clear the account and the windows: what went before the drill does not belong to it."""
        self._ask("reset", {"limits": True})

    def report(self) -> dict[str, Any]:
        """Return the judge's totals."""
        return self._ask("report")

    def calls(self) -> list[GraphCall]:
        """Return all calls, oldest first."""
        found: list[GraphCall] = []
        after = 0
        while True:
            answer = self._ask(f"calls?after={after}&limit={_PAGE}")
            found += [
                GraphCall(
                    at=one["wall"],
                    status=one["status"],
                    code=one["code"],
                    capability=one["capability"],
                )
                for one in answer["calls"]
            ]
            if answer["last_seq"] == after:
                return found
            after = answer["last_seq"]

    def _ask(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.url}/_simulator/{what}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 (on loopback)
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            answered: dict[str, Any] = json.load(answer)
            return answered

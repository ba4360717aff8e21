"""A drill of the product alone: a Meta with a script, requests, and an operator."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from wabajobs.decisions import Limit, Scope, ScopeType
from wabajobs.drills import arrivals, scale, site, watching
from wabajobs.drills.account import Account
from wabajobs.drills.arrivals import Arrival
from wabajobs.drills.claims import Claims
from wabajobs.drills.drill import Options
from wabajobs.drills.run import PRODUCT, Product, Run
from wabajobs.drills.site import Site

ACTOR: Final = "drill"
LIMIT: Final = 480
"""Calls that Meta allows the app in an hour, at a load of one."""
FLEET: Final = 36
WIRE: Final = 0.5
"""Seconds in which calls that were on the wire at a refusal arrive."""


@dataclass
class Scene:
    """A drill that runs."""

    options: Options
    site: Site
    run: Run
    product: Product
    claims: Claims = field(default_factory=Claims)
    duplicates: int = 0
    """Effects that happened twice; known at the end."""
    _show: Any = None

    def at(self, hour: float) -> None:
        """Wait for an hour."""
        self.run.sleep_until(hour, meanwhile=self._show)

    def say(self, text: str) -> None:
        """Tell what happens."""
        self.options.console.print(f"[bold cyan]hour {self.run.now:4.1f}[/]  {text}")

    def pause(self, queue: str) -> float:
        """Pause a queue as `wabajobs pause queue` does; return the hour from which on it is in force."""
        reason = "drill: the limit is hit"
        self.site.house.controls.pause(Scope(ScopeType.QUEUE, queue), reason=reason, actor=ACTOR)
        self.say(f"An operator pauses {queue}.")
        return self.run.now

    def resume(self, queue: str) -> float:
        """Let it go on as `wabajobs resume queue` does; return the hour until which nothing could run."""
        until = self.run.now
        decided = self.site.house.controls.resume(
            Scope(ScopeType.QUEUE, queue), reason="drill: Meta is well", actor=ACTOR
        )
        self.say(f"{queue} is let go on{', step by step' if decided.going_on else ''}.")
        return until

    def set_limit(self, calls: int) -> None:
        """Set the app's limit as `wabajobs limits set` does."""
        app, window = self.site.meta.app["id"], self.site.hour
        limit = Limit(f"app:{app}", calls, window, ACTOR, "drill: Meta confirmed it", False)
        self.site.house.controls.set_limit(limit)
        self.say(f"The operator believes it, and sets {calls} calls an hour.")

    def finish(self) -> Account:
        """Wait for the drill's end, let the product do what is left, and return what has come of it."""
        self.at(self.run.hours)
        self.run.drain(self.product)
        self.duplicates = len(self.site.meta.report()["duplicates"])
        return self.run.collect()[PRODUCT]

    def check_nothing_lost(self, account: Account) -> None:
        """Claim that each request was served."""
        self.claims.check(
            "requests lost: none", f"{account.lost:,} of {len(account.requests):,}", account.lost == 0
        )
        left = account.unfinished
        self.claims.check("requests that still wait at the end: none", f"{left:,}", left == 0)

    def facts(self, account: Account) -> dict[str, Any]:
        """Return the raw numbers."""
        return {
            "length": self.options.length,
            "hours": account.hours,
            "hour_seconds": self.site.hour,
            "seed": self.options.seed,
            "sent_too_late_seconds": self.run.late * self.site.hour,
            "asked": len(account.requests),
            "lost": account.lost,
            "unfinished": account.unfinished,
            "calls": len(account.calls),
            "refused": account.refused,
        }


def pace(options: Options, *, usual: float = 3.0) -> tuple[float, float]:
    """Return seconds of an hour, and the load."""
    hour, load = (1.0, 0.25) if options.quick else (usual, 0.5)
    return options.hour or hour, load


@contextmanager
def playing(
    options: Options,
    asked: Sequence[Arrival],
    *,
    hours: float,
    hour: float,
    load: float,
    fleet: int,
    phases: Sequence[Mapping[str, Any]] = (),
    probes: scale.Probes = scale.PROBES,
) -> Iterator[Scene]:
    """Yield a drill that has just begun."""
    options.console.print(f"{len(asked):,} requests in {hours:.0f} hours, an hour in {hour:g} s.")
    knobs = {"app_limit": round(LIMIT * load), "seed": options.seed, "count_refused": options.count_refused}
    needs, logs = arrivals.needs(asked), options.out / "logs"
    with site.running(hour=hour, knobs=knobs, needs=needs, fleet=fleet, probes=probes, keep_logs=logs) as stage:
        product = Product(stage)
        run = Run(stage, asked, hours=hours, sides={PRODUCT: product})
        scene = Scene(options=options, site=stage, run=run, product=product)
        with run.playing(phases), watching.shown(options.console, lambda: _picture(scene)) as show:
            scene._show = show
            yield scene


def phase(name: str, at: float, until: float | None, **what: Any) -> dict[str, Any]:
    """Return a phase of Meta's script; hours."""
    end = {} if until is None else {"until": until * 3600}
    return {"name": name, "at": at * 3600, **end, **what}


def interval() -> float:
    """Return the hours between two probes, at first."""
    return scale.PROBES_AT_FIRST


def _picture(scene: Scene) -> Any:
    report = scene.site.meta.report()
    numbers = {
        "calls": f"{report['calls']:,}",
        "refused": f"{report['refused']:,}",
        "waiting": f"{scene.product.unfinished():,}",
    }
    now = max(0.0, scene.run.now)
    return watching.picture(
        headline=f"hour {now:.1f} of {scene.run.hours:.0f}",
        share=min(1.0, now / scene.run.hours),
        sides={PRODUCT: numbers},
    )

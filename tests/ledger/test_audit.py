"""Every decision is on the record, with who, when and why, and a pause with all that was decided about it."""

from datetime import timedelta
from typing import Any

from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.decisions import AtEnd, Limit, PauseMode, Scope, Stand
from wabajobs.ledger import Ledger, Route, Share, Wish
from wabajobs.settings import PlannerSettings

SYNCS = Scope.of("queue", "template_sync")
APP, WABA = "10001", "102290129340398"


def test_each_kind_of_decision_is_on_the_record(ledger: Ledger) -> None:
    clock = HandClock()
    now = clock.now()
    who: dict[str, Any] = {"reason": "incident 7", "actor": "anna"}
    [pause] = [ledger.decisions.pause(SYNCS, incident=7, now=now, **who)]
    ledger.decisions.let_run([pause], 10, stepped_at=now, now=now, **who)
    ledger.decisions.let_run([pause], 25, stepped_at=now, now=now, **who)
    ledger.decisions.resume(SYNCS, now=now, **who)
    ledger.decisions.set_limit(Limit(f"app:{APP}", 100, 3600, actor="anna", reason="incident 7"), now=now)
    ledger.decisions.forget_limit(f"app:{APP}", now=now, **who)
    ledger.decisions.override(f"app:{APP}/{Capability.UPLOADS}", Stand.OPEN, now=now, **who)
    ledger.decisions.lift_override(f"app:{APP}/{Capability.UPLOADS}", now=now, **who)
    ledger.shares.set(Share(partner="acme", weight=2, created_at=now, **who))
    ledger.shares.unset("acme", now=now, **who)
    route = ledger.routes.put(Route(id=0, from_app=APP, to_app="20002", created_at=now, **who))
    ledger.routes.lift(route.id, now=now, **who)
    ledger.fleet.wish(
        Wish(app=APP, every=timedelta(hours=2), share=None, **who), now=now, settings=PlannerSettings()
    )
    ledger.homes.set(WABA, APP, now=now, **who)

    entries = ledger.audit.entries()

    assert [one.action for one in entries] == [
        *("pause", "resume", "ramp", "ramp", "limit", "limit forgotten", "breaker open", "breaker released"),
        *("share", "share forgotten", "route", "unroute", "fleet", "home"),
    ]
    assert {(one.actor, one.reason, one.at) for one in entries} == {("anna", "incident 7", now)}
    assert [one.incident for one in entries[:4]] == [7, 7, 7, 7]
    assert [one.action for one in ledger.audit.entries(scope=str(SYNCS))] == ["pause", "resume", "ramp", "ramp"]
    assert ledger.audit.entries(until=now) == []
    assert len(ledger.audit.entries(since=now, at_most=3)) == 3


def test_a_pause_is_kept_with_its_mode_its_share_and_what_comes_after_it(ledger: Ledger) -> None:
    clock, hour = HandClock(), timedelta(hours=1)
    made = ledger.decisions.pause(
        Scope.of("partner", "acme/template_create"),
        reason="flood",
        actor="anna",
        now=clock.now(),
        lasting=hour,
        mode=PauseMode.DRAIN,
        percent=20,
        at_end=AtEnd.RAMP,
        incident=7,
        notice="Later today.",
    )

    assert ledger.decisions.pauses(now=clock.now()) == [made]
    assert (made.mode, made.percent, made.at_end, made.incident) == (PauseMode.DRAIN, 20, AtEnd.RAMP, 7)
    [entry] = ledger.audit.entries()
    assert entry.scope == "partner:acme/template_create"
    assert entry.detail == {
        "pause": made.id,
        "mode": "drain",
        "percent": 20,
        "notice": "Later today.",
        "for_seconds": 3600.0,
    }
    clock.advance(2 * hour)
    assert ledger.decisions.pauses(now=clock.now()) == [made], "until somebody sees to its ramp"


def test_a_pause_that_was_lifted_meanwhile_is_not_eased(ledger: Ledger) -> None:
    now = HandClock().now()
    who: dict[str, Any] = {"reason": "incident 7", "actor": "anna", "now": now}
    pause = ledger.decisions.pause(SYNCS, **who)
    ledger.decisions.resume(SYNCS, **who)

    assert ledger.decisions.let_run([pause], 10, stepped_at=now, **who) == []
    assert ledger.decisions.pauses(now=now) == []

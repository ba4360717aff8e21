"""What people decide is kept: layers, ends, limits, one revision over all; and who of the dispatchers leads."""

from datetime import timedelta

import pytest

from tests.ledger.conftest import at_once
from wabajobs.clock import HandClock
from wabajobs.decisions import Limit, Pause, Scope
from wabajobs.ledger import Ledger

EVERYTHING, SYNCS = Scope.of("all"), Scope.of("queue", "template_sync")


class Desk:
    """An operator's desk: decisions with the time told."""

    def __init__(self, ledger: Ledger) -> None:
        self.records, self.clock = ledger.decisions, HandClock()

    def pause(self, scope: Scope, **more: object) -> Pause:
        return self.records.pause(scope, reason="incident 7", actor="ops", now=self.clock.now(), **more)  # type: ignore[arg-type]

    def resume(self, scope: Scope) -> list[Pause]:
        return self.records.resume(scope, reason="over", actor="ops", now=self.clock.now())

    def paused(self) -> list[str]:
        return [str(pause.scope) for pause in self.records.pauses(now=self.clock.now())]


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    return Desk(ledger)


def test_a_pause_is_kept_with_who_why_since_and_until(desk: Desk) -> None:
    pause = desk.pause(SYNCS, lasting=timedelta(hours=2), notice="syncs wait")

    [kept] = desk.records.pauses(now=desk.clock.now())

    assert kept == pause
    assert (kept.scope, kept.reason, kept.actor, kept.notice) == (SYNCS, "incident 7", "ops", "syncs wait")
    assert (kept.created_at, kept.ends_at) == (desk.clock.now(), desk.clock.now() + timedelta(hours=2))


def test_layers_are_independent(desk: Desk) -> None:
    partner = Scope.of("partner", "bolt")
    for scope in (SYNCS, partner, EVERYTHING):
        desk.pause(scope)

    lifted = desk.resume(EVERYTHING)

    assert [pause.scope for pause in lifted] == [EVERYTHING]
    assert desk.paused() == [str(SYNCS), str(partner)]


def test_two_pauses_of_one_scope_are_lifted_together(desk: Desk) -> None:
    desk.pause(SYNCS)
    desk.pause(SYNCS, lasting=timedelta(hours=1))

    assert len(desk.resume(SYNCS)) == 2
    assert desk.paused() == []


def test_a_shorter_pause_that_ends_leaves_the_longer_one_of_the_same_scope(desk: Desk) -> None:
    desk.pause(SYNCS)
    desk.pause(SYNCS, lasting=timedelta(hours=1))

    desk.clock.advance(timedelta(hours=1))

    assert desk.paused() == [str(SYNCS)]


def test_a_pause_ends_by_itself_to_the_moment(desk: Desk) -> None:
    desk.pause(SYNCS, lasting=timedelta(hours=1))

    desk.clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    before = desk.paused()
    desk.clock.advance(timedelta(microseconds=1))

    assert before == [str(SYNCS)]
    assert desk.paused() == []
    assert desk.resume(SYNCS) == [], "there is nothing left to lift"


def test_lifting_what_is_not_paused_decides_nothing(desk: Desk) -> None:
    desk.pause(SYNCS)
    revision = desk.records.revision()

    assert desk.resume(EVERYTHING) == []
    assert desk.records.revision() == revision


def test_the_revision_grows_with_each_decision(desk: Desk) -> None:
    revisions = [desk.records.revision()]

    desk.pause(SYNCS)
    revisions.append(desk.records.revision())
    desk.records.set_limit(Limit("app:1", 100, 3600, "ops", "incident 7"), now=desk.clock.now())
    revisions.append(desk.records.revision())
    desk.resume(SYNCS)
    revisions.append(desk.records.current(now=desk.clock.now()).revision)

    assert revisions == [0, 1, 2, 3]


def test_of_decisions_made_at_once_each_has_a_revision(desk: Desk) -> None:
    at_once(6, lambda thread: [desk.pause(Scope.of("partner", f"p{thread}")) for _ in range(5)])

    assert desk.records.revision() == 30
    assert len(desk.paused()) == 30


def test_the_newest_limit_of_a_scope_is_in_force(desk: Desk) -> None:
    for calls in (100, 50, 80):
        desk.records.set_limit(Limit("app:1", calls, 3600, "ops", "incident 7"), now=desk.clock.now())
    desk.records.set_limit(Limit("waba:1:2", 7, 60.5, "ops", "incident 7"), now=desk.clock.now())

    current = desk.records.current(now=desk.clock.now())

    assert current.limits == (
        Limit("app:1", 80, 3600, "ops", "incident 7"),
        Limit("waba:1:2", 7, 60.5, "ops", "incident 7"),
    )
    assert current.pauses == ()


def test_one_leads_and_keeps_the_lead_by_renewing(ledger: Ledger) -> None:
    clock, lead = HandClock(), ledger.leaderships.lead
    lease = timedelta(seconds=4)

    assert lead("dispatcher", holder="a", now=clock.now(), lease=lease)
    for _ in range(5):
        clock.advance(timedelta(seconds=3))
        assert lead("dispatcher", holder="a", now=clock.now(), lease=lease)
        assert not lead("dispatcher", holder="b", now=clock.now(), lease=lease)
    assert lead("another lead", holder="b", now=clock.now(), lease=lease)


def test_another_leads_once_the_lease_is_over(ledger: Ledger) -> None:
    clock, lease = HandClock(), timedelta(seconds=4)
    ledger.leaderships.lead("dispatcher", holder="a", now=clock.now(), lease=lease)

    clock.advance(timedelta(seconds=4, microseconds=1))

    assert ledger.leaderships.lead("dispatcher", holder="b", now=clock.now(), lease=lease)
    assert not ledger.leaderships.lead("dispatcher", holder="a", now=clock.now(), lease=lease)


def test_who_resigns_lets_another_lead_at_once(ledger: Ledger) -> None:
    clock, lease = HandClock(), timedelta(seconds=4)
    ledger.leaderships.lead("dispatcher", holder="a", now=clock.now(), lease=lease)

    ledger.leaderships.resign(["dispatcher"], holder="a", now=clock.now())

    assert ledger.leaderships.lead("dispatcher", holder="b", now=clock.now(), lease=lease)


def test_nobody_resigns_for_another(ledger: Ledger) -> None:
    clock, lease = HandClock(), timedelta(seconds=4)
    ledger.leaderships.lead("dispatcher", holder="a", now=clock.now(), lease=lease)

    ledger.leaderships.resign(["dispatcher"], holder="b", now=clock.now())

    assert not ledger.leaderships.lead("dispatcher", holder="b", now=clock.now(), lease=lease)


def test_of_many_who_want_to_lead_at_once_one_does(ledger: Ledger) -> None:
    now, lease = HandClock().now(), timedelta(seconds=4)

    led = at_once(8, lambda n: ledger.leaderships.lead("dispatcher", holder=str(n), now=now, lease=lease))

    assert sum(led) == 1

"""The judge: what counts as lost, too soon, a relapse, recovered, slower."""

import math

import pytest

from wabajobs.drills import judging
from wabajobs.drills.account import Account, Call, Request, quantile
from wabajobs.drills.arrivals import Arrival
from wabajobs.drills.claims import Claims
from wabajobs.drills.judging import Limited


def request(
    at: float, ended: float | None = None, *, what: str = "profile_update", lost: bool = False
) -> Request:
    return Request(Arrival(0, at, what, 0), asked_at=at, ended_at=ended, lost=lost)


def account(*requests: Request, calls: tuple[Call, ...] = (), hours: float = 10.0) -> Account:
    return Account("one", hours, requests, calls)


def call(at: float, *, refused: bool = False, capability: str = "profile") -> Call:
    return Call(at, not refused, refused, capability)


def refusals(*moments: float) -> tuple[Call, ...]:
    return tuple(call(at, refused=True) for at in moments)


def test_lost_is_what_ended_without_success_and_open_what_has_not_ended() -> None:
    seen = account(request(1, 2), request(1, 3, lost=True), request(4))

    assert (seen.lost, seen.unfinished) == (1, 1)
    assert seen.goodput(0, 5) == pytest.approx(1 / 3)
    assert [one.waited for one in seen.requests] == [1, math.inf, math.inf]


def test_what_was_on_the_wire_at_a_refusal_is_no_probe() -> None:
    seen = account(calls=refusals(1.0, 1.01, 1.02, 1.5, 2.0))

    assert judging.too_close(seen, [Limited(0, 5)], interval=0.5, wire=0.05) == 0
    assert judging.too_close(seen, [Limited(0, 5)], interval=0.6, wire=0.05) == 2
    assert judging.too_close(seen, [Limited(0, 5)], interval=0.5, wire=0.001) == 3
    assert judging.on_the_wire(seen, wire=0.05) == 2


def test_a_refusal_after_the_end_of_the_limit_is_a_relapse() -> None:
    seen = account(calls=refusals(1.0, 2.2, 4.0))

    assert judging.relapses(seen, [Limited(0.5, 2)], grace=0.5) == 1
    assert judging.relapses(seen, [Limited(0.5, 2)], grace=0.1) == 2


def test_while_only_uploads_are_limited_another_refusal_is_a_relapse() -> None:
    uploads = Call(1.0, False, True, "uploads")
    seen = account(calls=(uploads, *refusals(1.1)))

    assert judging.relapses(seen, [Limited(0, 2, of_uploads=True)], grace=0) == 1


def test_the_slowest_recovery_is_the_one_that_counts() -> None:
    seen = account(*(request(at / 10, at / 10) for at in range(0, 30)), request(6.0), request(6.5, 6.6))

    assert judging.goodput_after(seen, [0, 5], after=1, span=1) == pytest.approx(0.5)


def test_who_was_never_served_waited_for_ever() -> None:
    seen = account(request(0, 0.1), request(1, 1.1), request(5, 5.1), request(6))

    quiet, after = judging.slower_than_quiet(seen, [(0, 2)], [(5, 7)])

    assert quiet == pytest.approx(0.1)
    assert after == math.inf


def test_backlog_and_rates_add_up() -> None:
    seen = account(
        request(0.2, 1.7),
        request(0.4, 0.9),
        request(2.5),
        request(2.6, 2.7, lost=True),
        calls=refusals(0.1, 0.2),
        hours=3,
    )

    assert seen.backlog(1.0) == [1, 0, 1]
    assert seen.lost_by(1.0) == [0, 0, 1]
    assert seen.done_an_hour(1.0) == [1, 1, 0]
    assert seen.refused_calls(0.5) == [4, 0, 0, 0, 0, 0]
    assert math.isnan(quantile([], 0.95))


def test_a_verdict_without_claims_is_none() -> None:
    claims = Claims()
    assert not claims.all_held

    claims.check("a", "1", True)
    assert claims.all_held

    claims.check("b", "2", False)
    assert not claims.all_held
    assert [one.claim for one in claims.failed] == ["b"]

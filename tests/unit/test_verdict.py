"""Any exception is a Hold or a Failed: the table of it."""

from datetime import timedelta

import pytest

from wabajobs import verdict
from wabajobs.clock import HandClock
from wabajobs.errors import (
    AppLimitReached,
    Blocked,
    DeadlinePassed,
    Forbidden,
    GateUnavailable,
    HeavyPage,
    Held,
    InvalidCall,
    InvalidRequest,
    LimitReached,
    MediaUnavailable,
    NarrowLimitReached,
    NotFound,
    NumberLimitReached,
    StopAsked,
    SyncError,
    Transient,
    Unauthorized,
    UnknownGraphError,
    WabaLimitReached,
    WrongState,
)
from wabajobs.outcome import Cancelled, Expired, Failed, Hold
from wabajobs.settings import DispatchSettings

NOW = HandClock().now()
SETTINGS = DispatchSettings(retry_seconds=5, retry_cap_seconds=60, max_attempts=6)


def of(error: Exception, attempts: int = 1) -> Hold | Failed | Cancelled | Expired:
    return verdict.of(error, attempts=attempts, now=NOW, settings=SETTINGS)


@pytest.mark.parametrize(
    ("limit", "code", "seconds"),
    [
        (LimitReached, 4, 5),
        (AppLimitReached, 4, 5),
        (WabaLimitReached, 80008, 5),
        (NarrowLimitReached, 613, 5),
        # No breaker stands for these, so nobody but the operation itself waits.
        (NarrowLimitReached, 80012, 60),
        (NumberLimitReached, 133016, 60),
    ],
)
@pytest.mark.parametrize("attempts", [1, 6, 1000])
def test_a_limit_of_metas_is_no_failure_however_often(
    limit: type[LimitReached], code: int, seconds: int, attempts: int
) -> None:
    outcome = of(limit("too many calls", code=code), attempts)

    assert isinstance(outcome, Hold)
    assert (outcome.by, outcome.spends_attempt) == ("meta", False)
    assert outcome.until == NOW + timedelta(seconds=seconds)
    assert outcome.reason == f"Meta refused the call: too many calls (code {code})"


def test_a_locked_number_is_held_until_its_lock_ends() -> None:
    outcome = of(NumberLimitReached("locked", code=133016, wait=timedelta(hours=72)))

    assert isinstance(outcome, Hold)
    assert (outcome.until, outcome.by, outcome.spends_attempt) == (NOW + timedelta(hours=72), "meta", False)


def test_a_number_in_maintenance_is_tried_again_when_it_may_be_over() -> None:
    outcome = of(Transient("maintenance", subcode=2494100, wait=timedelta(minutes=5)))

    assert isinstance(outcome, Hold)
    assert outcome.until is not None
    assert timedelta(minutes=5) <= outcome.until - NOW <= timedelta(minutes=5, seconds=5)


@pytest.mark.parametrize("attempts", [1, 1000])
def test_a_gate_that_cannot_be_asked_is_no_failure_however_often(attempts: int) -> None:
    outcome = of(GateUnavailable("Redis cannot be reached"), attempts)

    assert outcome == Hold(
        reason="no calls are made: Redis cannot be reached", by="gate", until=NOW + timedelta(seconds=5)
    )


def test_a_held_call_holds_the_operation_for_as_long() -> None:
    error = Held(reason="the budget is spent", by="budget", wait=timedelta(seconds=90), notice="later")

    assert of(error, 1000) == Hold(
        reason="the budget is spent", by="budget", until=NOW + timedelta(seconds=90), notice="later"
    )


def test_who_is_held_for_a_person_is_held_without_an_end() -> None:
    outcome = of(Held(reason="paused by ops", by="pause", wait=None))

    assert outcome == Hold(reason="paused by ops", by="pause", until=None)


@pytest.mark.parametrize("error", [Transient, HeavyPage])
@pytest.mark.parametrize(("attempts", "longest"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60)])
def test_a_passing_failure_is_tried_again_with_full_jitter(
    error: type[Transient], attempts: int, longest: int
) -> None:
    waits = []
    for _ in range(300):
        outcome = of(error("Meta is unwell", code=2), attempts)
        assert isinstance(outcome, Hold)
        assert outcome.until is not None
        assert (outcome.by, outcome.spends_attempt) == ("retry", True)
        assert outcome.reason == f"Meta is unwell (code 2); try {attempts} of 6"
        waits.append((outcome.until - NOW).total_seconds())

    assert 0 <= min(waits) < longest * 0.1
    assert longest * 0.9 < max(waits) <= longest


@pytest.mark.parametrize("attempts", [6, 7])
def test_a_passing_failure_that_does_not_pass_fails(attempts: int) -> None:
    outcome = of(Transient("Meta is unwell", code=2), attempts)

    assert isinstance(outcome, Failed)
    assert outcome.reason == f"Meta is unwell (code 2) (tried {attempts} times)"


def test_an_unknown_code_is_tried_three_times_and_never_trusted() -> None:
    outcomes = [of(UnknownGraphError("what is this", code=99999), attempts) for attempts in (1, 2, 3)]

    assert [type(one) for one in outcomes] == [Hold, Hold, Failed]
    assert "(tried 3 times)" in str(outcomes[2])


def test_an_unknown_code_is_not_tried_more_often_than_anything_is() -> None:
    few = DispatchSettings(max_attempts=1)

    outcome = verdict.of(UnknownGraphError("what", code=9), attempts=1, now=NOW, settings=few)

    assert isinstance(outcome, Failed)


@pytest.mark.parametrize("error", [Unauthorized, Forbidden, InvalidCall, WrongState, Blocked])
def test_what_meta_will_never_accept_fails_at_once_with_all_that_meta_said(error: type[Unauthorized]) -> None:
    outcome = of(error("no", code=100, subcode=33, status=400, fbtrace_id="Abc", details="the why"))

    assert outcome == Failed(
        "no (code 100, subcode 33) [fbtrace Abc]",
        {
            "type": error.__name__,
            "code": 100,
            "subcode": 33,
            "status": 400,
            "fbtrace_id": "Abc",
            "details": "the why",
        },
    )


@pytest.mark.parametrize("error", [SyncError("it goes in circles"), InvalidRequest("no"), NotFound("none")])
def test_our_own_errors_fail_with_their_sentence(error: Exception) -> None:
    assert of(error) == Failed(str(error), {"type": type(error).__name__})


def test_a_fault_of_ours_fails_at_once_with_its_first_line() -> None:
    outcome = of(KeyError("page_size"))

    assert outcome == Failed("internal error: KeyError: 'page_size'", {"type": "internal"})
    assert of(ValueError("no\nDETAIL: pin 739182")) == Failed(
        "internal error: ValueError: no", {"type": "internal"}
    )


def test_who_is_to_stop_is_cancelled_and_who_is_late_expires() -> None:
    assert of(StopAsked("they have left", "anna")) == Cancelled("they have left", "anna")
    assert of(DeadlinePassed("its deadline passed")) == Expired("its deadline passed")


def test_a_file_that_is_away_is_tried_again_a_few_times() -> None:
    away = MediaUnavailable("shop.example does not answer")

    assert isinstance(of(away, 1), Hold)
    assert isinstance(of(away, SETTINGS.max_attempts), Failed)

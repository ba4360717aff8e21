"""The account of a number's registrations: it lets so many through in a window, and forgets none of them."""

from datetime import timedelta

from tests.ledger.conftest import at_once
from wabajobs.clock import HandClock
from wabajobs.ledger import Ledger

HOUR = timedelta(hours=1)
NOW = HandClock().now()


def charge(
    ledger: Ledger, number: str = "1", *, hours: float = 0, quota: str = "register", most: int = 3
) -> timedelta | None:
    at = NOW + hours * HOUR
    return ledger.number_calls.charge(number, quota, most=most, window=72 * HOUR, now=at)


def test_so_many_go_through_and_the_next_waits_for_the_first_to_leave_the_window(ledger: Ledger) -> None:
    first = [charge(ledger, hours=hours) for hours in (0, 10, 20)]

    assert first == [None, None, None]
    assert charge(ledger, hours=30) == 42 * HOUR
    assert charge(ledger, hours=71) == HOUR
    assert charge(ledger, hours=72) is None
    assert charge(ledger, hours=73) == 9 * HOUR


def test_who_must_wait_has_spent_nothing(ledger: Ledger) -> None:
    for _ in range(9):
        charge(ledger)

    assert charge(ledger, hours=72) is None


def test_numbers_and_quotas_have_accounts_of_their_own(ledger: Ledger) -> None:
    for _ in range(3):
        charge(ledger)

    assert charge(ledger) is not None
    assert charge(ledger, "2") is None
    assert charge(ledger, quota="deregister") is None


def test_what_has_not_come_to_the_number_is_given_back(ledger: Ledger) -> None:
    for hours in (0, 1, 2):
        charge(ledger, hours=hours)

    ledger.number_calls.give_back("1", "register", at=NOW + HOUR)
    ledger.number_calls.give_back("1", "register", at=NOW + HOUR)  # there is no such call any more

    assert charge(ledger, hours=3) is None
    assert charge(ledger, hours=3) == 69 * HOUR


def test_with_a_smaller_limit_it_waits_until_fewer_are_left(ledger: Ledger) -> None:
    for hours in (0, 10, 20):
        charge(ledger, hours=hours)

    assert charge(ledger, hours=20, most=2) == 62 * HOUR


def test_those_who_come_together_do_not_get_through_together(ledger: Ledger) -> None:
    answers = at_once(8, lambda _: charge(ledger))

    assert answers.count(None) == 3

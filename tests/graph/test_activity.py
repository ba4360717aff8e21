"""Whether a WABA has a registered number is learnt from answers that come anyway, and gives it Meta's limit."""

import pytest

from tests.graph.test_cost import WHATSAPP
from wabajobs.graph import Exchange, GraphRequest, Usage, shown_activity

FIELDS = "id,platform_type"


def limit_of(way, waba: str) -> int:
    return way.gate.read(way.simulator.app.id, wabas=[waba]).windows[1].limit


@pytest.fixture
def way(way_to, simulate):
    """Three WABAs, the last of which has a number that is not registered."""
    return way_to(simulate(wabas=3, inactive_wabas=1, numbers=1))


def test_a_list_of_numbers_shows_which_limit_a_waba_has(way) -> None:
    active, _, inactive = way.wabas
    assert limit_of(way, inactive) == 5000, "nobody knows yet"

    for waba in (active, inactive):
        way.graph.get(f"{waba}/phone_numbers", fields=FIELDS)

    assert (limit_of(way, active), limit_of(way, inactive)) == (5000, 200)
    theirs = [way.simulator.limits.waba_limit(way.simulator.world.nodes[waba]) for waba in (active, inactive)]
    assert theirs == [5000, 200], "it is what the simulator keeps to"


def test_lists_of_many_wabas_show_it_of_each(way) -> None:
    way.graph.get_many(way.wabas, "phone_numbers", fields=FIELDS)

    assert [limit_of(way, waba) for waba in way.wabas] == [5000, 5000, 200]


def test_a_list_without_the_platform_shows_nothing(way) -> None:
    way.graph.get(f"{way.wabas[2]}/phone_numbers", fields="id")

    assert limit_of(way, way.wabas[2]) == 5000


def test_a_waba_becomes_active_with_a_registration_and_inactive_with_the_last_number(way_to, simulate) -> None:
    way = way_to(simulate(wabas=1, inactive_wabas=1, numbers=1))
    (waba,) = way.wabas
    (number,) = way.simulator.world.number_ids
    way.graph.get(f"{waba}/phone_numbers", fields=FIELDS)
    assert limit_of(way, waba) == 200

    asked = {"code_method": "SMS", "language": "en_US"}
    assert way.graph.batch([("POST", f"{number}/request_code", asked)]) == [{"success": True}]
    code = way.simulator.world.nodes[number].sms[-1]["code"]
    for last, params in (("verify_code", {"code": code}), ("register", {**WHATSAPP, "pin": "123456"})):
        (answer,) = way.graph.batch([("POST", f"{number}/{last}", params)])
        assert isinstance(answer, dict) and answer["success"]
    assert limit_of(way, waba) == 5000

    assert way.graph.batch([("POST", f"{number}/deregister", {})]) == [{"success": True}]
    way.graph.get(f"{waba}/phone_numbers", fields=FIELDS)
    assert limit_of(way, waba) == 200


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ({"data": []}, [("102", False)]),
        ({"data": [{"platform_type": "NOT_APPLICABLE"}, {"platform_type": "ON_PREMISE"}]}, [("102", True)]),
        ({"data": [{"platform_type": "NOT_APPLICABLE"}], "paging": {"next": "https://more"}}, []),
        ({"data": [{"platform_type": "CLOUD_API"}], "paging": {"next": "https://more"}}, [("102", True)]),
        ({"data": [{"id": "1"}]}, []),
        ({"data": "no list"}, []),
        ({}, []),
        (None, []),
    ],
)
def test_what_a_list_of_numbers_shows(answer, shown) -> None:
    request = GraphRequest(app="1", path="102/phone_numbers")

    assert list(shown_activity(request, Exchange(usage=Usage(), answer=answer))) == shown

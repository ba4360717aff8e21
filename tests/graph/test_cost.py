"""What a request costs: the simulator's own count is what the gate has charged."""

import pytest

from wabajobs.errors import AppLimitReached, GraphError, Held, InvalidCall, InvalidRequest
from wabajobs.graph import GraphRequest, cost
from wabajobs.secret import Secret

WHATSAPP = {"messaging_product": "whatsapp"}


def test_ids_cost_one_call_each_and_are_answered_by_id(way_to, simulate) -> None:
    way = way_to(simulate(wabas=5))
    before = way.counted, way.charged
    asked = [*way.wabas, way.wabas[0]]

    answer = way.graph.get_many(asked, fields="id")

    assert {id: each["id"] for id, each in answer.items()} == {id: id for id in way.wabas}
    assert (way.counted - before[0], way.charged - before[1]) == (5, 5)


def test_an_edge_of_many_costs_one_call_each(way_to, simulate) -> None:
    way = way_to(simulate(wabas=3, templates=2))
    before = way.counted, way.charged

    answer = way.graph.get_many(way.wabas, "message_templates", limit=10)

    assert [len(answer[waba]["data"]) for waba in way.wabas] == [2, 2, 2]
    assert (way.counted - before[0], way.charged - before[1]) == (3, 3)


def test_a_batch_costs_one_call_for_each_request_in_it_also_for_those_that_fail(way_to, simulate) -> None:
    way = way_to(simulate(wabas=3, numbers=1))
    before = way.counted, way.charged
    number = way.simulator.world.number_ids[0]

    answers = way.graph.batch(
        [
            ("GET", way.wabas[1], {"fields": "id"}),
            ("GET", f"{way.wabas[0]}/phone_numbers", {"fields": "id", "after": None}),
            ("GET", "123", {}),
            (
                "POST",
                f"{number}/whatsapp_business_profile",
                {**WHATSAPP, "about": "Hi & bye"},
            ),
        ]
    )

    assert answers[0] == {"id": way.wabas[1]}
    assert answers[1]["data"][0]["id"] == number
    assert isinstance(answers[2], GraphError)
    assert answers[3] == {"success": True}
    assert (way.counted - before[0], way.charged - before[1]) == (4, 4)


def test_anything_else_costs_one_call(way_to, simulate) -> None:
    way = way_to(simulate(wabas=2, templates=50))
    before = way.counted, way.charged

    way.graph.get(f"{way.wabas[0]}/message_templates", limit=50)

    assert (way.counted - before[0], way.charged - before[1]) == (1, 1)


def test_a_limit_that_one_call_of_a_batch_meets_opens_the_breaker(way_to, simulate) -> None:
    way = way_to(simulate(wabas=2, app_limit=3))

    answers = way.graph.batch([("GET", way.wabas[0], {"fields": "id"})] * 4)

    assert [isinstance(answer, AppLimitReached) for answer in answers] == [False, False, True, True]
    with pytest.raises(Held, match=r"breaker of app:.* is open \(code 4"):
        way.graph.get(way.wabas[0])


def test_one_object_that_fails_takes_the_others_along(way_to, simulate) -> None:
    way = way_to(simulate(wabas=2))

    with pytest.raises(InvalidCall):
        way.graph.get_many([way.wabas[0], "999"], fields="id")


def test_a_batch_that_the_budget_has_no_room_for_is_held_as_a_whole(way_to, simulate) -> None:
    way = way_to(simulate(wabas=2))
    arrived = way.simulator.judge.total

    for _ in range(2):
        way.graph.batch([("GET", way.wabas[0], {"fields": "id"})] * 40)
    with pytest.raises(Held, match="budget"):
        way.graph.batch([("GET", way.wabas[0], {"fields": "id"})] * 40)

    assert way.simulator.judge.total - arrived == 80


def test_a_batch_keeps_secrets_out_of_its_errors(way_to, simulate) -> None:
    way = way_to(simulate(wabas=2))

    (error,) = way.graph.batch([("GET", "debug_token", {"input_token": Secret("EAAcustomer1")})])

    assert "EAAcustomer1" not in f"{error!r} {error}"


@pytest.mark.parametrize(
    ("request_", "calls"),
    [
        (GraphRequest(app="1", path="102"), 1),
        (GraphRequest(app="1", path="102", params={"fields": "id,phone_numbers.limit(50){id}"}), 1),
        (GraphRequest(app="1", path="102", method="POST", json={}), 1),
        (GraphRequest(app="1", ids=["1", "2", "3", "2"]), 3),
        (GraphRequest(app="1", batch=[GraphRequest(app="1", path="102")] * 20), 20),
    ],
)
def test_the_table_of_costs(request_: GraphRequest, calls: int) -> None:
    assert cost(request_) == calls


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (GraphRequest(app="1", ids=[str(n) for n in range(51)]), "51 ids: Meta takes 50 at once"),
        (GraphRequest(app="1", batch=[GraphRequest(app="1", path="1")] * 51), "51 requests in a batch"),
        (GraphRequest(app="1", ids=["1,2"]), "'1,2' is no id"),
        (GraphRequest(app="1", ids=["1"], method="POST"), "only reading"),
        (GraphRequest(app="1", batch=[GraphRequest(app="1", path="1", json={})]), "nothing else"),
        (GraphRequest(app="1", batch=[GraphRequest(app="1", ids=["1"])]), "nothing else"),
        (GraphRequest(app="1", batch=[GraphRequest(app="1", path="../me")]), "is no path"),
    ],
)
def test_what_meta_would_refuse_as_a_whole_is_not_sent(way_to, simulate, request_, why) -> None:
    way = way_to(simulate(wabas=2))
    before = way.counted

    with pytest.raises(InvalidRequest, match=why):
        way.graph._client.exchange(request_)

    assert way.counted == before

"""Many calls in one request: batches and `ids=`. Each call inside counts as one."""

import hashlib
import hmac
import json

import pytest
import requests

from .client import error_of


def batch(client, *entries, **fields):
    token = client.simulator.app.token
    return client.post("", data={"access_token": token, "batch": json.dumps(entries), **fields})


def bodies(answer):
    assert answer.status_code == 200
    return [one and json.loads(one["body"]) for one in answer.json()]


def test_a_batch_answers_its_calls_in_their_order(start) -> None:
    client = start()
    first, second, _ = client.simulator.world.waba_ids

    answer = batch(
        client,
        {"method": "GET", "relative_url": f"{second}?fields=id"},
        {"method": "GET", "relative_url": f"v24.0/{first}?fields=id"},
        {"method": "GET", "relative_url": "nothing"},
    )

    assert [one["code"] for one in answer.json()] == [200, 200, 400]
    assert [one.get("id") for one in bodies(answer)] == [second, first, None]
    assert bodies(answer)[2]["error"]["code"] == 100
    versions = [
        header["value"]
        for one in answer.json()
        for header in one["headers"]
        if header["name"] == "facebook-api-version"
    ]
    assert versions == ["v23.0", "v24.0", "v23.0"]


def test_each_call_of_a_batch_counts_as_one_and_says_in_which_request_it_came(start) -> None:
    client = start(app_limit=3)
    waba = client.simulator.world.waba_ids[0]

    answer = batch(client, *[{"method": "GET", "relative_url": f"{waba}?fields=id"}] * 5)

    assert [one["code"] for one in answer.json()] == [200, 200, 200, 400, 400]
    assert [one["error"]["code"] for one in bodies(answer)[3:]] == [4, 4]
    calls = client.simulator.judge.calls()
    assert [call.via for call in calls] == ["batch"] * 5
    assert len({call.request for call in calls}) == 1
    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 5


def test_a_batch_may_leave_out_the_headers(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    (only,) = batch(client, {"method": "GET", "relative_url": waba}, include_headers="false").json()

    assert set(only) == {"code", "body"}


def test_a_later_call_may_use_what_an_earlier_one_found(start) -> None:
    client = start(wabas=1, numbers=2)
    (waba,) = client.simulator.world.waba_ids

    answer = batch(
        client,
        {"method": "GET", "name": "list", "relative_url": f"{waba}/phone_numbers?fields=id"},
        {"method": "GET", "relative_url": "?ids={result=list:$.data.*.id}&fields=id"},
        {"method": "GET", "relative_url": "{result=list:$.data[1].id}?fields=id"},
    )

    first, _, third = bodies(answer)
    assert first is None, "the answer that others use is left out by default"
    assert third["id"] == client.simulator.world.number_ids[1]


def test_the_answer_that_others_use_can_be_asked_for(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    answer = batch(
        client,
        {"method": "GET", "name": "one", "relative_url": waba, "omit_response_on_success": False},
        {"method": "GET", "depends_on": "one", "relative_url": f"{waba}/phone_numbers"},
    )

    assert [one["code"] for one in answer.json()] == [200, 200]


def test_what_depends_on_a_failure_is_not_called(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    answer = batch(
        client,
        {"method": "GET", "name": "bad", "relative_url": "nothing"},
        {"method": "GET", "depends_on": "bad", "relative_url": waba},
        {"method": "GET", "relative_url": "{result=bad:$.id}"},
    )

    assert [one and one["code"] for one in answer.json()] == [400, None, None]
    assert client.simulator.judge.total == 1


def test_a_call_of_a_batch_that_times_out_is_null(start) -> None:
    client = start()
    first, second, _ = client.simulator.world.waba_ids
    client.simulator.faults.add(path=first, hang=True)

    answer = batch(client, {"method": "GET", "relative_url": first}, {"method": "GET", "relative_url": second})

    assert [one and one["code"] for one in answer.json()] == [None, 200]


def test_a_call_of_a_batch_may_bear_another_token_and_then_counts_for_its_app(start) -> None:
    client = start(apps=2)
    app, other = client.simulator.world.apps
    waba = client.simulator.world.waba_ids[0]

    answer = batch(
        client,
        {"method": "GET", "relative_url": waba},
        {"method": "GET", "relative_url": f"{waba}?access_token={other.token}"},
        {"method": "GET", "relative_url": f"{waba}?access_token=wrong"},
    )

    assert [one["code"] for one in answer.json()] == [200, 200, 401]
    assert client.simulator.judge.by_app() == {app.id: 1, other.id: 1}


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("[]", "array"),
        ("{}", "array"),
        ("nonsense", "array"),
        ("[1]", "relative_url"),
        ('[{"method":"GET"}]', "relative_url"),
        (json.dumps([{"relative_url": "me"}] * 51), "50"),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(start, entries, why) -> None:
    client = start()

    answer = client.post("", data={"access_token": client.simulator.app.token, "batch": entries})

    assert answer.status_code == 400
    error = error_of(answer)
    assert error["type"] == "GraphBatchException"
    assert why in error["message"]
    assert [(call.endpoint, call.counted) for call in client.simulator.judge.calls()] == [("unknown", True)]


def test_a_batch_needs_a_token(start) -> None:
    client = start()

    answer = requests.post(
        client.simulator.url, data={"batch": '[{"method":"GET","relative_url":"me"}]'}, timeout=10
    )

    assert answer.status_code == 401
    assert error_of(answer)["code"] == 104


def test_ids_read_many_objects_and_each_counts(start) -> None:
    client = start(app_limit=4)
    ids = client.simulator.world.waba_ids

    answer = client.get("", ids=",".join(ids), fields="name")

    assert answer.json() == {waba: {"id": waba, "name": f"Shop {n}"} for n, waba in enumerate(ids, 1)}
    assert [call.via for call in client.simulator.judge.calls()] == ["ids"] * 3
    assert error_of(client.get("", ids=",".join(ids)))["code"] == 4


def test_ids_read_an_edge_of_many_objects(start) -> None:
    client = start()
    first, second, _ = client.simulator.world.waba_ids

    answer = client.get("phone_numbers", ids=f"{first},{second}", fields="id").json()

    assert {waba: [one["id"] for one in answer[waba]["data"]] for waba in answer} == {
        waba: [number.id for number in client.simulator.world.waba(waba).numbers] for waba in (first, second)
    }


def test_one_bad_id_fails_the_whole_request(start) -> None:
    client = start()
    first, second, _ = client.simulator.world.waba_ids

    answer = client.get("", ids=f"{first},nothing,{second}")

    assert error_of(answer)["error_subcode"] == 33


@pytest.mark.parametrize("ids", ["", ",", ",".join(map(str, range(51)))])
def test_no_ids_and_too_many_ids_are_errors(start, ids) -> None:
    assert error_of(start().get("", ids=ids))["code"] == 100


def test_a_post_may_say_that_it_is_another_method(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    read = client.post(waba, data={"method": "get", "fields": "id"})

    assert read.json() == {"id": waba}
    assert client.simulator.judge.calls()[-1].method == "GET"


def test_a_proof_with_its_time_is_right_for_five_minutes(start) -> None:
    client = start()
    simulator = client.simulator
    token, now = simulator.app.token, int(simulator.clock.unix())
    proof = hmac.new(simulator.app.secret.encode(), f"{token}|{now}".encode(), hashlib.sha256).hexdigest()
    waba = simulator.world.waba_ids[0]

    fresh = client.get(waba, appsecret_proof=proof, appsecret_time=now)
    wrong = client.get(waba, appsecret_proof=proof, appsecret_time=now + 1)
    simulator.advance(301)
    stale = client.get(waba, appsecret_proof=proof, appsecret_time=now)

    assert fresh.ok
    assert [error_of(one)["type"] for one in (wrong, stale)] == ["GraphMethodException"] * 2

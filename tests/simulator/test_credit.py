"""Lines of credit: found, shared, attached, revoked, and counted in a window of their own."""

from __future__ import annotations

import pytest

from .client import error_of
from .test_onboarding import as_customer, effects, token_of


@pytest.fixture
def onboarded(start):
    """A simulator with a signed-up WABA to which the system user is assigned."""

    def begin(**knobs):
        client = start(**knobs)
        signup = client.simulator.world.signup()
        client.post(
            f"{signup.waba_id}/assigned_users",
            data={"user": client.simulator.app.system_user_id, "tasks": "['MANAGE']"},
        )
        return client, signup

    return begin


def share(client, waba: str, currency: str = "USD"):
    credit = client.simulator.world.credit.id
    return client.post(
        f"{credit}/whatsapp_credit_sharing_and_attach", data={"waba_id": waba, "waba_currency": currency}
    )


def test_sharing_gives_the_waba_its_funding_and_currency(onboarded) -> None:
    client, signup = onboarded()

    allocation = share(client, signup.waba_id, "GBP").json()["allocation_config_id"]
    read = client.get(signup.waba_id, fields="primary_funding_id,currency").json()
    credential = client.get(allocation, fields="receiving_credential{id}").json()["receiving_credential"]["id"]

    assert (read["primary_funding_id"], read["currency"]) == (credential, "GBP")
    assert credential != allocation


def test_a_second_share_makes_another_allocation_and_the_judge_sees_it(onboarded) -> None:
    client, signup = onboarded()

    first, second = (share(client, signup.waba_id).json()["allocation_config_id"] for _ in range(2))

    assert first != second
    assert effects(client, "credit_shared") == [(signup.waba_id, False), (signup.waba_id, True)]
    assert len(client.simulator.judge.effects.duplicates()) == 2


def test_what_a_second_share_does_is_a_knob(onboarded) -> None:
    client, signup = onboarded(credit_shared_again="same")
    first, second = (share(client, signup.waba_id).json()["allocation_config_id"] for _ in range(2))
    assert first == second
    assert effects(client, "credit_shared") == [(signup.waba_id, False)]
    assert client.simulator.judge.calls()[-1].wasted == "nothing to do"

    client, signup = onboarded(credit_shared_again="refuse")
    share(client, signup.waba_id)
    assert error_of(share(client, signup.waba_id))["code"] == 100


def test_sharing_needs_the_system_user_to_manage_the_waba(start) -> None:
    client = start()
    signup = client.simulator.world.signup()
    user = client.simulator.app.system_user_id

    before = share(client, signup.waba_id)
    client.post(f"{signup.waba_id}/assigned_users", data={"user": user, "tasks": "VIEW_COST"})
    viewing = share(client, signup.waba_id)
    client.post(f"{signup.waba_id}/assigned_users", data={"user": user, "tasks": "VIEW_COST,MANAGE"})

    assert (before.status_code, error_of(before)["code"]) == (403, 200)
    assert error_of(viewing)["code"] == 200
    assert share(client, signup.waba_id).ok


@pytest.mark.parametrize(
    ("waba_id", "currency"), [("1", "USD"), (None, "USD"), ("waba", "CHF"), ("waba", None), ("credit", "USD")]
)
def test_sharing_needs_a_waba_and_one_of_six_currencies(onboarded, waba_id, currency) -> None:
    client, signup = onboarded()
    ids = {"waba": signup.waba_id, "credit": client.simulator.world.credit.id}

    answer = share(client, ids.get(waba_id, waba_id), currency)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)
    assert effects(client, "credit_shared") == []


def test_credit_may_be_shared_with_the_business_first_and_attached_by_its_token(onboarded) -> None:
    client, signup = onboarded()
    credit = client.simulator.world.credit.id
    token = token_of(client, signup)
    attach = {"waba_id": signup.waba_id, "waba_currency": "INR"}

    owner = client.get(signup.waba_id, fields="owner_business_info").json()["owner_business_info"]["id"]
    too_early = as_customer(client, token, "POST", f"{credit}/whatsapp_credit_attach", data=attach)
    shared = client.post(f"{credit}/whatsapp_credit_sharing", data={"receiving_business_id": owner}).json()
    unpaid = client.get(signup.waba_id, fields="primary_funding_id").json()
    attached = as_customer(client, token, "POST", f"{credit}/whatsapp_credit_attach", data=attach)
    as_customer(client, token, "POST", f"{credit}/whatsapp_credit_attach", data=attach)
    paid = client.get(signup.waba_id, fields="primary_funding_id,currency").json()

    assert error_of(too_early)["code"] == 100
    assert shared["success"] is True
    assert "primary_funding_id" not in unpaid
    assert attached.json()["success"] is True
    credential = client.get(shared["allocation_config_id"], fields="receiving_credential{id}").json()
    assert credential["receiving_credential"]["id"] == paid["primary_funding_id"]
    assert paid["currency"] == "INR"
    assert effects(client, "credit_shared") == [(owner, False)]
    assert effects(client, "credit_attached") == [(signup.waba_id, False)]
    assert client.simulator.judge.calls()[-3].wasted == "nothing to do"


def test_what_is_shared_can_be_found_by_the_customers_business(onboarded) -> None:
    client, signup = onboarded()
    credit = client.simulator.world.credit.id
    allocation = share(client, signup.waba_id).json()["allocation_config_id"]

    one = client.get(
        f"{credit}/owning_credit_allocation_configs", receiving_business_id=signup.business_id, summary="true"
    ).json()
    every = client.get(f"{credit}/owning_credit_allocation_configs", fields="id,request_status").json()["data"]

    assert [found["id"] for found in one["data"]] == [allocation]
    assert one["data"][0]["receiving_business"]["id"] == signup.business_id
    assert one["summary"] == {"total_count": 1}
    assert len(every) == 4
    assert {found["request_status"] for found in every} == {"ACTIVE"}


def test_a_revoked_share_is_deleted_and_the_waba_without_funding(onboarded) -> None:
    client, signup = onboarded()
    allocation = share(client, signup.waba_id).json()["allocation_config_id"]

    assert client.delete(allocation).json() == {"success": True}
    assert client.delete(allocation).json() == {"success": True}

    assert client.get(allocation, fields="request_status").json()["request_status"] == "DELETED"
    assert "primary_funding_id" not in client.get(signup.waba_id, fields="primary_funding_id").json()
    listed = client.get(
        f"{client.simulator.world.credit.id}/owning_credit_allocation_configs",
        receiving_business_id=signup.business_id,
    )
    assert listed.json() == {"data": []}
    assert effects(client, "credit_revoked") == [(signup.waba_id, False)]
    share(client, signup.waba_id)
    assert client.simulator.judge.effects.duplicates() == []


def test_a_share_is_revoked_after_the_customer_has_left(onboarded) -> None:
    client, signup = onboarded()
    allocation = share(client, signup.waba_id).json()["allocation_config_id"]
    client.control("POST", "accounts", json={"waba": signup.waba_id, "action": "remove_partner"})

    assert client.delete(allocation).json() == {"success": True}


def test_revoking_one_of_two_shares_leaves_the_other_in_force(onboarded) -> None:
    client, signup = onboarded()
    first = share(client, signup.waba_id).json()["allocation_config_id"]
    second = share(client, signup.waba_id).json()["allocation_config_id"]

    client.delete(first)
    paid = client.get(signup.waba_id, fields="primary_funding_id").json()
    share(client, signup.waba_id)

    credential = client.get(second, fields="receiving_credential").json()["receiving_credential"]["id"]
    assert paid["primary_funding_id"] == credential
    assert effects(client, "credit_revoked") == [(first, False)]
    assert effects(client, "credit_shared")[-1] == (signup.waba_id, True)


def test_a_customers_token_reaches_no_line_of_credit(onboarded) -> None:
    client, signup = onboarded()
    token, credit = token_of(client, signup), client.simulator.world.credit.id
    allocation = share(client, signup.waba_id).json()["allocation_config_id"]

    for method, path, data in (
        (
            "POST",
            f"{credit}/whatsapp_credit_sharing_and_attach",
            {"waba_id": signup.waba_id, "waba_currency": "USD"},
        ),
        ("POST", f"{credit}/whatsapp_credit_sharing", {"receiving_business_id": signup.business_id}),
        ("GET", f"{credit}/owning_credit_allocation_configs", None),
        ("DELETE", allocation, None),
    ):
        assert error_of(as_customer(client, token, method, path, data=data))["error_subcode"] == 33
    assert client.get(allocation, fields="request_status").json()["request_status"] == "ACTIVE"


def test_a_customer_has_no_line_of_credit(onboarded) -> None:
    client, signup = onboarded()
    world = client.simulator.world

    assert client.get(f"{signup.business_id}/extendedcredits").json() == {"data": []}
    assert (
        client.get(world.credit.id, fields="owner_business").json()["owner_business"]["id"] == world.business.id
    )
    assert (
        error_of(client.post(f"{world.credit.id}/whatsapp_credit_sharing", data={"receiving_business_id": "1"}))[
            "code"
        ]
        == 100
    )


def test_calls_to_credit_have_a_window_of_their_own(onboarded) -> None:
    client, signup = onboarded(credit_limit=2)
    credit = client.simulator.world.credit.id

    answers = [
        client.get(f"{client.simulator.world.business.id}/extendedcredits"),
        client.get(credit),
        share(client, signup.waba_id),
        client.get(f"{credit}/owning_credit_allocation_configs"),
    ]

    assert [answer.ok for answer in answers] == [True, True, False, False]
    assert error_of(answers[2])["code"] == 80008
    assert client.get(signup.waba_id).ok


def test_an_allocation_may_be_read_as_it_was(onboarded) -> None:
    client, signup = onboarded()
    allocation = share(client, signup.waba_id).json()["allocation_config_id"]
    client.simulator.advance(60)
    client.delete(allocation)
    client.control("POST", "faults", json={"method": "GET", "stale": 30})

    assert client.get(allocation, fields="request_status").json()["request_status"] == "ACTIVE"

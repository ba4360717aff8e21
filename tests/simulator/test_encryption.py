"""The public key of a number, without which no flow with an endpoint is published."""

from __future__ import annotations

import base64
import json

import pytest

from .client import Client, error_of
from .test_flows import GOOD, create, made, published
from .test_onboarding import effects
from .test_registration import deregister, register

KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA79QotPlHOxMEY6qJbie6
pOmL5Tc2LJarEM9DSo+P/YZdUantVZASjX5WgkYHxxNduk0FSpPlkZ3C97P6fKvu
pYc2Z06VO0xjYLpne279QRaB1O7epZRS1Np+ds9P/L+ZMtXIzmkcydweVh88Cddf
GYTpnMMpx3rLWp83+ier8hTClvzNceSLkPjTFniwbXMwbSmuNWmjyaT6YpvoER78
D8+HF4T7upuiGEUdNBMN27fkHg32z8o+Yx3kbf+k+sB+fXTGDYrU4bIE8ah4H0n6
2w0noB6KoKWVkyXvjZw7Lbrf5M8QZxRuH5fDDeK6i3x+JhvMLsJ8NyWu0HTI8Qdm
mwIDAQAB
-----END PUBLIC KEY-----
"""
SMALL = "30819f300d06092a864886f70d010101050003818d0030818902818100" + "ab" * 128 + "0203010001"


def number(client: Client) -> str:
    return client.simulator.world.number_ids[0]


def path(client: Client) -> str:
    return f"{number(client)}/whatsapp_business_encryption"


def pem(der: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----"


def test_a_key_is_set_and_read(start) -> None:
    client = start()

    before = client.get(path(client)).json()
    answer = client.post(path(client), data={"business_public_key": KEY})
    again = client.post(path(client), json={"business_public_key": KEY})

    assert before == {"data": []}
    assert answer.json() == again.json() == {"success": True}
    assert client.get(path(client)).json() == {
        "data": [{"business_public_key": KEY, "business_public_key_signature_status": "VALID"}]
    }
    assert effects(client, "public_key_set") == [(number(client), False)]
    assert client.simulator.judge.report()["wasted"] == {"nothing to do": 1}


def test_only_the_fields_that_are_asked_for_come(start) -> None:
    client = start()
    client.post(path(client), data={"business_public_key": KEY})

    answer = client.get(path(client), fields="business_public_key_signature_status")

    assert answer.json() == {"data": [{"business_public_key_signature_status": "VALID"}]}


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a key",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nA\n-----END PUBLIC KEY-----",
        pem(bytes.fromhex(SMALL)),
        KEY.replace("PUBLIC", "PRIVATE"),
        None,
    ],
)
def test_a_key_must_be_a_2048_bit_rsa_public_key(start, wrong) -> None:
    client = start()

    answer = client.post(path(client), json={"business_public_key": wrong})

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)
    assert "business_public_key" in error_of(answer)["message"]
    assert client.get(path(client)).json() == {"data": []}


def test_a_key_needs_a_registered_number(start) -> None:
    client = start()
    deregister(client, number(client))

    answer = client.post(path(client), json={"business_public_key": KEY})

    assert error_of(answer)["code"] == 133010


def test_after_another_registration_the_key_must_be_sent_again(start) -> None:
    client = start()

    def status() -> str:
        return client.get(path(client)).json()["data"][0]["business_public_key_signature_status"]

    client.post(path(client), json={"business_public_key": KEY})
    deregister(client, number(client))
    client.control("POST", "numbers", json={"action": "two_step_off", "number": number(client)})
    assert register(client, number(client)).ok
    renewed = status()
    client.post(path(client), json={"business_public_key": KEY})

    assert (renewed, status()) == ("MISMATCH", "VALID")


def test_a_flow_with_an_endpoint_needs_a_public_key(start) -> None:
    client = start()
    app = client.simulator.app.id
    flow = made(
        client,
        GOOD | {"data_api_version": "3.0"},
        endpoint_uri="https://a.example/flow",
    )
    client.post(flow, json={"application_id": app})
    plain = published(client, name="plain")

    refused = client.post(f"{flow}/publish")
    client.post(path(client), json={"business_public_key": KEY})
    done = client.post(f"{flow}/publish")

    assert (refused.status_code, error_of(refused)["code"]) == (400, 139002)
    assert "public key" in error_of(refused)["error_user_msg"]
    assert done.json() == {"success": True}
    assert client.get(plain, fields="status").json()["status"] == "PUBLISHED"


def test_a_refused_publication_leaves_no_flow_behind(start) -> None:
    client = start()

    answer = create(client, flow_json=json.dumps(GOOD), endpoint_uri="https://a.example/", publish=True)

    assert error_of(answer)["code"] == 139002
    assert client.get(f"{client.simulator.world.waba_ids[0]}/flows").json()["data"] == []

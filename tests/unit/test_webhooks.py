"""Reading webhooks: what is none is refused with a sentence, what is one never breaks anything."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.hooks import account, status
from tests.unit.conftest import APP, WABA
from wabajobs import Client, webhooks
from wabajobs.errors import ConfigurationError, InvalidRequest
from wabajobs.ledger import Did, News
from wabajobs.secret import Secret
from wabajobs.settings import Settings

BODY = status(WABA, "1", "APPROVED", at=1_767_225_700)


def signed(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", '{"object": 1, "entry": []}', {"entry": []}, b"[" * 10**5]
)
def test_what_is_no_webhook_is_refused_in_a_sentence(body: Any) -> None:
    with pytest.raises(InvalidRequest, match="this is no webhook of Meta's"):
        webhooks.read(body)


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        (1_767_225_700, datetime(2026, 1, 1, 0, 1, 40, tzinfo=UTC)),
        ("1767225700", datetime(2026, 1, 1, 0, 1, 40, tzinfo=UTC)),
        (1_767_225_700_250, datetime(2026, 1, 1, 0, 1, 40, 250_000, tzinfo=UTC)),
        (None, None),
        (-1, None),
        ("noon", None),
        (10**17, None),
    ],
)
def test_the_moment_is_read_in_seconds_or_milliseconds(time: Any, moment: datetime | None) -> None:
    body = json.loads(BODY)
    body["entry"][0]["time"] = time

    [news] = webhooks.read(body)

    assert news.happened_at == moment


def test_a_business_tells_of_a_waba_by_its_own_id() -> None:
    info = {"waba_id": int(WABA), "partner_app_id": APP}

    [news] = webhooks.read(account("7000000", "PARTNER_ADDED", at=1, waba_info=info))

    assert (news.waba, news.topic, news.subject, news.event) == (
        WABA,
        "account_update",
        "access",
        "PARTNER_ADDED",
    )
    assert news.value["waba_info"] == info, "all of it is kept"


def test_other_objects_and_topics_are_passed_over() -> None:
    body = json.loads(BODY)
    body["entry"][0]["changes"][0]["field"] = "messages"

    assert webhooks.read(body) == []
    assert webhooks.read({"object": "page", "entry": [{}]}) == []


jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([WABA, "DELETED", "REJECTED"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "event",
                    "message_template_id",
                    "message_template_name",
                    "reason",
                    "waba_info",
                    "waba_id",
                    "new_category",
                ]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of the webhook's
@given(
    entry=st.fixed_dictionaries(
        {
            "id": st.just(WABA) | jsons,
            "time": jsons,
            "changes": st.lists(
                st.fixed_dictionaries(
                    {"field": st.sampled_from([*webhooks._READERS, *webhooks._ACCOUNT_TOPICS]), "value": jsons}
                )
                | jsons,
                max_size=4,
            ),
        }
    )
    | jsons
)
def test_whatever_a_webhook_holds_it_can_be_read_and_kept(entry: Any) -> None:
    for news in webhooks.read({"object": "whatsapp_business_account", "entry": [entry]}):
        assert news.waba.isdecimal()
        kept = news.facts if isinstance(news, News) else {"subject": news.subject, **news.value}
        json.dumps(kept, allow_nan=False).encode()
        assert isinstance(news, News) or len(news.event) <= 64


# ── signatures ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_signature_of_any_of_our_apps_will_do() -> None:
    webhooks.verify(BODY, signed(BODY, "second"), [Secret("first"), Secret("second")])
    webhooks.verify(BODY.decode(), signed(BODY, "first"), [Secret("first")])


@pytest.mark.parametrize(
    "signature", ["", "sha256=", "sha1=abc", signed(BODY, "another's"), signed(b"other", "ours"), "ü"]
)
def test_another_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidRequest, match="is not that of any app of ours"):
        webhooks.verify(BODY, signature, [Secret("ours")])


def test_a_signature_needs_the_bytes_and_a_secret() -> None:
    with pytest.raises(InvalidRequest, match="give the bytes"):
        webhooks.verify(json.loads(BODY), signed(BODY, "ours"), [Secret("ours")])
    with pytest.raises(ConfigurationError, match=r"no app has a secret .*\[apps.<app id>\] secret"):
        webhooks.verify(BODY, signed(BODY, "ours"), [])


def test_the_client_takes_nothing_that_is_not_signed_by_us(
    sqlite_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_SECRET", "ours")
    apps = {APP: {"token": {"env": "TOKEN"}, "secret": {"env": "APP_SECRET"}}}
    settings = Settings.model_validate({"database_url": sqlite_files.fresh(), "apps": apps})
    with Client(settings) as client:
        client.keep_fresh(WABA, partner="acme")

        [told] = client.apply_webhook(BODY, signature=signed(BODY, "ours"))
        with pytest.raises(InvalidRequest):
            client.apply_webhook(BODY, signature=signed(BODY, "theirs"))

        assert told.did is Did.UNKNOWN
        assert client.forget(WABA) is True
        assert client.forget("99999") is False


# ── Meta asks whether the address is ours ───────────────────────────────────────────────────────────────────


def test_the_challenge_is_answered_to_who_knows_our_token() -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "ours", "hub.challenge": "1158201444"}

    assert webhooks.challenge(asked, "ours") == "1158201444"
    as_lists = {name: [value] for name, value in asked.items()}
    assert webhooks.challenge(as_lists, Secret("ours")) == "1158201444"


@pytest.mark.parametrize(
    "change",
    [
        {"hub.verify_token": "theirs"},
        {"hub.verify_token": ""},
        {"hub.verify_token": "ü"},
        {"hub.mode": "unsubscribe"},
        {"hub.challenge": ""},
        {"hub.challenge": []},
    ],
)
def test_nobody_else_is_answered(change: dict[str, Any]) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "ours", "hub.challenge": "1158201444"}

    with pytest.raises(InvalidRequest):
        webhooks.challenge(asked | change, "ours")
    with pytest.raises(InvalidRequest):
        webhooks.challenge(asked, "")

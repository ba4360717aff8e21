"""pywa as it is: everything that it can do to manage a WABA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pywa import WhatsApp
from pywa.errors import ExpiredAccessToken, FlowDeletingError, FlowPublishingError, ToManyAPICalls, WhatsAppError
from pywa.handlers import AccountUpdateHandler, TemplateStatusUpdateHandler
from pywa.types import AccountUpdate, FlowCategory, FlowStatus, Industry, Pagination
from pywa.types.account_update import AccountUpdateEvent
from pywa.types.others import StorageConfiguration, StorageStatus
from pywa.types.templates import (
    AuthenticationBody,
    BodyText,
    Buttons,
    CopyCodeOTPButton,
    FooterText,
    HeaderImage,
    HeaderText,
    LibraryTemplate,
    ParamFormat,
    QuickReplyButton,
    Template,
    TemplateCategory,
    TemplateLanguage,
    TemplateStatus,
    TemplateStatusUpdate,
    URLButton,
)

from tests.simulator.test_encryption import KEY
from wabajobs.simulator import Simulator

from .hook import receiving
from .people import REVIEW, sms_code
from .wire import Wire

VERSION = "v26.0"
FLOW = {
    "version": "7.0",
    "screens": [
        {
            "id": "WELCOME",
            "title": "Welcome",
            "terminal": True,
            "layout": {
                "type": "SingleColumnLayout",
                "children": [
                    {"type": "TextHeading", "text": "Hello"},
                    {
                        "type": "Footer",
                        "label": "Done",
                        "on-click-action": {"name": "complete", "payload": {}},
                    },
                ],
            },
        }
    ],
}


@pytest.fixture
def wa(simulator: Simulator, waba: str, number: str) -> Iterator[WhatsApp]:
    """A client for the first WABA and its first number."""
    # Archiving is at another host of Meta's, whose name stands in the client.
    archive = {"https://api.facebook.com": AtSimulator(simulator.url)}
    with httpx.Client(timeout=20, mounts=archive) as session:
        client = WhatsApp(
            phone_id=number,
            token=simulator.app.token,
            session=session,
            waba_id=waba,
            business_portfolio_id=simulator.world.business.id,
            app_id=simulator.app.id,
            app_secret=simulator.app.secret,
            verify_token="a secret between us",
            filter_updates=False,
        )
        session.base_url = f"{simulator.url}/{VERSION}"
        yield client


class AtSimulator(httpx.HTTPTransport):
    """Sends what is meant for another host to the simulator."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme=self._url.scheme, host=self._url.host, port=self._url.port)
        return super().handle_request(request)


def order_update(**changes: object) -> Template:
    """A template that nobody would reject."""
    return Template(
        **{
            "name": "order_update",
            "language": TemplateLanguage.ENGLISH_US,
            "category": TemplateCategory.UTILITY,
            "components": [
                HeaderText("Order {{1}}", "4711"),
                BodyText("Hi {{1}}, your order of {{2}} is on its way to you.", "Ann", "three cups"),
                FooterText(text="Thank you"),
                Buttons(
                    buttons=[
                        URLButton(
                            text="Track it", url="https://example.com/{{1}}", example="https://example.com/a"
                        ),
                        QuickReplyButton(text="Stop"),
                    ]
                ),
            ],
            **changes,
        }
    )


# Templates


def test_a_list_of_templates_is_read_page_by_page(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    pages = [wa.get_templates(pagination=Pagination(limit=3))]
    while pages[-1].has_next:
        pages.append(wa.get_templates(pagination=Pagination(limit=3, after=pages[-1].after)))

    assert [one.id for page in pages for one in page] == [one.id for one in simulator.world.templates(waba)]
    assert {(page.total_count, page.message_template_count) for page in pages} == {(7, 7)}
    assert pages[0].message_template_limit == 6000
    assert wire.seen() == [f"GET {waba}/message_templates"] * 3
    back = wa.get_templates(pagination=Pagination(limit=3, before=pages[-1].before))
    assert [one.id for one in back] == [one.id for one in pages[1]]


def test_a_list_of_templates_is_filtered(simulator: Simulator, wa: WhatsApp, waba: str) -> None:
    world = simulator.world
    world.set_status(waba, world.templates(waba)[0].id, "PAUSED")
    world.set_status(waba, world.templates(waba)[1].id, "REJECTED")
    world.add_template(waba, name="der_einzige", language="de", category="MARKETING")

    found = wa.get_templates(statuses=[TemplateStatus.PAUSED, TemplateStatus.REJECTED])

    stopped = [one.id for one in world.templates(waba) if one.status in ("PAUSED", "REJECTED")]
    assert [one.id for one in found] == stopped
    found = wa.get_templates(name="der_einzige", languages=[TemplateLanguage.GERMAN])
    assert [one.name for one in found] == ["der_einzige"]
    found = wa.get_templates(categories=[TemplateCategory.MARKETING])
    assert {one.category for one in found} == {TemplateCategory.MARKETING}
    assert "der_einzige" in [one.name for one in wa.get_templates(name_or_content="einzig")]


def test_a_template_is_read_by_its_id(simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire) -> None:
    kept = simulator.world.templates(waba)[0]

    read = wa.get_template(kept.id)

    assert (read.id, read.name, read.language, read.status) == (kept.id, kept.name, kept.language, kept.status)
    assert read.get_component(BodyText)
    assert wire.seen() == [f"GET {kept.id}"]


def test_a_new_template_is_reviewed_and_approved(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    created = wa.create_template(order_update())

    assert (created.status, created.category) == (TemplateStatus.PENDING, TemplateCategory.UTILITY)
    assert wire.seen() == [f"POST {waba}/message_templates"]
    assert wire.effects() == ["template_created"]
    simulator.advance(REVIEW)
    read = created.get()
    assert read.status == TemplateStatus.APPROVED
    assert read.parameter_format == ParamFormat.POSITIONAL
    assert json.loads(json.dumps(read.get_component(BodyText).to_dict()))["example"] == {
        "body_text": [["Ann", "three cups"]]
    }


def test_a_template_may_have_named_parameters(wa: WhatsApp) -> None:
    template = order_update(
        parameter_format=ParamFormat.NAMED,
        components=[BodyText("Hi {{name}}, your order is on its way.", name="Ann")],
    )

    read = wa.create_template(template).get()

    assert read.parameter_format == ParamFormat.NAMED
    assert read.get_component(BodyText).text == "Hi {{name}}, your order is on its way."


def test_the_picture_of_a_template_is_uploaded_first(
    simulator: Simulator, wa: WhatsApp, waba: str, picture: Path, wire: Wire
) -> None:
    created = wa.create_template(
        order_update(components=[HeaderImage(picture), BodyText("Thank you for your order.")])
    )

    app = simulator.app.id
    assert wire.seen() == [f"POST {app}/uploads", "POST upload", f"POST {waba}/message_templates"]
    assert wire.effects() == ["upload_opened", "upload_finished", "template_created"]
    assert created.get().get_component(HeaderImage).example.startswith("http")


def test_the_same_template_twice_is_refused(wa: WhatsApp, wire: Wire) -> None:
    wa.create_template(order_update())

    with pytest.raises(WhatsAppError) as caught:
        wa.create_template(order_update())

    assert (caught.value.code, caught.value.subcode) == (100, 2388024)
    assert caught.value.fbtrace_id
    assert caught.value.user_title
    assert caught.value.user_msg
    assert wire.effects() == ["template_created"]


def test_a_bad_name_is_told_with_the_field_to_blame(wa: WhatsApp) -> None:
    with pytest.raises(WhatsAppError) as caught:
        wa.create_template(order_update(name="Order Update!"))

    assert (caught.value.code, caught.value.subcode) == (100, 2388046)
    assert caught.value.raw["error_data"] == {"blame_field_specs": [["name"]]}


def test_a_template_comes_from_the_library(wa: WhatsApp, wire: Wire) -> None:
    library = wa.api.send_raw_request("GET", "/message_template_library")["data"]
    # One without buttons needs no inputs.
    chosen = next(one for one in library if not one.get("buttons"))

    created = wa.create_template(
        LibraryTemplate(
            name="from_the_library",
            library_template_name=chosen["name"],
            category=TemplateCategory(chosen["category"]),
            language=TemplateLanguage.ENGLISH_US,
        )
    )

    assert created.status == TemplateStatus.APPROVED
    assert created.get().library_template_name == chosen["name"]
    assert wire.effects() == ["template_created"]


def test_an_edited_template_is_reviewed_again(simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire) -> None:
    template = simulator.world.add_template(waba, name="to_be_edited", status="REJECTED")

    edited = wa.update_template(template.id, new_components=[BodyText("We have sent your order today.")])

    assert edited
    assert (edited.id, edited.name) == (template.id, "to_be_edited")
    read = edited.get()
    assert (read.status, read.get_component(BodyText).text) == (
        TemplateStatus.PENDING,
        "We have sent your order today.",
    )
    assert wire.seen() == [f"POST {template.id}", f"GET {template.id}"]


def test_a_template_is_deleted_in_one_language_or_in_all(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    for language in ("en_US", "de", "fr"):
        simulator.world.add_template(waba, name="to_be_deleted", language=language)
    german = next(
        one for one in simulator.world.templates(waba) if one.language == "de" and "deleted" in one.name
    )

    assert wa.delete_template("to_be_deleted", template_id=german.id)
    left = {one.language for one in simulator.world.templates(waba) if one.name == "to_be_deleted"}
    assert left == {"en_US", "fr"}

    assert wa.delete_template("to_be_deleted")
    assert not any(one.name == "to_be_deleted" for one in simulator.world.templates(waba))
    assert wire.seen() == [f"DELETE {waba}/message_templates"] * 2
    with pytest.raises(WhatsAppError):
        wa.delete_template("to_be_deleted")


def test_authentication_templates_are_put_in_several_languages_at_once(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    template = {
        "name": "one_time_code",
        "category": "AUTHENTICATION",
        "languages": ["en_US", "de"],
        "components": [
            {"type": "BODY", "add_security_recommendation": True},
            {"type": "FOOTER", "code_expiration_minutes": 5},
            {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]},
        ],
    }

    first = wa.api.upsert_message_templates(waba, template)["data"]
    again = wa.api.upsert_message_templates(waba, template)["data"]

    assert {one["language"] for one in first} == {"en_US", "de"}
    assert [one["id"] for one in again] == [one["id"] for one in first]
    read = wa.get_template(first[0]["id"])
    assert read.category == TemplateCategory.AUTHENTICATION
    assert read.get_component(AuthenticationBody).add_security_recommendation
    assert read.get_component(CopyCodeOTPButton)
    assert wire.seen() == [f"POST {waba}/upsert_message_templates"] * 2 + [f"GET {read.id}"]
    assert wire.effects() == ["template_created"] * 2


def test_templates_are_compared(simulator: Simulator, wa: WhatsApp, waba: str) -> None:
    one, other = (template.id for template in simulator.world.templates(waba)[:2])
    now = int(simulator.world.unix())

    compared = wa.compare_templates(one, other, start=now - 7 * 86400, end=now)

    assert set(compared.block_rate) == {one, other}
    assert set(compared.times_sent) == {one, other}


def test_a_paused_template_is_unpaused(simulator: Simulator, wa: WhatsApp, waba: str) -> None:
    template = simulator.world.add_template(waba, name="to_be_unpaused", status="PAUSED")

    assert wa.unpause_template(template.id).success

    assert wa.get_template(template.id).status == TemplateStatus.APPROVED


def test_templates_are_archived_and_taken_back(simulator: Simulator, wa: WhatsApp, waba: str) -> None:
    template = simulator.world.add_template(waba, name="to_be_archived")

    archived = wa.archive_templates([template.id])
    assert (archived.archived, archived.failed) == ((template.id,), {})
    assert wa.get_template(template.id).status == TemplateStatus.ARCHIVED

    assert wa.unarchive_templates([template.id]).unarchived == (template.id,)
    assert wa.get_template(template.id).status == TemplateStatus.APPROVED


def test_templates_are_copied_to_another_waba(simulator: Simulator, wa: WhatsApp, wire: Wire) -> None:
    source, destination = one_business(simulator)
    for template in simulator.world.templates(source):
        simulator.world.edit_template(source, template.id, status="APPROVED", quality="GREEN")

    migrated = wa.migrate_templates(source, page_number=0, destination_waba_id=destination)

    copied = [one.id for one in migrated.migrated]
    names = {one.name for one in simulator.world.templates(source)}
    assert {wa.get_template(one).name for one in copied} <= names
    assert copied
    assert wire.seen()[0] == f"POST {destination}/migrate_message_templates"
    assert wire.effects() == ["template_migrated"] * len(copied)


# Flows


def test_a_flow_lives_from_draft_to_deprecation(wa: WhatsApp, waba: str, wire: Wire) -> None:
    created = wa.create_flow("Sign up", [FlowCategory.SIGN_UP])
    assert wa.get_flow(created.id).status == FlowStatus.DRAFT

    uploaded = wa.update_flow_json(created.id, FLOW)
    assert uploaded.success
    assert not uploaded.validation_errors
    assert wa.update_flow_metadata(created.id, name="Sign up now", categories=[FlowCategory.LEAD_GENERATION])
    assert wa.publish_flow(created.id)
    published = wa.get_flow(created.id)
    assert (published.name, published.status, published.json_version) == (
        "Sign up now",
        FlowStatus.PUBLISHED,
        "7.0",
    )
    assert published.categories == (FlowCategory.LEAD_GENERATION,)
    assert published.preview.url.startswith("http")
    assert published.whatsapp_business_account.id == waba
    assert wa.deprecate_flow(created.id)
    assert wa.get_flow(created.id).status == FlowStatus.DEPRECATED

    flow = created.id
    assert [one for one in wire.seen() if one.startswith("POST")] == [
        f"POST {waba}/flows",
        f"POST {flow}/assets",
        f"POST {flow}",
        f"POST {flow}/publish",
        f"POST {flow}/deprecate",
    ]


def test_the_json_of_a_flow_is_told_where_it_is_wrong(wa: WhatsApp) -> None:
    created = wa.create_flow("Broken", [FlowCategory.OTHER])

    uploaded = wa.update_flow_json(created.id, {"version": "7.0"})

    assert uploaded.success
    assert uploaded.validation_errors[0].message
    with pytest.raises(FlowPublishingError):
        wa.publish_flow(created.id)
    assert wa.get_flow(created.id).validation_errors


def test_a_flow_is_created_and_published_in_one_call(wa: WhatsApp) -> None:
    created = wa.create_flow("At once", [FlowCategory.SURVEY], flow_json=FLOW, publish=True)

    assert created.success
    assert wa.get_flow(created.id).status == FlowStatus.PUBLISHED
    asset = wa.get_flow_assets(created.id)[0]
    assert (asset.name, asset.type) == ("flow.json", "FLOW_JSON")
    assert httpx.get(asset.url, timeout=20).json() == FLOW


def test_only_a_draft_is_deleted(wa: WhatsApp) -> None:
    draft = wa.create_flow("Draft", [FlowCategory.OTHER])
    published = wa.create_flow("Published", [FlowCategory.OTHER], flow_json=FLOW, publish=True)
    assert {one.id for one in wa.get_flows()} == {draft.id, published.id}

    assert wa.delete_flow(draft.id)
    with pytest.raises(FlowDeletingError):
        wa.delete_flow(published.id)

    assert [one.name for one in wa.get_flows()] == ["Published"]


def test_flows_are_copied_to_another_waba(simulator: Simulator, wa: WhatsApp) -> None:
    source, destination = one_business(simulator)
    created = wa.create_flow("Survey", [FlowCategory.SURVEY], flow_json=FLOW, publish=True, waba_id=source)

    moved = wa.migrate_flows(source, ["Survey", "Nothing like it"], destination_waba_id=destination)

    assert [(one.source_name, one.source_id) for one in moved.migrated_flows] == [("Survey", created.id)]
    assert [one.source_name for one in moved.failed_flows] == ["Nothing like it"]
    assert [one.id for one in wa.get_flows(waba_id=destination)] == [moved.migrated_flows[0].migrated_id]


# The business profile


def test_a_business_profile_is_read_and_changed(wa: WhatsApp, number: str, wire: Wire) -> None:
    assert wa.get_business_profile().about is None

    assert wa.update_business_profile(
        about="Cups and more",
        address="1 Main Street",
        description="Everything for tea",
        email="hello@example.com",
        industry=Industry.RETAIL,
        websites=["https://example.com/", "https://example.org/"],
    )

    profile = wa.get_business_profile()
    assert (profile.about, profile.address, profile.email) == (
        "Cups and more",
        "1 Main Street",
        "hello@example.com",
    )
    assert profile.description == "Everything for tea"
    assert profile.industry == Industry.RETAIL
    assert profile.websites == ("https://example.com/", "https://example.org/")
    edge = f"{number}/whatsapp_business_profile"
    assert wire.seen() == [f"GET {edge}", f"POST {edge}", f"GET {edge}"]


def test_what_is_not_named_in_a_profile_stays(wa: WhatsApp) -> None:
    wa.update_business_profile(about="Cups and more", address="1 Main Street")

    wa.update_business_profile(address=None)

    profile = wa.get_business_profile()
    assert (profile.about, profile.address) == ("Cups and more", None)


def test_the_picture_of_a_profile_is_uploaded_first(
    simulator: Simulator, wa: WhatsApp, number: str, picture: Path, wire: Wire
) -> None:
    assert wa.update_business_profile(profile_picture=picture)

    assert wire.seen() == [
        f"POST {simulator.app.id}/uploads",
        "POST upload",
        f"POST {number}/whatsapp_business_profile",
    ]
    assert wa.get_business_profile().profile_picture_url.startswith("http")


def test_an_upload_that_broke_off_is_resumed(simulator: Simulator, wa: WhatsApp, picture: Path) -> None:
    content = picture.read_bytes()
    session = wa.api.create_upload_session(simulator.app.id, "picture.png", len(content), "image/png")["id"]

    wa.api.upload_file(session, content[:100], file_offset=0)
    there = int(wa.api.get_upload_session(session)["file_offset"])
    handle = wa.api.upload_file(session, content[there:], file_offset=there)["h"]

    assert there == 100
    assert wa.api.update_business_profile(wa.phone_id, {"profile_picture_handle": handle}) == {"success": True}


# Phone numbers


def test_numbers_are_listed_and_read(
    simulator: Simulator, wa: WhatsApp, waba: str, number: str, wire: Wire
) -> None:
    kept = simulator.world.waba(waba).numbers

    listed = wa.get_business_phone_numbers()
    read = wa.get_business_phone_number()

    assert [one.id for one in listed] == [one.id for one in kept]
    assert (read.id, read.display_phone_number, read.verified_name) == (
        number,
        kept[0].display,
        kept[0].verified_name,
    )
    assert (read.code_verification_status, read.status) == ("VERIFIED", "CONNECTED")
    assert wire.seen() == [f"GET {waba}/phone_numbers", f"GET {number}"]


def test_a_new_number_is_verified_by_sms_and_registered(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    new = wa.create_phone_number(
        country_calling_code="49", phone_number="3012345678", verified_name="Tea House"
    ).id

    assert wa.request_verification_code(phone_id=new, code_method="SMS", language_code="en_US")
    with pytest.raises(WhatsAppError):
        wa.verify_phone_number("000000" if sms_code(simulator, new) != "000000" else "111111", phone_id=new)
    assert wa.verify_phone_number(sms_code(simulator, new), phone_id=new)
    assert wa.get_business_phone_number(phone_id=new).code_verification_status == "VERIFIED"
    assert wa.register_phone_number("123456", phone_id=new)

    assert wa.get_business_phone_number(phone_id=new).status == "CONNECTED"
    assert wire.seen()[0] == f"POST {waba}/phone_numbers"
    assert wire.effects() == ["number_added", "code_sent", "number_verified", "number_registered"]


def test_a_number_is_deregistered_and_registered_with_its_pin(
    simulator: Simulator, wa: WhatsApp, waba: str, number: str, wire: Wire
) -> None:
    pin = simulator.world.waba(waba).numbers[0].pin

    assert wa.deregister_phone_number()
    with pytest.raises(WhatsAppError) as caught:
        wa.register_phone_number("000000" if pin != "000000" else "111111")
    assert caught.value.code == 133005
    simulator.advance(60)
    assert wa.register_phone_number(pin, data_localization_region="DE")

    assert wa.get_business_phone_number().status == "CONNECTED"
    assert wire.seen() == [
        f"POST {number}/deregister",
        f"POST {number}/register 400/133005",
        f"POST {number}/register",
        f"GET {number}",
    ]
    assert wire.effects() == ["number_deregistered", "number_registered"]


def test_a_display_name_is_asked_for(wa: WhatsApp, number: str, wire: Wire) -> None:
    assert wa.update_display_name("Tea and Cups")

    assert wa.get_business_phone_number().new_name_status is not None
    assert wire.seen() == [f"POST {number}", f"GET {number}"]


def test_settings_of_a_number_are_read_and_changed(wa: WhatsApp, number: str, wire: Wire) -> None:
    assert wa.update_business_phone_number_settings(
        storage_configuration=StorageConfiguration(
            status=StorageStatus.IN_COUNTRY_STORAGE_ENABLED, data_localization_region="DE", retention_minutes=60
        )
    )

    settings = wa.get_business_phone_number_settings()
    assert settings.storage_configuration.status == StorageStatus.IN_COUNTRY_STORAGE_ENABLED
    assert wire.seen() == [f"POST {number}/settings", f"GET {number}/settings"]


# The WABA


def test_a_waba_is_read_with_its_subscribed_apps(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    read = wa.get_business_account()

    assert (read.id, read.name) == (waba, simulator.world.waba(waba).name)
    assert [app.id for app in read.subscribed_apps] == [simulator.app.id]
    assert read.owner_business_info.id == simulator.world.waba(waba).business_id
    assert wire.seen() == [f"GET {waba}"]


def test_settings_of_a_waba_are_changed(wa: WhatsApp) -> None:
    wa.update_business_account_settings(disable_marketing_messages_on_cloud_api=True)

    assert wa.get_business_account().disable_marketing_messages_on_cloud_api is True


def test_the_wabas_that_customers_shared_are_listed(simulator: Simulator, wa: WhatsApp, wire: Wire) -> None:
    shared = wa.get_shared_business_accounts(pagination=Pagination(limit=2))

    assert {one.id for one in shared.all()} == set(simulator.world.waba_ids)
    assert wire.seen() == [f"GET {simulator.world.business.id}/client_whatsapp_business_accounts"] * 2
    assert len(wa.get_owned_business_accounts()) == 0


def test_callbacks_of_a_waba_and_of_a_number_are_overridden_and_put_back(
    wa: WhatsApp, waba: str, number: str, wire: Wire
) -> None:
    with receiving(wa.webhook_challenge_handler) as hook:
        assert wa.override_waba_callback_url(hook.url, "a secret between us")
        assert wa.api.get_waba_subscribed_apps(waba)["data"][0]["override_callback_uri"] == hook.url
        assert wa.override_phone_callback_url(hook.url, "a secret between us")
        assert wa.get_business_phone_number().webhook_configuration["phone_number"] == hook.url
        with pytest.raises(WhatsAppError):
            wa.override_waba_callback_url(hook.url, "another secret")

    assert wa.delete_waba_callback_url()
    assert wa.delete_phone_callback_url()
    assert "override_callback_uri" not in wa.api.get_waba_subscribed_apps(waba)["data"][0]
    assert "phone_number" not in (wa.get_business_phone_number().webhook_configuration or {})
    assert [one for one in wire.seen() if one.startswith("POST")] == [
        f"POST {waba}/subscribed_apps",
        f"POST {number}",
        f"POST {waba}/subscribed_apps 400/100",
        f"POST {waba}/subscribed_apps",
        f"POST {number}",
    ]


def test_a_number_gets_a_public_key(wa: WhatsApp, number: str, wire: Wire) -> None:
    assert wa.set_business_public_key(KEY)

    with pytest.raises(WhatsAppError) as caught:
        wa.set_business_public_key("no key")

    assert caught.value.code == 100
    assert wire.effects() == ["public_key_set"]
    edge = f"POST {number}/whatsapp_business_encryption"
    assert wire.seen() == [edge, f"{edge} 400/100"]


# Tokens


def test_the_code_of_a_signup_becomes_a_token_for_that_customer(
    simulator: Simulator, wa: WhatsApp, waba: str, wire: Wire
) -> None:
    app = simulator.app
    signup = simulator.world.signup()

    token = wa.api.get_business_access_token(app.id, app.secret, signup.code)["access_token"]

    with httpx.Client(timeout=20) as session:
        customer = WhatsApp(phone_id=signup.number_id, token=token, session=session, waba_id=signup.waba_id)
        session.base_url = f"{simulator.url}/{VERSION}"
        assert customer.get_business_account().id == signup.waba_id
        assert [one.id for one in customer.get_business_phone_numbers()] == [signup.number_id]
        assert customer.delete_waba_callback_url()
        assert customer.register_phone_number("123456")
        with pytest.raises(WhatsAppError):
            customer.get_business_account(waba_id=waba)
    with pytest.raises(WhatsAppError) as caught:
        wa.api.get_business_access_token(app.id, app.secret, signup.code)
    assert (caught.value.code, caught.value.subcode) == (100, 36009)
    assert wire.effects() == ["code_exchanged", "app_subscribed", "number_registered"]


def test_the_code_of_a_signup_ends_after_30_seconds(simulator: Simulator, wa: WhatsApp) -> None:
    app, signup = simulator.app, simulator.world.signup()
    simulator.advance(31)

    with pytest.raises(WhatsAppError) as caught:
        wa.api.get_business_access_token(app.id, app.secret, signup.code)

    assert caught.value.code == 100


def test_an_app_gets_its_own_token(simulator: Simulator, wa: WhatsApp) -> None:
    app = simulator.app

    token = wa.get_app_access_token(int(app.id), app.secret)

    assert (
        wa.api.send_raw_request("GET", "/debug_token", params={"input_token": token, "access_token": token})[
            "data"
        ]["app_id"]
        == app.id
    )


# Webhooks


def test_a_webhook_is_validated_and_understood(simulator: Simulator, wa: WhatsApp, waba: str) -> None:
    updates: list[TemplateStatusUpdate] = []
    wa.add_handlers(TemplateStatusUpdateHandler(lambda _, update: updates.append(update)))
    with receiving(wa.webhook_challenge_handler) as hook:
        simulator.webhooks.set_url(hook.url)
        # A language without a region: webhooks write `en-US`, which this client does not know.
        created = wa.create_template(order_update(language=TemplateLanguage.GERMAN))
        simulator.advance(REVIEW)
        while not updates:
            delivery = hook.next()
            assert wa.webhook_update_validator(delivery.body, delivery.signature) is None
            assert wa.webhook_update_validator(delivery.body + b" ", delivery.signature) == ("Forbidden", 403)
            assert wa.webhook_update_handler(delivery.body) == ("ok", 200)

    (update,) = updates
    assert (update.id, update.template_id, update.template_name) == (waba, created.id, "order_update")
    assert (update.new_status, update.template_language) == (TemplateStatus.APPROVED, TemplateLanguage.GERMAN)
    assert update.timestamp.timestamp() == pytest.approx(simulator.world.unix(), abs=REVIEW)


def test_a_language_with_a_region_is_understood_when_it_is_written_with_an_underscore(
    simulator: Simulator, wa: WhatsApp
) -> None:
    updates: list[TemplateStatusUpdate] = []
    wa.add_handlers(TemplateStatusUpdateHandler(lambda _, update: updates.append(update)))
    simulator.limits.set(webhook_language="underscore")
    with receiving(wa.webhook_challenge_handler) as hook:
        simulator.webhooks.set_url(hook.url)
        wa.create_template(order_update(language=TemplateLanguage.ENGLISH_US))
        simulator.advance(REVIEW)
        while not updates:
            wa.webhook_update_handler(hook.next().body)

    assert updates[0].template_language == TemplateLanguage.ENGLISH_US


def test_an_app_sets_its_callback_and_topics(simulator: Simulator, wa: WhatsApp, wire: Wire) -> None:
    app = simulator.app
    updates: list[TemplateStatusUpdate] = []
    wa.add_handlers(TemplateStatusUpdateHandler(lambda _, update: updates.append(update)))
    with receiving(wa.webhook_challenge_handler) as hook:
        assert wa.set_app_callback_url(
            app_id=int(app.id),
            app_access_token=wa.get_app_access_token(int(app.id), app.secret),
            callback_url=hook.url,
            verify_token="a secret between us",
            fields=["message_template_status_update", "messages"],
        )
        wa.create_template(order_update(language=TemplateLanguage.GERMAN))
        simulator.advance(REVIEW)
        while not updates:
            wa.webhook_update_handler(hook.next().body)

    assert wire.seen()[:2] == ["GET oauth/access_token", f"POST {app.id}/subscriptions"]
    assert {one.topic for one in simulator.webhooks.sent()} == {"message_template_status_update"}


def test_the_webhooks_of_a_signup_are_understood(simulator: Simulator, wa: WhatsApp) -> None:
    updates: list[AccountUpdate] = []
    wa.add_handlers(AccountUpdateHandler(lambda _, update: updates.append(update)))
    with receiving(wa.webhook_challenge_handler) as hook:
        simulator.webhooks.set_url(hook.url)
        signup = simulator.world.signup()
        while len(updates) < 2:
            delivery = hook.next()
            assert wa.webhook_update_validator(delivery.body, delivery.signature) is None
            wa.webhook_update_handler(delivery.body)

    added, installed = updates
    assert (added.event, installed.event) == (
        AccountUpdateEvent.PARTNER_ADDED,
        AccountUpdateEvent.PARTNER_APP_INSTALLED,
    )
    assert added.waba_info.id == signup.waba_id
    assert added.waba_info.owner_business_id == signup.business_id


# Errors and limits


def test_a_spent_app_limit_is_the_clients_own_error(simulator: Simulator, wa: WhatsApp) -> None:
    simulator.limits.set_app_limit(1)
    wa.get_business_account()

    with pytest.raises(ToManyAPICalls) as caught:
        wa.get_templates()

    assert caught.value.code == 4
    assert caught.value.is_transient
    assert json.loads(caught.value.raw_response.headers["X-App-Usage"])["call_count"] >= 100
    assert simulator.judge.refused == 1


def test_a_revoked_token_is_the_clients_own_error(simulator: Simulator, wa: WhatsApp) -> None:
    simulator.world.revoke_token(simulator.app.token)

    with pytest.raises(ExpiredAccessToken):
        wa.get_business_account()


def test_an_answer_from_a_proxy_is_an_error_with_its_status(simulator: Simulator, wa: WhatsApp) -> None:
    simulator.faults.add(status=502, body="<html><h1>Bad Gateway</h1></html>", times=1)

    with pytest.raises(WhatsAppError) as caught:
        wa.get_business_account()

    assert caught.value.code == 502
    assert wa.get_business_account().name


def test_what_does_not_exist_is_code_100_subcode_33(wa: WhatsApp) -> None:
    with pytest.raises(WhatsAppError) as caught:
        wa.get_template("999")

    assert (caught.value.code, caught.value.subcode, caught.value.type) == (100, 33, "GraphMethodException")


def one_business(simulator: Simulator) -> tuple[str, str]:
    """Two WABAs of the same business, the only ones between which things are copied."""
    source, destination = (simulator.world.waba(one) for one in simulator.world.waba_ids[:2])
    destination.business_id = source.business_id
    return source.id, destination.id

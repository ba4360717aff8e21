"""The business profile of a number."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest

from .client import Client, error_of
from .test_uploads import png, uploaded

ALL = "about,address,description,email,profile_picture_url,websites,vertical"


def number(client: Client) -> str:
    return client.simulator.world.number_ids[0]


def change(client: Client, **fields):
    return client.post(
        f"{number(client)}/whatsapp_business_profile", json={"messaging_product": "whatsapp", **fields}
    )


def profile(client: Client, fields: str = ALL) -> dict:
    answer = client.get(f"{number(client)}/whatsapp_business_profile", fields=fields)
    assert answer.status_code == 200
    (one,) = answer.json()["data"]
    return one


def jpeg(width: int, height: int, *, before: int = 0) -> bytes:
    """The beginning of a JPEG, with so many bytes of metadata before its size."""
    metadata = b"\xff\xe1" + struct.pack(">H", before + 2) + bytes(before) if before else b""
    frame = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10)
    return b"\xff\xd8" + metadata + b"\xff\xff\xff\xdb" + struct.pack(">H", 4) + bytes(2) + frame + bytes(500)


def test_fields_that_are_not_set_are_left_out_but_the_vertical(start) -> None:
    client = start()

    assert profile(client) == {"vertical": "UNDEFINED", "messaging_product": "whatsapp"}
    assert profile(client, "about") == {"messaging_product": "whatsapp"}
    assert profile(client, "") == {"messaging_product": "whatsapp"}


def test_only_what_is_sent_changes(start) -> None:
    client = start()
    change(client, about="Shoes", email="a@shop.example", websites=["https://shop.example"])

    answer = change(client, about="Boots", vertical="RETAIL")

    assert answer.json() == {"success": True}
    assert profile(client) == {
        "about": "Boots",
        "email": "a@shop.example",
        "websites": ["https://shop.example"],
        "vertical": "RETAIL",
        "messaging_product": "whatsapp",
    }
    assert client.get(f"{number(client)}/whatsapp_business_profile", fields="about,email").json()["data"] == [
        {"about": "Boots", "email": "a@shop.example", "messaging_product": "whatsapp"}
    ]


def test_the_same_again_changes_nothing(start) -> None:
    client = start()
    change(client, about="Shoes")

    again = change(client, about="Shoes")

    (effect,) = client.simulator.judge.effects.all(kind="profile_updated")
    assert again.json() == {"success": True}
    assert (effect.subject, effect.details) == (number(client), {"fields": ["about"]})
    assert client.simulator.judge.wasted() == {"nothing to do": 1}


def test_an_empty_value_takes_a_field_out(start) -> None:
    client = start()
    change(client, about="Shoes", address="A road", websites=["https://a.example", "https://b.example"])

    change(client, about="", websites="")

    assert profile(client) == {"address": "A road", "vertical": "UNDEFINED", "messaging_product": "whatsapp"}


@pytest.mark.parametrize("comma", ["https://a.example/x,y"])
@pytest.mark.parametrize("shape", ["json list", "json in a form", "several"])
def test_websites_come_in_any_shape_and_may_have_commas(start, shape, comma) -> None:
    client = start()
    path, product = f"{number(client)}/whatsapp_business_profile", ("messaging_product", "whatsapp")
    pages = [comma, "http://b.example"]

    if shape == "json list":
        change(client, websites=pages)
    elif shape == "json in a form":
        client.post(path, data=[product, ("websites", json.dumps(pages))])
    else:
        client.post(path, data=[product, *(("websites[]", page) for page in pages)])

    assert profile(client)["websites"] == pages


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("about", "x" * 139, "x" * 140),
        ("address", "x" * 256, "x" * 257),
        ("description", "x" * 512, "x" * 513),
        ("email", f"{'x' * 116}@shop.example"[:128], f"{'x' * 117}@shop.example"),
        ("email", "a@b.example", "nobody"),
        ("websites", ["https://a.example", "http://b.example"], ["https://a.example"] * 3),
        ("websites", ["https://a.example/".ljust(256, "x")], ["https://a.example/".ljust(257, "x")]),
        ("websites", ["HTTPS://a.example"], ["a.example"]),
        ("websites", ["https://a.example"], ["ftp://a.example"]),
        ("vertical", "OTC_DRUGS", "SHOES"),
        ("vertical", "retail", ["RETAIL", {}]),
    ],
)
@pytest.mark.parametrize("code", [100, 131009])
def test_each_field_has_its_limit(start, field, right, wrong, code) -> None:
    client = start(profile_refusal_code=code)

    assert change(client, **{field: right}).json() == {"success": True}
    before = profile(client)
    answer = change(client, about="x", **{field: wrong}) if field != "about" else change(client, about=wrong)

    assert answer.status_code == 400
    assert error_of(answer)["code"] in (code, 100)
    assert profile(client) == before


def test_the_description_may_be_shorter_by_a_knob(start) -> None:
    client = start(description_most=256)

    assert change(client, description="x" * 256).status_code == 200
    assert error_of(change(client, description="x" * 257))["code"] == 100


@pytest.mark.parametrize("product", [None, "signal"])
def test_the_messaging_product_is_needed(start, product) -> None:
    client = start()

    answer = change(client, about="x", messaging_product=product)

    assert error_of(answer)["code"] == 100
    assert "messaging_product" in error_of(answer)["message"]


def test_a_profile_needs_a_registered_number(start) -> None:
    client = start()
    client.simulator.world.set_registered(number(client), False)

    for answer in (change(client, about="x"), client.get(f"{number(client)}/whatsapp_business_profile")):
        assert error_of(answer)["code"] == 133010


@pytest.mark.parametrize(
    ("content", "kind"),
    [(png(192, 192), "image/png"), (jpeg(640, 640), "image/jpeg"), (jpeg(640, 640, before=9000), "image/jpg")],
)
def test_a_photo_is_set_by_the_handle_of_an_upload(start, content, kind) -> None:
    client = start()

    answer = change(client, profile_picture_handle=uploaded(client, content, kind=kind))

    assert answer.json() == {"success": True}
    assert profile(client)["profile_picture_url"].startswith("https://pps.whatsapp.net/")
    (effect,) = client.simulator.judge.effects.all(kind="photo_set")
    assert effect.subject == number(client)
    assert client.simulator.judge.by_capability() == {"uploads": 2, "profile": 2}


def test_another_photo_is_another_url_and_the_same_one_is_nothing_to_do(start) -> None:
    client = start()
    first = uploaded(client, png(192, 192))
    change(client, profile_picture_handle=first)
    before = profile(client)["profile_picture_url"]

    change(client, profile_picture_handle=first)
    same = profile(client)["profile_picture_url"]
    change(client, profile_picture_handle=uploaded(client, png(300, 300)))

    assert same == before != profile(client)["profile_picture_url"]
    assert client.simulator.judge.wasted() == {"nothing to do": 1}
    assert len(client.simulator.judge.effects.all(kind="photo_set")) == 2


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (png(640, 641), "image/png"),
        (png(191, 191), "image/png"),
        (jpeg(641, 640), "image/jpeg"),
        (png(640, 640, size=5001), "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"%PDF-1.7", "image/jpeg"),
        (png(640, 640), "application/pdf"),
    ],
)
def test_a_photo_must_be_a_square_image_that_is_not_too_large(start, content, kind) -> None:
    client = start(photo_most=5000)

    answer = change(client, profile_picture_handle=uploaded(client, content, kind=kind))

    assert error_of(answer)["code"] == 100
    assert "profile_picture_url" not in profile(client)


def test_a_photo_is_taken_unseen_by_a_knob(start) -> None:
    client = start(photo_checked=False)

    assert change(client, profile_picture_handle=uploaded(client, b"any", kind="image/png")).status_code == 200


def test_an_image_whose_size_cannot_be_told_is_taken(start) -> None:
    client = start()

    content = b"\xff\xd8\xff\xe1\xff\xff" + bytes(100)

    assert change(client, profile_picture_handle=uploaded(client, content)).status_code == 200


@pytest.mark.parametrize("handle", ["", "4::x", "4::aW1hZ2UvcG5n:ARxyz:e:1:2:3:ARff", "\u0000", "9" * 3000])
def test_an_unknown_handle_is_error_100(start, handle) -> None:
    assert error_of(change(start(), profile_picture_handle=handle))["code"] == 100


def test_a_handle_ends(start) -> None:
    client = start(handle_ttl=600.0)
    handle = uploaded(client, png(192, 192))

    client.simulator.advance(599)
    in_time = change(client, profile_picture_handle=handle)
    client.simulator.advance(1)
    too_late = change(client, profile_picture_handle=handle)

    assert in_time.status_code == 200
    assert error_of(too_late)["code"] == 100
    assert "expired" in error_of(too_late)["message"]


def test_a_handle_is_its_apps_alone(start) -> None:
    client = start(apps=2)
    other = Client(client.simulator, app=1)
    handle = uploaded(client, png(192, 192))

    answer = change(other, profile_picture_handle=handle)

    assert error_of(answer)["code"] == 100
    assert "another app" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("scopes", "passes"),
    [
        (("whatsapp_business_messaging",), True),
        (("whatsapp_business_management",), True),
        (("business_management",), False),
    ],
)
def test_a_profile_needs_the_right_to_manage_or_to_message(start, scopes, passes) -> None:
    client = start()
    world, app = client.simulator.world, client.simulator.app
    world.grant(replace(world.tokens[app.token], text="EAAother", scopes=scopes))
    client.session.headers["Authorization"] = "Bearer EAAother"

    for answer in (change(client, about="x"), client.get(f"{number(client)}/whatsapp_business_profile")):
        assert answer.status_code == (200 if passes else 403)
        if not passes:
            assert error_of(answer)["code"] == 200


def test_an_unknown_field_is_error_100(start) -> None:
    client = start()

    answer = client.get(f"{number(client)}/whatsapp_business_profile", fields="colour")

    assert error_of(answer)["code"] == 100


def test_a_stale_read_shows_the_profile_as_it_was(start) -> None:
    client = start()
    client.simulator.advance(60)
    change(client, about="Shoes")
    client.simulator.faults.add(path="profile", method="GET", stale=30, times=1)

    assert "about" not in profile(client)
    assert profile(client)["about"] == "Shoes"


def test_profiles_count_for_the_app_and_not_for_the_waba(start) -> None:
    client = start(waba_limit_active=1)

    for _ in range(3):
        assert change(client, about="Shoes").status_code == 200

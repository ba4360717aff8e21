"""A file is what its bytes say. An image obeys its rules, is made to do so on request, or is refused."""

import io
import struct
import zlib
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.pictures import encoded, picture
from wabajobs.errors import MediaRefused
from wabajobs.media import (
    HEADER_DOCUMENT,
    HEADER_IMAGE,
    HEADER_VIDEO,
    PROFILE_PHOTO,
    Rules,
    fit,
    images,
    sniffed,
)

MP4 = b"\0\0\0\x18ftypmp42" + bytes(100)
PDF = b"%PDF-1.7\n" + bytes(100)
MIB = 1024 * 1024


def refused(content: bytes, rules: Rules, words: str, *, convert: bool = False) -> None:
    with pytest.raises(MediaRefused, match=words):
        fit(content, rules, convert=convert)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def brightness(image: Image.Image, x: float, y: float) -> int:
    """Return how bright it is at a place, each side being 1."""
    pixel = image.convert("L").getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))
    assert isinstance(pixel, int)
    return pixel


def a_png(width: int, height: int, *, pixels: bytes = b"") -> bytes:
    """Return a PNG that says that it has these sides, whatever is in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("content", "rules", "type_"),
    [
        (picture(), PROFILE_PHOTO, "image/jpeg"),
        (picture(192, 192), PROFILE_PHOTO, "image/jpeg"),
        (picture(format_="PNG", mode="RGBA"), PROFILE_PHOTO, "image/png"),
        (picture(1200, 300), HEADER_IMAGE, "image/jpeg"),
        (picture(10, 10, format_="PNG", mode="L"), HEADER_IMAGE, "image/png"),
        (MP4, HEADER_VIDEO, "video/mp4"),
        (PDF, HEADER_DOCUMENT, "application/pdf"),
    ],
)
def test_what_obeys_its_rules_stays_as_it_is(content: bytes, rules: Rules, type_: str) -> None:
    fitted = fit(content, rules)

    assert (fitted.content, fitted.type) == (content, type_)


@pytest.mark.parametrize(
    ("content", "rules", "words"),
    [
        (b"", PROFILE_PHOTO, "it is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", PROFILE_PHOTO, "no file of a known type"),
        (b"<html>not found</html>", HEADER_DOCUMENT, "no file of a known type; a header document is applic"),
        (picture(640, 480), PROFILE_PHOTO, "must be square, not 640 x 480; convert: true crops it"),
        (picture(191, 191), PROFILE_PHOTO, "192 pixels a side or more, not 191 x 191"),
        (
            picture(format_="WEBP"),
            PROFILE_PHOTO,
            "it is image/webp, whatever its name; a profile photo is image/jp",
        ),
        (picture(format_="GIF"), HEADER_IMAGE, "it is image/gif"),
        (picture()[:-4000], PROFILE_PHOTO, "damaged"),
        (picture(format_="PNG")[:1500], PROFILE_PHOTO, "damaged"),
        (picture()[:10], PROFILE_PHOTO, "no image that can be read"),
        (PDF, PROFILE_PHOTO, "it is application/pdf"),
        (picture(), HEADER_DOCUMENT, "it is image/jpeg"),
        (picture(), HEADER_VIDEO, "it is image/jpeg"),
        (MP4.replace(b"mp42", b"3gp4"), HEADER_VIDEO, "it is video/3gpp"),
        (MP4.replace(b"mp42", b"qt  "), HEADER_VIDEO, "it is video/quicktime"),
        (MP4.replace(b"mp42", b"heic"), HEADER_IMAGE, "it is image/heic"),
        (picture() + bytes(5 * MIB), PROFILE_PHOTO, "more than the 5242880"),
        (MP4 + bytes(16 * MIB), HEADER_VIDEO, "more than the 16777216"),
        (PDF + bytes(100 * MIB), HEADER_DOCUMENT, "more than the 104857600"),
    ],
)
def test_what_does_not_is_refused_with_the_rule(content: bytes, rules: Rules, words: str) -> None:
    refused(content, rules, words)


@pytest.mark.parametrize("convert", [False, True])
def test_a_bomb_is_refused_before_it_is_decoded(convert: bool) -> None:
    refused(a_png(60_000, 60_000), PROFILE_PHOTO, "more than 50000000 pixels", convert=convert)
    refused(a_png(8000, 8000), PROFILE_PHOTO, "8000 x 8000 pixels", convert=convert)
    refused(a_png(2**31 - 1, 2**31 - 1), PROFILE_PHOTO, "image", convert=convert)
    many_scans = picture() + b"\xff\xda" * 101
    refused(many_scans, PROFILE_PHOTO, "more than 100 scans", convert=convert)


@pytest.mark.parametrize(
    ("given", "sides"),
    [
        (picture(1200, 800), (640, 640)),
        (picture(300, 4000), (300, 300)),
        (picture(192, 193), (192, 192)),
        (picture(5000, 5000), (640, 640)),
        (picture(1000, 700, format_="WEBP"), (640, 640)),
        (picture(1000, 700, mode="L"), (640, 640)),
        (picture(1000, 700, mode="CMYK"), (640, 640)),
    ],
)
def test_a_photo_is_made_square_and_not_too_large(given: bytes, sides: tuple[int, int]) -> None:
    fitted = fit(given, PROFILE_PHOTO, convert=True)

    assert fitted.type == "image/jpeg"
    assert opened(fitted.content).size == sides
    assert fit(fitted.content, PROFILE_PHOTO) == fitted, "what comes out obeys the rules"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_a_png_stays_one(mode: str) -> None:
    image = Image.linear_gradient("L").rotate(90).resize((500, 400)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.frombytes("I;16", image.size, b"".join(bytes((0, one)) for one in image.tobytes()))
    fitted = fit(encoded(image, "PNG"), PROFILE_PHOTO, convert=True)

    assert fitted.type == "image/png"
    result = opened(fitted.content)
    assert (result.size, result.mode) == ((400, 400), "RGB")
    if mode != "1":
        assert brightness(result, 0, 0.5) < 70 < 180 < brightness(result, 1, 0.5)


def test_what_can_be_seen_through_becomes_white() -> None:
    clear = encoded(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "PNG")

    assert brightness(opened(fit(clear, PROFILE_PHOTO, convert=True).content), 0.5, 0.5) == 255


def test_it_is_turned_as_its_exif_says_and_has_no_metadata_then() -> None:
    image = Image.linear_gradient("L").resize((600, 600))  # from black above to white below
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees: what was above comes right
    exif[0x010E] = "taken at home"
    given = encoded(image, "JPEG", exif=exif, comment=b"taken at home", icc_profile=b"taken at home")
    assert given.count(b"taken at home") == 3

    result = fit(given, PROFILE_PHOTO, convert=True)

    assert brightness(opened(result.content), 1, 0.5) < 10 < 245 < brightness(opened(result.content), 0, 0.5)
    assert b"taken at home" not in result.content
    assert not opened(result.content).getexif()


def test_damaged_exif_is_no_reason_to_refuse_a_photo() -> None:
    given = encoded(Image.new("RGB", (300, 300)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")

    assert fit(given, PROFILE_PHOTO, convert=True).type == "image/jpeg"


def test_what_is_too_small_is_not_blown_up() -> None:
    refused(picture(1000, 191), PROFILE_PHOTO, "192 pixels a side or more, not 191 x 191", convert=True)


def test_a_large_image_is_made_small_enough() -> None:
    noise = encoded(Image.frombytes("RGB", (1400, 1400), Random(1).randbytes(1400 * 1400 * 3)), "PNG")
    assert len(noise) > 5 * MIB
    refused(noise, HEADER_IMAGE, "more than the 5242880")

    fitted = fit(noise, HEADER_IMAGE, convert=True)

    assert len(fitted.content) <= 5 * MIB
    assert fitted.type == "image/jpeg"


def test_a_document_is_never_converted() -> None:
    refused(picture(), HEADER_DOCUMENT, "it is image/jpeg", convert=True)
    assert fit(PDF, HEADER_DOCUMENT, convert=True).content == PDF


SEEDS = [picture(200, 200, format_=one) for one in images.FORMATS.values()]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_hostile_bytes_are_fitted_or_refused_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS), label="seed")[:])
    for _ in range(data.draw(st.integers(1, 8), label="changes")):
        place = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["change", "cut", "insert", "repeat"])):
            case "change":
                content[place : place + 4] = data.draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del content[place:]
            case "insert":
                content[place:place] = data.draw(st.binary(max_size=20))
            case "repeat":
                content[place:place] = content[place : place + 200]
    for convert in (False, True):
        try:
            fitted = fit(bytes(content), PROFILE_PHOTO, convert=convert)
        except MediaRefused as told:
            assert str(told)
        else:
            assert opened(fitted.content).width == opened(fitted.content).height >= 192
            assert fitted.type == sniffed(fitted.content)


@given(st.binary(max_size=100))
def test_any_bytes_have_a_type_or_none(content: bytes) -> None:
    type_ = sniffed(content)
    for rules in (PROFILE_PHOTO, HEADER_IMAGE, HEADER_VIDEO, HEADER_DOCUMENT):
        if type_ not in rules.most:
            with pytest.raises(MediaRefused):
                fit(content, rules)

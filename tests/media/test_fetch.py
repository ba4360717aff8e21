"""A URL from a partner leads to what it says, or to a sentence; never into our network, and never for ever."""

import datetime as dt
import gzip
import socket
import ssl
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.web import Web, raw, web, whole
from wabajobs.errors import MediaRefused, MediaUnavailable
from wabajobs.media import fetch
from wabajobs.media.fetch import checked_url
from wabajobs.settings import MediaSettings

HERE = MediaSettings(allow=("127.0.0.1",))
"""This machine alone may be asked."""
STRICT = MediaSettings()
NAME = "photos.example"
MOST = 1_000_000


@pytest.fixture
def served() -> Iterator[Web]:
    with web() as running:
        yield running


def get(url: str, *, most: int = MOST, settings: MediaSettings = HERE, **more: object) -> bytes:
    return fetch(url, most=most, settings=settings, **more)  # type: ignore[arg-type]


def leads_to(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda host, port: addresses


def unallowed(url: str, words: str, **more: object) -> None:
    with pytest.raises(MediaRefused, match=words):
        get(url, **more)  # type: ignore[arg-type]


# ── what is fetched ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_fetched_as_it_is(served: Web) -> None:
    content = bytes(range(256)) * 1000

    assert get(served.serve("/a.jpg?size=large", content), most=len(content)) == content
    assert "GET /a.jpg?size=large HTTP/1.1" in served.asked[0]
    assert f"Host: 127.0.0.1:{served.port}" in served.asked[0]


def test_nothing_of_the_environment_goes_along(
    served: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login anna password hush")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    served.answers["/"] = whole(b"", status=302, Location="/b", Set_Cookie="a=b")
    served.serve("/b", b"it")

    assert get(served.url()) == b"it"
    for head in served.asked:
        assert "cookie" not in head.lower()
        assert "authorization" not in head.lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_it_is_led_on(served: Web, status: int) -> None:
    served.lead("/a", "b/c?d", status)
    served.lead("/b/c?d", served.url("/e"), status)
    served.serve("/e", b"there")

    assert get(served.url("/a")) == b"there"


def test_letters_of_all_languages_go_quoted(served: Web) -> None:
    served.serve("/caf%C3%A9?q=%C3%BC%20", b"it")

    assert get(served.url("/café?q=ü%20")) == b"it"


def test_what_comes_compressed_is_opened(served: Web) -> None:
    content = b"a photo" * 1000
    served.serve("/gzip", gzip.compress(content), Content_Encoding="gzip")
    served.serve("/deflate", zlib.compress(content), Content_Encoding="deflate")

    assert get(served.url("/gzip")) == get(served.url("/deflate")) == content
    assert all("Accept-Encoding: identity" in head for head in served.asked)


def test_a_body_in_chunks_and_one_that_ends_with_the_connection(served: Web) -> None:
    served.answers["/chunks"] = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    )
    served.answers["/end"] = raw(b"HTTP/1.0 200 OK\r\n\r\nabcde")

    assert get(served.url("/chunks")) == get(served.url("/end")) == b"abcde"


# ── where it is not fetched from ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://photos.example/a", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("gopher://photos.example/", "must begin with https"),
        ("//photos.example/a", "must begin with https"),
        ("https:///a", "name a host"),
        ("https://anna@photos.example/", "no user or password"),
        ("https://anna:hush@photos.example/", "no user or password"),
        ("https://@photos.example/", "no user or password"),
        ("https://photos.example\\@10.0.0.1/", "backslash"),
        ("https://photos.example/a b", "space"),
        ("https://photos.example/\r\nHost: x", "control"),
        ("https://photos.example\t/", "control"),
        ("https://photos.example:port/", "malformed"),
        ("https://photos.example:99999/", "malformed"),
        ("https://[::1/", "malformed"),
        ("https://[fe80::1%25eth0]/", "zone"),
        ("https://" + "a" * 70 + "é.example/", "malformed"),
    ],
)
def test_a_url_that_is_none_is_refused_before_anybody_is_asked(url: str, words: str) -> None:
    unallowed(url, words, resolve=lambda host, port: pytest.fail("it was resolved"))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "①②⑦.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ],
)
def test_no_way_to_write_it_leads_inside(served: Web, host: str) -> None:
    unallowed(served.url(host=host), "nothing is fetched from there", settings=STRICT)
    assert served.connections == 0


def test_all_addresses_of_a_name_are_checked_and_not_the_first_alone(served: Web) -> None:
    for addresses in [("127.0.0.1", "10.0.0.1"), ("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "::1")]:
        unallowed(served.url(host=NAME), "nothing is fetched", resolve=leads_to(*addresses))
    assert served.connections == 0


def test_the_connection_goes_to_the_address_that_was_checked(served: Web) -> None:
    """A name that leads elsewhere when it is asked again (DNS rebinding) is not asked again."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    served.serve("/a", b"it")

    assert get(served.url("/a", host=NAME), resolve=rebinding) == b"it"
    assert asked == [NAME]
    assert f"Host: {NAME}:{served.port}" in served.asked[0]


def test_a_redirect_is_resolved_and_checked_anew(served: Web) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    served.lead("/a", "/b")

    unallowed(served.url("/a", host=NAME), "link-local", resolve=rebinding)
    assert asked == [NAME, NAME]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("http://10.0.0.1/", "private"),
        ("http://[::ffff:10.0.0.1]/", "not public"),
        ("//192.168.0.1/", "private"),
        ("file:///etc/passwd", "must begin with"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "must begin with"),
        ("http://anna:hush@127.0.0.1/", "no user or password"),
        ("http://127.0.0.1\\@10.0.0.1/", "backslash"),
        ("http://[::1", "malformed"),
        ("http://127.0.0.1:x/", "malformed"),
    ],
)
def test_a_redirect_leads_nowhere_that_a_url_may_not(served: Web, to: str, words: str) -> None:
    unallowed(served.lead("/a", to), words)


def test_redirects_end(served: Web) -> None:
    for number in range(6):
        served.lead(f"/{number}", f"/{number + 1}")
    served.serve("/6", b"it")

    assert get(served.url("/1")) == b"it"
    unallowed(served.url("/0"), "more than 5 times")
    unallowed(served.lead("/loop", "/loop"), "more than 5 times")
    served.answers["/nowhere"] = raw(b"HTTP/1.1 302 Found\r\n\r\n")
    unallowed(served.url("/nowhere"), "leads on to nowhere")


def test_ports_are_those_of_the_web_unless_settings_say_otherwise(served: Web) -> None:
    unallowed(f"http://{NAME}:6379/", "only these are fetched from: 80, 443", resolve=leads_to("8.8.8.8"))
    other = MediaSettings(ports=(80, 443, 1))
    with pytest.raises(MediaUnavailable):  # nobody is there, but one is asked
        get(
            "http://photos.example:1/",
            settings=other.model_copy(update={"allow": ("127.0.0.0/8",)}),
            resolve=leads_to("127.0.0.1"),
        )


def test_an_exception_by_name(served: Web) -> None:
    served.serve("/a", b"it")
    named = MediaSettings(allow=(NAME,))

    assert get(served.url("/a", host=NAME), settings=named, resolve=leads_to("127.0.0.1")) == b"it"
    unallowed(served.url("/a", host=f"a.{NAME}"), "loopback", settings=named, resolve=leads_to("127.0.0.1"))


# ── how much, and for how long ───────────────────────────────────────────────────────────────────────────────


def test_what_is_too_large_is_not_read_to_its_end(served: Web) -> None:
    served.answers["/said"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n")
    unallowed(served.url("/said"), "more than the 1000000 bytes")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    endless = served.drip("/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)
    unallowed(endless, "more than the 1000000 bytes")
    unallowed(served.drip("/raw", b"HTTP/1.1 200 OK\r\n\r\n", chunk), "more than the 1000000 bytes")


def test_a_bomb_does_not_go_off(served: Web) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < MOST
    served.serve("/a", bomb, Content_Encoding="gzip")

    unallowed(served.url("/a"), "more than the 1000000 bytes")
    served.serve("/b", b"x", Content_Encoding="gzip, gzip")
    unallowed(served.url("/b"), "encoded as 'gzip, gzip'")


def test_a_size_that_is_a_lie(served: Web) -> None:
    served.answers["/less"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef")
    assert get(served.url("/less")) == b"abc"
    lies = {
        "/more": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabcdef",
        "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        "/gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"abc" * 99)[:-9],
        "/garbage": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nabc",
        "/none": b"",
        "/no-http": b"SSH-2.0-OpenSSH\r\n",
        "/headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        "/line": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
    }
    for path, said in lies.items():
        served.answers[path] = raw(said)
        with pytest.raises(MediaUnavailable):
            get(served.url(path))


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"b"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"c"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    ],
)
def test_dripping_does_not_prolong_it(served: Web, first: bytes, again: bytes) -> None:
    hurried = HERE.model_copy(update={"fetch_seconds": 0.4})

    with pytest.raises(MediaUnavailable, match=r"within 0\.4 s"):
        get(served.drip("/", first, again), settings=hurried)


def test_redirects_share_the_time(served: Web) -> None:
    def slowly(connection: socket.socket) -> None:
        served.closing.wait(0.25)
        raw(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")(connection)

    served.answers["/"] = slowly
    with pytest.raises(MediaUnavailable, match="within"):
        get(served.url("/"), settings=HERE.model_copy(update={"fetch_seconds": 0.6}))


def test_a_name_that_nobody_resolves_in_time() -> None:
    over = threading.Event()

    def never(host: str, port: int) -> Sequence[str]:
        over.wait(60)
        return []

    with pytest.raises(MediaUnavailable, match="cannot be resolved now"):
        get(f"http://{NAME}/", settings=HERE.model_copy(update={"fetch_seconds": 0.2}), resolve=never)
    over.set()


@pytest.mark.parametrize(
    ("error", "kind"), [(socket.EAI_AGAIN, MediaUnavailable), (socket.EAI_NONAME, MediaRefused)]
)
def test_a_name_that_does_not_resolve(error: int, kind: type[Exception]) -> None:
    def fails(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(error, "no")

    with pytest.raises(kind, match=NAME):
        get(f"http://{NAME}/", resolve=fails)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_what_may_pass_is_told_apart(served: Web, status: int) -> None:
    served.answers["/"] = whole(b"", status=status)
    with pytest.raises(MediaUnavailable, match=f"HTTP {status}"):
        get(served.url())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 206, 304])
def test_from_what_will_not_pass(served: Web, status: int) -> None:
    served.answers["/"] = whole(b"", status=status)
    unallowed(served.url(), f"HTTP {status}")


def test_another_address_is_tried_when_one_does_not_answer(served: Web) -> None:
    served.serve("/a", b"it")
    here = MediaSettings(allow=("127.0.0.0/8", "::1"))

    assert get(served.url("/a", host=NAME), settings=here, resolve=leads_to("127.0.0.9", "127.0.0.1")) == b"it"


def test_no_sentence_tells_what_the_url_has_behind_its_host(served: Web) -> None:
    served.answers["/secret?sig=hush"] = raw(b"HTTP/1.1 hush")
    with pytest.raises(MediaUnavailable) as told:
        get(served.url("/secret?sig=hush"))
    assert "hush" not in str(told.value)
    assert "secret" not in str(told.value)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://", "https://a.example", "http://[", "//"]))
def test_any_text_is_a_url_or_refused(text: str, before: str) -> None:
    try:
        url = checked_url(before + text)
    except MediaRefused:
        return
    assert url.scheme in ("http", "https")
    assert url.host
    assert url.target.isascii()
    assert url.target.isprintable()
    assert url.target.startswith("/")


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"a" * 100),
    b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\nx",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc",
]
INSERTED = [
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\xff",
    b"-1\r\n",
    b"ffffffffffffffff\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Location: http://[::1\r\n",
    b"Location: \xff\xfe\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Transfer-Encoding: chunked\r\n",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_answered_it_is_a_file_or_a_sentence(served: Web, data: st.DataObject) -> None:
    answer = bytearray(data.draw(st.sampled_from(ANSWERS)))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(answer)))
        answer[place : place + data.draw(st.integers(0, 9))] = data.draw(st.sampled_from(INSERTED))
    served.answers = defaultdict(lambda: raw(bytes(answer)))
    try:
        assert len(get(served.url("/a"))) < 1000
    except (MediaRefused, MediaUnavailable) as told:
        assert str(told).isprintable()


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────


def certificate(folder: Path, name: str) -> Path:
    """Write a certificate of one's own for a name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def test_the_name_is_verified_although_the_address_is_pinned(tmp_path: Path) -> None:
    file = certificate(tmp_path, NAME)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    named: list[str | None] = []
    server.sni_callback = lambda sock, name, context: named.append(name)
    trusting = ssl.create_default_context(cafile=str(file))
    with web(tls=server) as served:
        served.serve("/a", b"it")
        served.lead("/down", f"http://{NAME}:{served.port}/a")
        url, here = served.url("/a", host=NAME), leads_to("127.0.0.1")

        assert get(url, resolve=here, tls=trusting) == b"it"
        assert named == [NAME]
        unallowed(url, "certificate", resolve=here)
        unallowed(served.url("/a", host="other.example"), "certificate", resolve=here, tls=trusting)
        down = served.url("/down", host=NAME)
        unallowed(down, "from https to http", resolve=here, tls=trusting)
    assert len(served.asked) == 2


def test_a_handshake_that_never_ends() -> None:
    with web() as served:
        served.drip("/", b"", b"")
        hurried = HERE.model_copy(update={"fetch_seconds": 0.3})
        with pytest.raises(MediaUnavailable):
            get(served.url("/").replace("http:", "https:"), settings=hurried)

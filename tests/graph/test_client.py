import email
import gzip
import hashlib
import hmac
import json
import logging
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from wabajobs import errors
from wabajobs.graph import Credentials, GraphClient, GraphRequest, Usage
from wabajobs.graph import client as client_module
from wabajobs.secret import Secret
from wabajobs.settings import GraphSettings

from .conftest import APP_SECRET, TOKEN, answer, client_of

PAGE = GraphRequest(app="1", path="102/message_templates", waba="102", params={"limit": 100, "after": None})


def proof(token=TOKEN):
    return hmac.new(APP_SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()


def query(seen):
    return parse_qs(urlsplit(seen.target).query)


def test_a_call_carries_version_token_proof_and_our_name(server, client):
    exchange = client.exchange(PAGE)

    (seen,) = server.requests
    assert exchange.result() == {}
    assert urlsplit(seen.target).path == "/v24.0/102/message_templates"
    assert query(seen) == {"limit": ["100"], "appsecret_proof": [proof()]}
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["User-Agent"].startswith("wabajobs/")
    assert TOKEN not in seen.target


def test_without_an_app_secret_there_is_no_proof(server):
    client_of(server.url, app_secret=None).exchange(PAGE)

    assert query(server.requests[0]) == {"limit": ["100"]}


def test_a_json_body_reveals_its_secrets_on_the_wire_only(server, client):
    request = GraphRequest(
        app="1",
        method="POST",
        path="55/register",
        json={"messaging_product": "whatsapp", "pin": Secret("731995")},
    )

    client.exchange(request)

    assert json.loads(server.requests[0].body) == {"messaging_product": "whatsapp", "pin": "731995"}
    assert server.requests[0].headers["Content-Type"] == "application/json"
    assert "731995" not in repr(request)


def test_an_upload_sends_bytes_to_its_session_in_the_oauth_scheme(server, client):
    request = GraphRequest(
        app="1",
        method="POST",
        path="upload:MTphdHRh==?sig=ARZ1",
        data=b"\x89PNG",
        headers={"file_offset": "0"},
        auth="OAuth",
        proof=False,
    )

    client.exchange(request)

    (seen,) = server.requests
    assert seen.target == "/v24.0/upload:MTphdHRh==?sig=ARZ1"
    assert (seen.body, seen.headers["file_offset"]) == (b"\x89PNG", "0")
    assert seen.headers["Authorization"] == f"OAuth {TOKEN}"


def test_a_business_token_takes_the_place_of_the_apps_with_a_proof_of_its_own(server, client):
    client.exchange(GraphRequest(app="1", path="102", token=Secret("EAAbusiness")))

    assert server.requests[0].headers["Authorization"] == "Bearer EAAbusiness"
    assert query(server.requests[0])["appsecret_proof"] == [proof("EAAbusiness")]


def test_the_exchange_of_a_code_goes_without_a_token(server, client):
    client.exchange(
        GraphRequest(app="1", path="oauth/access_token", params={"code": Secret("AQD-1")}, auth="none")
    )

    assert "Authorization" not in server.requests[0].headers
    assert query(server.requests[0]) == {"code": ["AQD-1"]}


def test_lists_and_objects_in_the_query_are_json(server, client):
    filtering = [{"field": "account_mode", "operator": "EQUAL", "value": "LIVE"}]

    client.exchange(GraphRequest(app="1", path="102", params={"filtering": filtering, "hsm": True}))

    assert json.loads(query(server.requests[0])["filtering"][0]) == filtering
    assert query(server.requests[0])["hsm"] == ["true"]


def test_netrc_does_not_replace_our_token(server, client, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password person\ndefault login other password person\n")
    monkeypatch.setenv("NETRC", str(netrc))

    client.exchange(PAGE)

    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert client_of(server.url).exchange(PAGE).error is None


def test_cookies_are_not_kept(server, client):
    server.says(200, b"{}", {"Set-Cookie": "who=you; Path=/"})

    client.exchange(PAGE)
    client.exchange(PAGE)

    assert "Cookie" not in server.requests[1].headers


def test_a_redirect_is_not_followed(server, client):
    server.says(302, b"", {"Location": f"{server.url}/elsewhere"})

    exchange = client.exchange(PAGE)

    assert isinstance(exchange.error, errors.GraphError)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"data": []}', None),
        (400, b'{"error": {"code": 80008}}', errors.WabaLimitReached),
        (200, b'{"error": {"code": 4}}', errors.AppLimitReached),
        (200, b"<html>", errors.Transient),
        (200, b"[1]", errors.Transient),
        (502, b"<html>", errors.Transient),
    ],
)
def test_usage_comes_with_answers_and_with_errors(server, client, status, body, expected):
    headers = {
        "X-App-Usage": '{"call_count": 28}',
        "X-Business-Use-Case-Usage": '{"102": [{"type": "whatsapp_business_management", "call_count": 9,'
        ' "estimated_time_to_regain_access": 2}]}',
    }
    server.says(status, body, headers)

    exchange = client.exchange(PAGE)

    assert exchange.usage == Usage(app_percent=28, waba_percent=9, regain=timedelta(minutes=2))
    assert exchange.status == status
    assert type(exchange.error) is (expected or type(None))


def test_an_error_can_be_raised_where_it_is_wanted(server, client):
    server.says(400, b'{"error": {"code": 4, "message": "(#4) Application request limit reached"}}')

    with pytest.raises(errors.AppLimitReached, match="request limit"):
        client.exchange(PAGE).result()


def drip_headers(server, handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(server, handler)


def drip_body(server, handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    drip(server, handler)


def drip_chunks(server, handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1")
    drip(server, handler)


def drip(server, handler):
    while not server.released.wait(0.03):
        handler.wfile.write(b"0")
        handler.wfile.flush()


def stay_silent(server, handler):
    server.released.wait(10)


@pytest.mark.parametrize("behaviour", [stay_silent, drip_headers, drip_body, drip_chunks])
def test_an_exchange_ends_in_time_whatever_the_server_does(server, behaviour):
    server.respond = lambda handler: behaviour(server, handler)
    slow = client_of(server.url, read_seconds=0.3)
    begun = time.monotonic()

    exchange = slow.exchange(PAGE)

    assert time.monotonic() - begun < 2 * slow.longest_exchange.total_seconds()
    assert type(exchange.error) is errors.Transient
    assert str(exchange.error) == "127.0.0.1 did not answer within 0.5 s"


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def hang_up(handler):
    handler.close_connection = True


def stop_midway(handler):
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data": [')
    handler.close_connection = True


def bad_chunk(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-a-number\r\n")
    handler.close_connection = True


def bad_gzip(handler):
    answer(handler, 200, b"certainly not gzip", {"Content-Encoding": "gzip"})


def not_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize("behaviour", [reset, hang_up, stop_midway, bad_chunk, bad_gzip, not_http])
def test_a_broken_answer_is_passing_trouble(server, client, behaviour):
    server.respond = behaviour

    exchange = client.exchange(PAGE)

    assert type(exchange.error) is errors.Transient
    assert "127.0.0.1" in str(exchange.error)
    assert len(server.requests) == 1


def test_nobody_there_is_passing_trouble():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    exchange = client_of(f"http://127.0.0.1:{port}").exchange(PAGE)

    assert str(exchange.error) == "the connection to 127.0.0.1 failed or broke (Connection refused)"
    assert exchange.usage == Usage()


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_beyond_the_bound_is_not_read_to_its_end(server, client, packed, monkeypatch):
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1024 * 1024)
    body = b'{"data": "' + b" " * 3_000_000 + b'"}'
    if packed:
        server.says(200, gzip.compress(body), {"Content-Encoding": "gzip"})
    else:
        server.says(200, body)

    exchange = client.exchange(PAGE)

    assert str(exchange.error) == "127.0.0.1 answered with more than 1 MiB"


def test_connections_are_kept_and_shared_by_threads(server, client):
    ports = set()
    both = threading.Barrier(4)

    def remember(handler):
        ports.add(handler.client_address[1])
        answer(handler, 200, json.dumps({"path": handler.path.partition("?")[0]}).encode())

    def call(number):
        if number < 4:
            both.wait(5)
        return client.exchange(GraphRequest(app="1", path=f"{number}/phone_numbers")).result()["path"]

    server.respond = remember
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(call, range(60)))

    assert paths == [f"/v24.0/{number}/phone_numbers" for number in range(60)]
    assert len(ports) <= 4


LEAKS = [
    lambda server, handler: answer(
        handler,
        400,
        json.dumps({"error": {"code": 190, "message": f"Malformed access token {TOKEN}"}}).encode(),
    ),
    lambda server, handler: reset(handler),
    lambda server, handler: hang_up(handler),
    lambda server, handler: not_http(handler),
    drip_body,
    lambda server, handler: answer(handler, 302, b"", {"Location": f"http://x/?access_token={TOKEN}"}),
]


@pytest.mark.parametrize("behaviour", LEAKS)
def test_no_secret_is_in_an_error_or_in_the_log(server, caplog, behaviour):
    server.respond = lambda handler: behaviour(server, handler)
    hasty = client_of(server.url, read_seconds=0.2)

    with caplog.at_level(logging.DEBUG):
        error = hasty.exchange(
            GraphRequest(app="1", path="debug_token", params={"input_token": Secret("EAAcustomer1")})
        ).error

    assert error is not None
    shown = " ".join([str(error), repr(error), str(error.details), str(error.__cause__), caplog.text])
    shown += " ".join(str(record.__dict__) for record in caplog.records)
    assert any(record.name.startswith("urllib3") for record in caplog.records)
    for secret in (TOKEN, APP_SECRET, "EAAcustomer1"):
        assert secret not in shown
    assert "input_token" not in shown


def test_a_malformed_token_is_named_by_its_app_and_not_shown(server):
    for token in ("", "two words", "broken\n", "naïve"):
        client = GraphClient(
            base_url=server.url,
            version="v24.0",
            settings=GraphSettings(),
            credentials=lambda app, token=token: Credentials(token=Secret(token)),
        )
        with pytest.raises(errors.ConfigurationError, match="token of app 1") as caught:
            client.exchange(PAGE)
        assert not token or token.strip() not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("path", ["", "../me", "102/../../x", "102//x", "102?access_token=x", "./x"])
def test_an_id_from_outside_cannot_lead_elsewhere(server, client, path):
    with pytest.raises(errors.InvalidRequest):
        client.exchange(GraphRequest(app="1", path=path))

    assert server.requests == []


def test_odd_characters_in_a_path_are_quoted(server, client):
    client.exchange(GraphRequest(app="1", path="10 2#a@b/x"))

    assert urlsplit(server.requests[0].target).path == "/v24.0/10%202%23a%40b/x"


@pytest.mark.parametrize(
    "url", ["graph.facebook.com", "ftp://x", "https://", "https://a:b@host", "https://h/?a=1"]
)
def test_an_address_that_cannot_be_is_refused_at_once(url):
    with pytest.raises(errors.ConfigurationError, match="graph_url"):
        client_of(url)


def test_a_file_goes_in_a_form_with_its_fields_beside_it(server, client):
    content = '{"version": "7.1", "name": "Grüße"}'.encode()

    client.exchange(
        GraphRequest(
            app="1",
            method="POST",
            path="10/assets",
            form={"name": "flow.json", "asset_type": Secret("FLOW_JSON")},
            file=("flow.json", "application/json", content),
        )
    )

    [seen] = server.requests
    message = email.message_from_bytes(f"Content-Type: {seen.headers['Content-Type']}\n\n".encode() + seen.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
    assert list(parts) == ["name", "asset_type", "file"]
    assert parts["name"].get_payload() == "flow.json"
    assert parts["asset_type"].get_payload() == "FLOW_JSON"
    assert (parts["file"].get_filename(), parts["file"].get_content_type()) == ("flow.json", "application/json")
    assert parts["file"].get_payload(decode=True) == content


def test_no_secret_of_a_form_is_in_an_error(server, client):
    server.says(400, json.dumps({"error": {"code": 100, "message": "Bad pin 424242"}}).encode())

    error = client.exchange(
        GraphRequest(
            app="1", method="POST", path="10/x", form={"pin": Secret("424242")}, file=("a", "text/plain", b"a")
        )
    ).error

    assert error is not None
    assert "424242" not in str(error)

"""One HTTP exchange with Meta's Graph API, and nothing else: no retries, no redirects, no opinions.

Only `permits` may use it: every call needs a permit of the gate.
"""

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any, Final, Literal, Self
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError
from urllib3.filepost import encode_multipart_formdata

from wabajobs.errors import ConfigurationError, GraphError, InvalidRequest, Transient
from wabajobs.graph.bounded import BoundedAdapter, deadline
from wabajobs.graph.codes import classify, error_fields, parse
from wabajobs.graph.usage import Usage, fullest, read_usage
from wabajobs.secret import Secret
from wabajobs.settings import GraphSettings

LARGEST_ANSWER: Final = 32 * 1024 * 1024
"""Bytes, decompressed. A page of 1,000 templates is some 2 MiB; what is larger is not for us."""

MOST_AT_ONCE: Final = 50
"""Ids, and requests in a batch, that Meta takes at once."""

_ID: Final = re.compile(r"[\w:-]+")
_PIECE: Final = 64 * 1024
_VISIBLE: Final = re.compile(r"[!-~]+")
_BROKEN: Final = (requests.RequestException, HTTPError, HTTPException, OSError)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a call proves itself with."""

    token: Secret
    app_secret: Secret | None = None
    """With it, each call carries an `appsecret_proof`."""


@dataclass(frozen=True, kw_only=True)
class GraphRequest:
    """One call of the Graph API. A `Secret` anywhere in it is revealed on the wire only."""

    app: str
    """Id of the Meta app in whose name we call."""
    path: str = ""
    """What follows the version: `102290129340398/message_templates`, or an `upload:…?sig=…` session. With `ids`
    what is asked of each, which may be nothing; of a batch nothing."""
    method: Literal["GET", "POST", "DELETE"] = "GET"
    params: Mapping[str, object] = field(default_factory=dict)
    """The query. None is left out; a list or an object goes as JSON, as Graph expects it."""
    json: Mapping[str, object] | None = None
    """The body, as JSON."""
    data: bytes | None = None
    """The body, as it is: a file's bytes."""
    form: Mapping[str, object] = field(default_factory=dict)
    """Fields that go beside `file`."""
    file: tuple[str, str, bytes] | None = None
    """A file of a form, its field named `file`: its name, its type, and what is in it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers, such as `file_offset`."""
    ids: Sequence[str] = ()
    """Objects to read with one request; the answer has one field for each. Meta counts a call for each."""
    batch: Sequence[Self] = ()
    """Requests to send as one: the path, method and `params` of each. Meta counts a call for each."""
    waba: str | None = None
    """The WABA that it counts for at Meta; whose usage header is ours."""
    token: Secret | None = None
    """The token of a business, instead of the app's own."""
    auth: Literal["Bearer", "OAuth", "none"] = "Bearer"
    """Scheme of the Authorization header. Upload sessions want `OAuth`; the exchange of a code has none."""
    proof: bool = True
    """Send the `appsecret_proof`, if the app has a secret."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What came of a request: an answer or an error, and in both cases what Meta said about usage."""

    usage: Usage
    status: int | None = None
    """HTTP status; None when no answer came."""
    answer: dict[str, Any] | None = None
    error: GraphError | None = None
    parts: tuple["Exchange", ...] = ()
    """Of a batch, what came of each of its requests."""

    def result(self) -> dict[str, Any]:
        """Return the answer, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.answer or {}


class GraphClient:
    """Talks to one Graph API. Threads may share it."""

    def __init__(
        self,
        *,
        base_url: str,
        version: str,
        settings: GraphSettings,
        credentials: Callable[[str], Credentials],
    ) -> None:
        """Talk to `base_url` in `version` (`v24.0`), as `credentials(app id)` says.

        Raises `ConfigurationError` when `base_url` is no http(s) URL.
        """
        self._host = _host(base_url)
        self._root = f"{base_url.rstrip('/')}/{version}/"
        self._settings = settings
        self._credentials = credentials
        self._session = _session(base_url, pool_size=settings.pool_size)

    @property
    def longest_exchange(self) -> timedelta:
        """How long one exchange can take, from its first byte to its last."""
        return timedelta(seconds=self._settings.connect_seconds + self._settings.read_seconds)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def exchange(self, request: GraphRequest) -> Exchange:
        """Make one request. Whatever Meta or the network does is in the result.

        Raises only if no call was made: `ConfigurationError` when the app's credentials are missing or
        malformed, `InvalidRequest` when the request is.
        """
        _check(request)
        credentials = self._credentials(request.app)
        token = request.token or credentials.token
        app_secret = credentials.app_secret if request.proof and request.auth != "none" else None
        proof = _proof(token, app_secret) if app_secret else None
        prepared = self._prepare(request, token=token, proof=proof)
        hide = tuple(_secrets([token, credentials.app_secret, proof, *_contents(request)]))
        try:
            with deadline(self.longest_exchange.total_seconds()):
                exchange, body = self._send(prepared, waba=request.waba)
            if body is None:
                return exchange
            if request.batch:
                return _judge_batch(body, exchange, waba=request.waba, hide=hide)
            return _judge(body, exchange, hide=hide)
        except _BROKEN as broken:  # their own words can hold the URL and headers: they go no further
            return Exchange(usage=Usage(), error=Transient(self._sentence(broken)))

    def _prepare(self, request: GraphRequest, *, token: Secret, proof: Secret | None) -> requests.PreparedRequest:
        authorization = None if request.auth == "none" else f"{request.auth} {_header_value(token, request.app)}"
        params = _parameters(request)
        if proof is not None:
            params["appsecret_proof"] = proof.reveal()
        body, content_type = _batch(request, token) if request.batch else _body(request)
        headers = {**request.headers, "Content-Type": content_type, "Authorization": authorization}
        return self._session.prepare_request(
            requests.Request(
                "POST" if request.batch else request.method,
                self._root + _target(request),
                params=params,
                data=body,
                headers={name: value for name, value in headers.items() if value is not None},
            )
        )

    def _send(self, prepared: requests.PreparedRequest, *, waba: str | None) -> tuple[Exchange, bytes | None]:
        """Return what the headers say, and the body, if it came."""
        timeout = (self._settings.connect_seconds, self.longest_exchange.total_seconds())
        response = self._session.send(
            prepared,
            stream=True,
            allow_redirects=False,
            timeout=timeout,
            proxies=dict(self._session.proxies),
        )
        with response:
            usage, status = read_usage(response.headers, waba=waba), response.status_code
            try:
                return Exchange(usage=usage, status=status), _read(response)
            except _BROKEN as broken:  # the usage in the headers holds all the same
                error = Transient(self._sentence(broken), status=status)
                return Exchange(usage=usage, status=status, error=error), None

    def _sentence(self, broken: Exception) -> str:
        if isinstance(broken, _TooLarge):
            return f"{self._host} answered with more than {LARGEST_ANSWER // 1024 // 1024} MiB"
        if isinstance(broken, requests.ConnectTimeout):
            return f"no connection to {self._host} within {self._settings.connect_seconds:g} s"
        if _timed_out(broken):
            return f"{self._host} did not answer within {self.longest_exchange.total_seconds():g} s"
        if isinstance(broken, requests.exceptions.SSLError):
            return f"no trusted connection to {self._host} (TLS)"
        return f"the connection to {self._host} failed or broke ({_innermost(broken)})"


class _TooLarge(requests.RequestException):
    """The answer is larger than we take."""


def _judge(body: bytes, heard: Exchange, *, hide: tuple[Secret, ...]) -> Exchange:
    parsed, status = parse(body), heard.status or 0
    if 200 <= status < 300 and isinstance(parsed, dict) and error_fields(parsed) is None:
        return replace(heard, answer=parsed)
    return replace(heard, error=_error(body, parsed, status, hide=hide))


def _error(body: bytes, parsed: object, status: int, *, hide: tuple[Secret, ...]) -> GraphError:
    if 200 <= status < 300 and error_fields(parsed) is None:
        return Transient(f"HTTP {status} without a Graph answer in it", status=status)
    return classify(status, body, hide=hide)


def _judge_batch(body: bytes, heard: Exchange, *, waba: str | None, hide: tuple[Secret, ...]) -> Exchange:
    parsed, status = parse(body), heard.status or 0
    if not (200 <= status < 300 and isinstance(parsed, list)):
        return replace(heard, error=_error(body, parsed, status, hide=hide))
    parts = tuple(_judge_part(part, waba=waba, hide=hide) for part in parsed)
    return replace(heard, answer={}, parts=parts, usage=fullest([heard.usage, *(part.usage for part in parts)]))


def _judge_part(part: object, *, waba: str | None, hide: tuple[Secret, ...]) -> Exchange:
    match part:
        case {"code": int(status), "body": str(body), **rest}:
            given = rest.get("headers")
            headers = {
                str(each.get("name")): str(each.get("value"))
                for each in (given if isinstance(given, list) else ())
                if isinstance(each, Mapping)
            }
            heard = Exchange(usage=read_usage(headers, waba=waba), status=status)
            return _judge(body.encode(), heard, hide=hide)
        case _:  # Meta's word for a request that it has not come to in time
            return Exchange(usage=Usage(), error=Transient("Meta's batch has no answer to this request"))


def _read(response: requests.Response) -> bytes:
    pieces, size = [], 0
    for piece in response.raw.stream(_PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise _TooLarge
    return b"".join(pieces)


def _session(base_url: str, *, pool_size: int) -> requests.Session:
    session = requests.Session()
    # Not the environment's: a matching line of ~/.netrc would replace our Authorization header.
    session.trust_env = False
    session.proxies.update(_proxies(base_url))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": f"wabajobs/{_our_version()}", "Accept": "application/json"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter(pool_size=pool_size))
    # urllib3 logs each URL at DEBUG, and a query can hold the code or the token of a customer.
    logging.getLogger("urllib3.connectionpool").addFilter(_without_query)
    return session


def _proxies(base_url: str) -> dict[str, str]:
    """Return the proxy that this machine asks for (`HTTPS_PROXY`); never one for this machine itself."""
    host = urlsplit(base_url).hostname or ""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return {} if local else get_environ_proxies(base_url)


def _without_query(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument.partition("?")[0] if isinstance(argument, str) else argument for argument in record.args
        )
    return True


def _host(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigurationError("graph_url must be an http(s) address such as https://graph.facebook.com")
    return parts.hostname


def _check(request: GraphRequest) -> None:
    """Refuse what Meta would refuse as a whole, before it costs anything."""
    for what, number in (("ids", len(set(request.ids))), ("requests in a batch", len(request.batch))):
        if number > MOST_AT_ONCE:
            raise InvalidRequest(f"{number} {what}: Meta takes {MOST_AT_ONCE} at once")
    for id in request.ids:
        if not _ID.fullmatch(id):
            raise InvalidRequest(f"{id[:80]!r} is no id of an object")
    if request.ids and request.method != "GET":
        raise InvalidRequest("only reading takes several ids at once")
    for part in request.batch:
        if part != GraphRequest(
            app=request.app, waba=request.waba, path=part.path, method=part.method, params=part.params
        ):
            raise InvalidRequest("a request in a batch has a path, a method and params, and nothing else")


def _target(request: GraphRequest) -> str:
    """Return what follows the version."""
    return "" if request.batch or (request.ids and not request.path) else _path(request.path)


def _path(path: str) -> str:
    """Return the path quoted, so that no id from outside can lead to another place."""
    route, _, query = path.strip("/").partition("?")
    segments = route.split("/")
    if {"", ".", ".."} & set(segments) or (query and not route.startswith("upload:")):
        raise InvalidRequest(f"{route[:80]!r} is no path of the Graph API")
    return "/".join(quote(segment, safe=":=") for segment in segments) + (f"?{query}" if query else "")


def _parameters(request: GraphRequest) -> dict[str, str]:
    params = {name: _parameter(value) for name, value in request.params.items() if value is not None}
    return params | ({"ids": ",".join(dict.fromkeys(request.ids))} if request.ids else {})


def _batch(request: GraphRequest, token: Secret) -> tuple[bytes, str]:
    """Write the requests of a batch; Meta wants the token beside them, and no header is enough."""
    body = {"access_token": token.reveal(), "batch": [_part(part) for part in request.batch]}
    return json.dumps(body).encode(), "application/json"


def _part(part: GraphRequest) -> dict[str, str]:
    query = urlencode(_parameters(part))
    if part.method != "POST":
        return {"method": part.method, "relative_url": f"{_target(part)}{'?' if query else ''}{query}"}
    return {"method": part.method, "relative_url": _target(part), "body": query}


def _header_value(token: Secret, app: str) -> str:
    if not _VISIBLE.fullmatch(token.reveal()):
        raise ConfigurationError(
            f"token of app {app}: it is empty or has characters that no token has (a line end, a space?)"
        )
    return token.reveal()


def _proof(token: Secret, app_secret: Secret) -> Secret:
    """Return Meta's `appsecret_proof`: hex HMAC-SHA256 of the token, with the app's secret as the key."""
    digest = hmac.new(app_secret.reveal().encode(), token.reveal().encode(), hashlib.sha256)
    return Secret(digest.hexdigest())


def _parameter(value: object) -> str:
    value = _revealed(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _body(request: GraphRequest) -> tuple[bytes | None, str | None]:
    if request.json is not None:
        return json.dumps(_revealed(request.json)).encode(), "application/json"
    if request.file is not None:
        name, type_, content = request.file
        fields = {field: _parameter(value) for field, value in request.form.items()}
        return encode_multipart_formdata({**fields, "file": (name, content, type_)})
    return request.data, None if request.data is None else "application/octet-stream"


def _revealed(value: object) -> object:
    match value:
        case Secret():
            return value.reveal()
        case Mapping():
            return {str(name): _revealed(item) for name, item in value.items()}
        case list() | tuple():
            return [_revealed(item) for item in value]
        case _:
            return value


def _contents(request: GraphRequest) -> list[object]:
    return [request.params, request.json, request.form, *(part.params for part in request.batch)]


def _secrets(value: object) -> Iterator[Secret]:
    match value:
        case Secret():
            yield value
        case Mapping():
            for item in value.values():
                yield from _secrets(item)
        case list() | tuple():
            for item in value:
                yield from _secrets(item)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what caused it; libraries hide causes in `args`, `reason` and the context."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and not any(cause is other for other in seen):
            seen.append(cause)
            yield cause
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def _timed_out(error: BaseException) -> bool:
    return isinstance(error, requests.Timeout) or any(isinstance(cause, TimeoutError) for cause in _chain(error))


def _innermost(error: BaseException) -> str:
    """Name the error by its class alone; of the operating system's errors, by its number's words."""
    causes = list(_chain(error))
    for cause in causes:
        if (
            isinstance(cause, OSError)
            and isinstance(cause.strerror, str)
            and not isinstance(cause, requests.RequestException)
        ):
            return cause.strerror
    return type(causes[-1]).__name__


def _our_version() -> str:
    try:
        return version("wabajobs")
    except PackageNotFoundError:  # run from a source tree
        return "0"

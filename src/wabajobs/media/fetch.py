"""Fetching a file from an address that a stranger gave: it may lead anywhere, answer anything, and never end.

The name is resolved here, every address that it has is checked, and the connection is made to an address that was
checked: a name that is resolved anew at the connection could lead elsewhere the second time. Each redirect begins
from the start. Size and time are bounded, from the first byte of the connection to the last of the body. Nothing
of the environment is used: no proxy, no netrc, no cookies.
"""

import http.client
import io
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

from wabajobs.errors import MediaRefused, MediaUnavailable
from wabajobs.media.addresses import Address, Exceptions, why_refused
from wabajobs.settings import MediaSettings

Resolve = Callable[[str, int], Sequence[str]]
"""Host and port → addresses. Raises `socket.gaierror`."""

_REDIRECTS: Final = 5
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PIECE: Final = 64 * 1024
_REDIRECTED: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429})
_PATH_CHARACTERS: Final = "/:?#[]@!$&'()*+,;=-._~%"
_BROKEN: Final = (OSError, http.client.HTTPException, zlib.error)


@dataclass(frozen=True)
class Url:
    """An http(s) address that can be fetched, in its parts."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as they go onto the wire."""


def checked_url(url: str) -> Url:
    """Return an address in its parts. Raises `MediaRefused` for what no fetch is ever made of."""
    if not url.isprintable() or any(character in url for character in " \\"):
        raise MediaRefused("the URL has a space, a backslash or a control character in it")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
        if not host.isascii():
            host = host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise MediaRefused("the URL is malformed") from None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise MediaRefused("the URL must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise MediaRefused("the URL must have no user or password in it")
    if "%" in host:
        raise MediaRefused("the URL's host must be no address with a zone")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return Url(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], quote(target, safe=_PATH_CHARACTERS))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise MediaRefused("the URL leads on to one that is malformed") from None


def resolved(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def fetch(
    url: str,
    *,
    most: int,
    settings: MediaSettings,
    resolve: Resolve = resolved,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """Return what lies at `url`, at most `most` bytes of it.

    Raises `MediaRefused` for what would be refused again, `MediaUnavailable` for what may pass.
    """
    visit = _Visit(most=most, settings=settings, resolve=resolve, tls=tls or _trusting_the_system())
    for _ in range(_REDIRECTS + 1):
        before = checked_url(url)
        content, location = visit.get(before)
        if location is None:
            return content
        url = _joined(url, location)
        if before.scheme == "https" and checked_url(url).scheme != "https":
            raise MediaRefused(f"{before.host} leads from https to http")
    raise MediaRefused(f"the URL leads on more than {_REDIRECTS} times")


@cache
def _trusting_the_system() -> ssl.SSLContext:
    return ssl.create_default_context()  # reads a hundred and more certificates


class _Visit:
    """One fetch with its redirects: they share the time."""

    def __init__(self, *, most: int, settings: MediaSettings, resolve: Resolve, tls: ssl.SSLContext) -> None:
        self._most = most
        self._settings = settings
        self._exceptions = Exceptions(settings.allow)
        self._resolve = resolve
        self._tls = tls
        self._end = time.monotonic() + settings.fetch_seconds

    def get(self, url: Url) -> tuple[bytes, str | None]:
        """Return a body, or nothing and where to look instead."""
        addresses = self._addresses(url)
        try:
            with closing(self._connected(url, addresses)) as sock:
                return self._ask(url, sock)
        except ssl.SSLCertVerificationError:
            raise MediaRefused(f"{url.host} has no certificate that can be trusted (TLS)") from None
        except TimeoutError:
            raise MediaUnavailable(
                f"{url.host} did not give the file within {self._settings.fetch_seconds:g} s"
            ) from None
        except _BROKEN as broken:  # their own words can hold the URL, which can be a secret of the partner's
            raise MediaUnavailable(f"the connection to {url.host} failed or broke ({_words(broken)})") from None

    def _addresses(self, url: Url) -> list[Address]:
        """Return the addresses of a host, when there is none among them to which we must not be sent."""
        try:
            found = [ip_address(one) for one in dict.fromkeys(self._look_up(url))]
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise MediaUnavailable(f"the name {url.host} cannot be resolved now") from None
            raise MediaRefused(f"there is no host {url.host}") from None
        except OSError:
            raise MediaUnavailable(f"the name {url.host} cannot be resolved now") from None
        except ValueError:
            raise MediaRefused(f"there is no host {url.host}") from None
        if not found:
            raise MediaRefused(f"there is no host {url.host}")
        for address in found:
            if self._exceptions.allow(url.host, address):
                continue
            if why := why_refused(address):
                raise MediaRefused(f"{url.host} leads to an address that is {why}: nothing is fetched from there")
            if url.port not in self._settings.ports:
                allowed = ", ".join(map(str, self._settings.ports))
                raise MediaRefused(f"port {url.port} of {url.host}: only these are fetched from: {allowed}")
        return found

    def _look_up(self, url: Url) -> Sequence[str]:
        """Resolve a name, within our time: the system's own resolver takes as long as it likes."""
        answer: list[Sequence[str]] = []
        errors: list[Exception] = []

        def ask() -> None:
            try:
                answer.append(self._resolve(url.host, url.port))
            except Exception as error:  # it is the one's who waits
                errors.append(error)

        thread = threading.Thread(target=ask, name="resolve", daemon=True)
        thread.start()
        thread.join(self._left())
        if errors:
            raise errors[0]
        if not answer:
            raise TimeoutError
        return answer[0]

    def _connected(self, url: Url, addresses: Sequence[Address]) -> socket.socket:
        """Connect to the first address that answers. The name is not looked up again."""
        *others, last = addresses
        for place, address in enumerate(others):
            with suppress(OSError):
                return self._connect(url, address, share=len(addresses) - place)
        return self._connect(url, last, share=1)

    def _connect(self, url: Url, address: Address, *, share: int) -> socket.socket:
        sock = socket.create_connection((str(address), url.port), timeout=self._left() / share)
        if url.scheme == "http":
            return sock
        try:
            return self._tls.wrap_socket(sock, server_hostname=url.host)
        except BaseException:
            sock.close()
            raise

    def _ask(self, url: Url, sock: socket.socket) -> tuple[bytes, str | None]:
        connection = _Connection(url, _BoundedSocket(sock, self._left))
        connection.request("GET", url.target, headers=_HEADERS)
        response = connection.getresponse()
        if response.status in _REDIRECTED:
            location = response.headers.get("Location")
            if not location:
                raise MediaRefused(f"{url.host} leads on to nowhere")
            return b"", location
        if response.status != 200:
            told = f"{url.host} answered with HTTP {response.status}"
            passing = response.status >= 500 or response.status in _PASSING
            raise (MediaUnavailable if passing else MediaRefused)(told)
        if (response.length or 0) > self._most:
            raise self._too_large(url)
        return self._body(url, response), None

    def _body(self, url: Url, response: http.client.HTTPResponse) -> bytes:
        pieces, size = [], 0
        for piece in self._plain(url, response):
            pieces.append(piece)
            size += len(piece)
            if size > self._most:
                raise self._too_large(url)
        if response.length:
            raise MediaUnavailable(f"{url.host} broke off before the end of the file")
        return b"".join(pieces)

    def _plain(self, url: Url, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body in pieces; one that came compressed, although we asked for none, never all at once."""
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding in ("identity", ""):
            while piece := response.read(_PIECE):
                yield piece
            return
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise MediaRefused(f"{url.host} sends it encoded as {coding[:40]!r}, which we did not ask for")
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        while piece := response.read(_PIECE):
            while piece:
                self._left()
                yield inflater.decompress(piece, _PIECE)
                piece = inflater.unconsumed_tail
        if not inflater.eof:
            raise MediaUnavailable(f"{url.host} broke off before the end of the file")

    def _too_large(self, url: Url) -> MediaRefused:
        return MediaRefused(f"{url.host} has a file of more than the {self._most} bytes that it may have")

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "wabajobs",
}


class _BoundedReader(io.RawIOBase):
    """A socket's reading side: each read gets what is left of the whole, so dripping does not prolong it."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)


class _BoundedSocket:
    """As much of a socket as `http.client` uses."""

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self._sock = sock
        self._left = left

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._left))

    def close(self) -> None:
        """Do nothing: `http.client` lets go of the socket before it has read the body. Its owner closes it."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a connection that is there already; it never makes one."""

    auto_open = 0

    def __init__(self, url: Url, sock: _BoundedSocket) -> None:
        super().__init__(url.host, url.port)
        self.default_port = _DEFAULT_PORTS[url.scheme]  # no port in `Host` where it goes without saying
        self.sock: Any = sock


def _words(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__

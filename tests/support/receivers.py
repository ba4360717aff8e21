"""HTTP servers of a test's own, where something is posted to or asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    """Answers, and says nothing on the terminal."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving(handler: type[Handler]) -> Iterator[str]:
    """Run a server of such handlers; yield its URL, without a path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def receiving(take: Callable[[Mapping[str, str], bytes], int]) -> Iterator[str]:
    """Hand over the headers and the body of whatever is posted; answer with the status that this returns.

    A redirect leads to where it came from. Yields the URL.
    """

    class Receiver(Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = take(dict(self.headers), body)
            self.answer(status, **({"Location": self.path} if status == 302 else {}))

    with serving(Receiver) as url:
        yield f"{url}/post"


@contextmanager
def verified_callback(*, token: str = "right", status: int = 200, body: str | None = None) -> Iterator[str]:
    """Answer the challenge of a webhook's verification that knows the token, or say something else to it."""

    class Challenged(Handler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            if asked.get("hub.mode") != ["subscribe"] or asked.get("hub.verify_token") != [token]:
                self.answer(403, b"no")
                return
            self.answer(status, (asked["hub.challenge"][0] if body is None else body).encode())

    with serving(Challenged) as url:
        yield f"{url}/hook"

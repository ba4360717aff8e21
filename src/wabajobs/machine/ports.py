"""TCP ports of this machine."""

import errno
import socket

from wabajobs.errors import InvalidRequest, NotReady, PortTaken

_HERE = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((_HERE, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def require_free(port: int, what: str, *, option: str | None = None) -> None:
    """Return if `what` (`Flower`) can listen on `port`; else raise `PortTaken` with the option to set.

    The option is `--flower-port` for Flower, unless told otherwise.
    """
    if not 0 < port < 65536:
        raise InvalidRequest(f"{port} is no port for {what}: use one from 1 to 65535")
    option = option or f"--{what.lower().replace(' ', '-')}-port"
    advice = f"give {what} another one: {option} N"
    # macOS lets us bind beside a program that listens on all addresses, so we also knock.
    if is_listened_on(port):
        raise PortTaken(f"port {port} is taken by another program; {advice}")
    try:
        socket.create_server((_HERE, port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} is taken by another program; {advice}") from None
        raise NotReady(f"port {port} cannot be used ({error.strerror}); {advice}") from None


def is_listened_on(port: int) -> bool:
    """Tell whether somebody accepts connections on this port of our machine."""
    try:
        socket.create_connection((_HERE, port), timeout=1).close()
    except OSError:
        return False
    return True

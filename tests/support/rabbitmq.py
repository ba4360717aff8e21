"""A RabbitMQ node of our own: free ports, folders of its own, and nothing left of it at the end."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.databases import missing
from tests.support.waiting import until
from wabajobs.machine import free_port

_DEBIANS = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The program itself; the one on the PATH of a Debian machine runs as the user `rabbitmq`, in folders of his."""


def find_rabbitmq() -> Path:
    """Return the server's program; skip, or fail where it is required."""
    found = _DEBIANS if _DEBIANS.exists() else shutil.which("rabbitmq-server")
    if not found:
        missing("rabbitmq-server", "there is no rabbitmq-server on this machine")
    return Path(str(found))


@dataclass
class RunningRabbit:
    """A node, which may be killed and started again."""

    program: Path
    folder: Path
    port: int = field(default_factory=free_port)
    _distribution: int = field(default_factory=free_port)
    _mapper: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        with (self.folder / "out.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.program)],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, within=90, what="RabbitMQ answers")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def close(self) -> None:
        self._end(signal.SIGTERM)
        # The port mapper is a daemon that Erlang starts beside each node and leaves behind.
        subprocess.run(["epmd", "-kill"], env=self._environment(), capture_output=True, check=False)

    def _end(self, how: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)  # the program is a script, and the node its child
        self._process.wait(60)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.folder / "out.log").read_text(errors="replace"))
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as knock:
            knock.settimeout(5)
            knock.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(knock.recv(1))  # it has begun to speak its protocol, not only to listen
        return False

    def _environment(self) -> dict[str, str]:
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        (self.folder / "enabled_plugins").write_text("[].")
        (self.folder / "environment").write_text("")
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": f"wabajobs-{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[RunningRabbit]:
    """Yield a node of our own."""
    with tempfile.TemporaryDirectory(prefix="wabajobs-rabbit-", ignore_cleanup_errors=True) as folder:
        node = RunningRabbit(find_rabbitmq(), Path(folder))
        node.start()
        try:
            yield node
        finally:
            node.close()

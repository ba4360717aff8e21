"""Child processes that do not outlive us, and the record by which a later run knows them again.

Three nets, one below the other. A child runs on a *leash*: on Linux the kernel sends it SIGTERM when we die,
be it by SIGKILL. What that cannot catch (a child that ignores SIGTERM, another system) stands in `pids.json`,
and the next run in the folder stops it. And each child leads a group of its own, so that what it started can
be ended with it.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Final, Self

from wabajobs.errors import NotReady

_LEASH: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("our supervisor is gone")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""
"""Becomes the service. A program of its own, because `preexec_fn` runs Python between fork and exec, where a
lock that another thread held stays locked for ever. The signal survives exec. The question for the parent
covers a supervisor that died before prctl."""

_POLL_SECONDS: Final = 0.05
_KILLED_WITHIN_SECONDS: Final = 10.0
"""How long the kernel may take to end what was killed; one that hangs in a disk is not waited for any longer."""


def leashed(argv: Sequence[str]) -> list[str]:
    """Return the argv that runs `argv` as a child which gets SIGTERM when we die.

    The kernel watches the *thread* that starts the child: start it from one that lives as long as it should.
    """
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *argv]


def start(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    """Start `argv` leashed, in a session of its own, with its output at the end of `log`.

    `env` comes on top of our own environment.
    """
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - our own services
            leashed(argv),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(output)


def exited(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the process has ended. Then what it left behind in its group is killed as well."""
    if process.returncode is None:
        if not _ended(process):
            return False
        kill_group(process.pid)  # before it is reaped: until then nobody else can get its number
        process.wait()
    return True


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the process has ended, without reaping it where the system can (older macOS cannot)."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody ignores SIGCHLD, so the kernel has reaped it
        return True


def terminate(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, if the process has not ended. `Popen.send_signal` would reap it on the way."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def kill_group(pid: int) -> None:
    """Send SIGKILL to a group's leader and all that it started."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(pid, signal.SIGKILL)


def last_line(log: Path, *, since: int = 0) -> str:
    """Return the last line that is not empty, of what was written after byte `since`."""
    try:
        with log.open("rb") as lines:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(since, size - 8192))
            written = lines.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(written) if line.strip()), "")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process that we started, as it is written into `pids.json`."""

    name: str
    pid: int
    birth: str
    """Tells it from a later process with the same number."""
    stop_order: int

    @property
    def lives(self) -> bool:
        """Whether it still runs, and is still the one."""
        return birth_of(self.pid) == self.birth


def birth_of(pid: int) -> str | None:
    """Return what tells this process from others that get its number; None when none runs."""
    if sys.platform == "linux":
        return _birth_in_proc(pid)
    said = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or None


def _birth_in_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    # The name stands in brackets and may hold anything; after it: state, and at place 22 the start in ticks.
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else f"{boot}:{fields[19].decode()}"


class PidFile:
    """`pids.json`: what runs for this folder."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`; it need not exist."""
        self._path = path

    def write(self, running: Iterable[Running]) -> None:
        """Replace what the file says."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps([asdict(each) for each in running], indent=2) + "\n", encoding="utf-8")
        new.replace(self._path)

    def read(self) -> list[Running]:
        """Return what the file says; nothing if it is absent or unreadable."""
        try:
            return [Running(**each) for each in json.loads(self._path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []

    def remove(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)


def stop_leftovers(
    leftovers: Iterable[Running], *, grace: timedelta, hurry: Callable[[], bool] = lambda: False
) -> list[Running]:
    """Stop what an earlier run has left behind, in its stop order; return what there was.

    SIGTERM first; SIGKILL after `grace`, or at once when `hurry()` says so. Call it only when the earlier
    supervisor is gone.
    """
    living = sorted((each for each in leftovers if each.lives), key=lambda each: each.stop_order)
    for order in sorted({each.stop_order for each in living}):
        _stop_together([each for each in living if each.stop_order == order], grace=grace, hurry=hurry)
    return living


def _stop_together(those: Sequence[Running], *, grace: timedelta, hurry: Callable[[], bool]) -> None:
    for each in those:
        if each.lives:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGTERM)
    _wait_for_end(those, grace.total_seconds(), hurry)
    for each in those:
        if each.lives:
            kill_group(each.pid)
    # Its port and its files are free when it is gone, not when the signal was sent.
    _wait_for_end(those, _KILLED_WITHIN_SECONDS, lambda: False)


def _wait_for_end(those: Sequence[Running], at_most: float, hurry: Callable[[], bool]) -> None:
    deadline = time.monotonic() + at_most
    while any(each.lives for each in those) and time.monotonic() < deadline and not hurry():
        time.sleep(_POLL_SECONDS)


class FolderLock:
    """Lets one supervisor run per folder. The kernel gives the lock back when its holder dies."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def take(cls, path: Path) -> Self:
        """Take the lock, or raise `NotReady` that names who has it."""
        file = path.open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise NotReady(
                f"wabajobs already runs in {path.parent}: process {holder}; stop it, or use another folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()

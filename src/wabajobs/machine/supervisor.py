"""Keeps the services of one machine running: starts them in order, restarts what dies, stops in order."""

import logging
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Final, Self

from wabajobs.errors import InvalidRequest, NotReady
from wabajobs.machine import processes
from wabajobs.machine.processes import FolderLock, PidFile, Running

GRACE: Final = timedelta(seconds=20)
"""How long a service may take to stop before it is killed."""
READY_WITHIN: Final = timedelta(seconds=60)
"""How long a service may take to get ready."""
FIRST_BACKOFF: Final = timedelta(seconds=0.5)
LONGEST_BACKOFF: Final = timedelta(seconds=10)
SOUND_AFTER: Final = timedelta(seconds=30)
"""A service that lived so long is taken for sound: its next death waits the first back-off again."""

_TICK_SECONDS: Final = 0.1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One program to keep running."""

    name: str
    """Names its log: `logs/<name>.log`."""
    argv: Sequence[str]
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """On top of our own environment."""
    ready: Callable[[], bool] | None = None
    """Tells whether it does its work yet; asked every tenth of a second, so it should answer soon.

    None: it is ready once it runs."""
    stop_order: int = 0
    """Lower stops first; equal ones stop together. The workers before the Redis that they talk to."""
    restart: bool = True
    """Start it again when it ends."""


class Happened(StrEnum):
    """What can happen to a service."""

    LEFTOVER = "leftover"
    """One of an earlier run was still there, and has been stopped."""
    STARTED = "started"
    READY = "ready"
    DIED = "died"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a service. `str()` is a sentence."""

    happened: Happened
    service: str
    pid: int | None = None
    exit_code: int | None = None
    """What it ended with; minus the signal's number if by a signal."""
    last_line: str = ""
    """Last line of its log from this start on."""
    delay: timedelta | None = None
    """How long until it is started again."""

    def __str__(self) -> str:
        match self.happened:
            case Happened.LEFTOVER:
                return f"{self.service} of an earlier run (process {self.pid}) has been stopped"
            case Happened.STARTED:
                return f"{self.service} has started (process {self.pid})"
            case Happened.DIED:
                return f"{self.service} has died ({_ending(self.exit_code)}){_quoted(self.last_line)}"
            case Happened.RESTARTING:
                seconds = self.delay.total_seconds() if self.delay else 0
                return f"{self.service} is started again in {seconds:g} s"
            case Happened.STOPPED:
                return f"{self.service} has stopped ({_ending(self.exit_code)})"
            case _:
                return f"{self.service} is {self.happened}"


class Supervisor:
    """Runs services in `folder`, which it has to itself.

    `folder` gets `lock`, `pids.json` and `logs/`. All children are started and watched by one thread, which
    lives until they have stopped: the leash hangs on that thread. `on_event` is called from it.
    """

    def __init__(
        self,
        folder: Path,
        services: Sequence[Service],
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        grace: timedelta = GRACE,
        ready_within: timedelta = READY_WITHIN,
        first_backoff: timedelta = FIRST_BACKOFF,
        longest_backoff: timedelta = LONGEST_BACKOFF,
        sound_after: timedelta = SOUND_AFTER,
    ) -> None:
        """Prepare; nothing is started. Raises `InvalidRequest` for names that cannot be."""
        _check_names(services)
        self.folder = folder
        self._on_event = on_event
        self._grace = grace
        self._ready_within = ready_within
        self._first_backoff = first_backoff
        self._longest_backoff = longest_backoff
        self._sound_after = sound_after
        self._children = [_Child(service, log=folder / "logs" / f"{service.name}.log") for service in services]
        self._pids = PidFile(folder / "pids.json")
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._failure: BaseException | None = None
        # Plain flags and a socket: a signal handler may set them wherever it interrupts us. The lock inside a
        # threading.Event could be held by the very code that was interrupted.
        self._stop_asked = False
        self._kill_asked = False
        self._woken, self._waker = socket.socketpair()
        self._woken.settimeout(_TICK_SECONDS)
        self._waker.setblocking(False)

    def start(self) -> None:
        """Start all services in order; return when each is ready.

        Raises `NotReady`, with nothing left running, when another supervisor has the folder or a service
        does not get ready. Returns early, with all stopped, when `ask_to_stop` comes first.
        """
        if self._thread is not None:
            raise InvalidRequest("a supervisor starts only once")
        self._make_folder()
        lock = FolderLock.take(self.folder / "lock")
        self._thread = threading.Thread(target=self._run, args=(lock,), name="supervisor", daemon=True)
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def ask_to_stop(self, *, kill: bool = False) -> None:
        """Begin to stop, without waiting. Safe in a signal handler. With `kill` there is no grace."""
        self._stop_asked = True
        self._kill_asked = self._kill_asked or kill
        with suppress(OSError):  # full: then it will wake
            self._waker.send(b"!")

    def stop(self) -> None:
        """Stop all services in their order and wait for it. Again, or before `start`, it does nothing."""
        self.ask_to_stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run_until_stopped(self) -> None:
        """Start (unless started), and wait for SIGINT, SIGTERM, SIGHUP or `stop`; stop in order then.

        A second signal kills what still runs. Only for the main thread, as signals are.
        """
        with self._signals_ask_to_stop():
            if self._thread is None:
                self.start()
            while self._thread is not None and self._thread.is_alive():
                self._thread.join(1)
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def _signals_ask_to_stop(self) -> Iterator[None]:
        def handle(_signal: int, _frame: FrameType | None) -> None:
            self.ask_to_stop(kill=self._stop_asked)

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # What is ignored stays ignored: `nohup wabajobs up` is to survive the terminal.
        heard = [each for each in signals if signal.getsignal(each) is not signal.SIG_IGN]
        before = {each: signal.signal(each, handle) for each in heard}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)

    # From here on, all is called by the supervisor's thread.

    def _run(self, lock: FolderLock) -> None:
        try:
            self._stop_leftovers()
            self._start_all()
            self._up.set()
            while not self._stop_asked:
                self._watch()
                self._rest()
        except BaseException as error:  # handed to who called `start`
            self._failure = error
            if not isinstance(error, NotReady):
                _log.exception("supervisor_failed")
        finally:
            self._stop_all()
            self._pids.remove()
            lock.release()
            self._up.set()

    def _stop_leftovers(self) -> None:
        leftovers = self._pids.read()
        for each in processes.stop_leftovers(leftovers, grace=self._grace, hurry=lambda: self._kill_asked):
            self._tell(Event(happened=Happened.LEFTOVER, service=each.name, pid=each.pid))

    def _start_all(self) -> None:
        for child in self._children:
            if self._stop_asked:
                return
            self._start(child)
            self._await_ready(child)

    def _await_ready(self, child: "_Child") -> None:
        deadline = time.monotonic() + self._ready_within.total_seconds()
        while not self._stop_asked and not self._became_ready(child):
            if child.exited():
                ending = _ending(child.exit_code)
                self._bury(child)
                raise NotReady(f"{child.name} did not start ({ending}){child.complaint()}")
            if time.monotonic() > deadline:
                seconds = self._ready_within.total_seconds()
                raise NotReady(f"{child.name} was not ready after {seconds:g} s{child.complaint()}")
            self._watch(but=child)
            self._rest()

    def _watch(self, *, but: "_Child | None" = None) -> None:
        for child in self._children:
            if child is not but:
                self._look_after(child)

    def _look_after(self, child: "_Child") -> None:
        if child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                self._start(child)
        elif child.process is not None and child.exited():
            self._bury(child)
            if child.service.restart:
                self._plan_restart(child)
        elif child.process is not None:
            self._became_ready(child)

    def _start(self, child: "_Child") -> None:
        child.start()
        self._note_pids()
        self._tell(Event(happened=Happened.STARTED, service=child.name, pid=child.pid))

    def _became_ready(self, child: "_Child") -> bool:
        if not child.ready and child.answers():
            child.ready = True
            self._tell(Event(happened=Happened.READY, service=child.name, pid=child.pid))
        return child.ready

    def _bury(self, child: "_Child") -> None:
        self._tell(
            Event(
                happened=Happened.DIED,
                service=child.name,
                pid=child.pid,
                exit_code=child.exit_code,
                last_line=child.last_line(),
            )
        )
        child.process = None
        self._note_pids()

    def _plan_restart(self, child: "_Child") -> None:
        sound = time.monotonic() - child.started_at >= self._sound_after.total_seconds()
        if child.backoff is None or sound:
            child.backoff = self._first_backoff
        else:
            child.backoff = min(child.backoff * 2, self._longest_backoff)
        child.restart_at = time.monotonic() + child.backoff.total_seconds()
        self._tell(Event(happened=Happened.RESTARTING, service=child.name, delay=child.backoff))

    def _stop_all(self) -> None:
        for order in sorted({child.service.stop_order for child in self._children}):
            self._stop_together([child for child in self._children if child.service.stop_order == order])

    def _stop_together(self, those: Sequence["_Child"]) -> None:
        living = [child for child in those if child.process is not None]
        for child in living:
            self._tell(Event(happened=Happened.STOPPING, service=child.name, pid=child.pid))
            child.terminate()
        deadline = time.monotonic() + self._grace.total_seconds()
        while living:
            if self._kill_asked or time.monotonic() > deadline:
                for child in living:
                    child.kill()
            living = [child for child in living if not self._has_stopped(child)]
            if living:
                self._rest()

    def _has_stopped(self, child: "_Child") -> bool:
        if not child.exited():
            return False
        self._tell(Event(happened=Happened.STOPPED, service=child.name, pid=child.pid, exit_code=child.exit_code))
        child.process = None
        self._note_pids()
        return True

    def _note_pids(self) -> None:
        running = [child.running() for child in self._children]
        self._pids.write(each for each in running if each is not None)

    def _rest(self) -> None:
        """Wait a tick, or until somebody wakes us."""
        with suppress(TimeoutError):
            self._woken.recv(512)

    def _tell(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:  # a listener's fault must not end the services
            _log.exception("supervisor_listener_failed")


class _Child:
    """A service and the process it has at the moment."""

    def __init__(self, service: Service, *, log: Path) -> None:
        self.service = service
        self.name = service.name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.birth = ""
        self.ready = False
        self.started_at = 0.0
        self.log_from = 0
        self.backoff: timedelta | None = None
        self.restart_at: float | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def exit_code(self) -> int | None:
        return self.process.returncode if self.process else None

    def start(self) -> None:
        self.log_from = self.log.stat().st_size if self.log.exists() else 0
        self.process = processes.start(self.service.argv, log=self.log, env=self.service.env)
        self.birth = processes.birth_of(self.process.pid) or ""
        self.ready, self.restart_at, self.started_at = False, None, time.monotonic()

    def exited(self) -> bool:
        return self.process is not None and processes.exited(self.process)

    def answers(self) -> bool:
        try:
            return self.service.ready is None or self.service.ready()
        except Exception as error:  # it asks a program that is only just starting
            _log.debug("service_not_ready", extra={"service": self.name, "error": str(error)})
            return False

    def terminate(self) -> None:
        if self.process is not None:
            processes.terminate(self.process)

    def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            processes.kill_group(self.process.pid)

    def running(self) -> Running | None:
        if self.process is None:
            return None
        return Running(name=self.name, pid=self.process.pid, birth=self.birth, stop_order=self.service.stop_order)

    def last_line(self) -> str:
        return processes.last_line(self.log, since=self.log_from)

    def complaint(self) -> str:
        return f"{_quoted(self.last_line())}; see {self.log}"


def _check_names(services: Sequence[Service]) -> None:
    names = [service.name for service in services]
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} is no name for a service: letters, digits, '_', '.' and '-'")
        if names.count(name) > 1:
            raise InvalidRequest(f"two services are called {name}")


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        try:
            return f"by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"by signal {-exit_code}"
    return f"exit code {exit_code}"


def _quoted(line: str) -> str:
    return f": {line}" if line else ""

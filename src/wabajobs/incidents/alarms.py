"""Alarms: each episode of an incident is told once, by a program that is run and an address that is called.

They go on in a thread of their own, where a dispatcher leads. What came to nothing is tried again. Should the
process die between an alarm and the record of it, the alarm is given twice: better than not at all.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from wabajobs import events
from wabajobs.beside import Beside
from wabajobs.callbacks import Away, Caller, Refused
from wabajobs.clock import Clock
from wabajobs.ledger import DueAlarm, Ledger
from wabajobs.secret import Secret
from wabajobs.settings import WatchSettings

COMMAND, URL = "command", "url"
_POLL: Final = timedelta(seconds=1)
_GRACE_SECONDS: Final = 30.0
"""Who has not said so long after the time that an alarm may take what came of it is taken for dead."""
_LONGEST_ERROR: Final = 300


class Alarms:
    """Gives the alarms that are due."""

    def __init__(
        self,
        ledger: Ledger,
        settings: WatchSettings,
        *,
        clock: Clock,
        lasting: timedelta,
        secret: Callable[[], Secret | None] = lambda: None,
    ) -> None:
        """Give them by the ways of the settings; `lasting` is for how long one `keep_up` is good."""
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._call = Caller(
            settings.alarm_url, timeout_seconds=settings.alarm_timeout_seconds, secret=secret, clock=clock
        )
        self._beside = Beside("alarms", self.turn, lasting=lasting, retry=_POLL)

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways by which alarms are given."""
        ways = {COMMAND: self._settings.alarm_command, URL: self._settings.alarm_url}
        return tuple(way for way, is_set in ways.items() if is_set)

    def keep_up(self) -> None:
        """Go on for a while. Returns at once, and never raises."""
        if self.channels:
            self._beside.keep_up()

    def turn(self) -> timedelta:
        """Give what is due; return how long there is nothing to do. Raises `LedgerUnavailable`."""
        again = timedelta(seconds=self._settings.alarm_timeout_seconds + _GRACE_SECONDS)
        for alarm in self._ledger.incidents.due_alarms(now=self._clock.now(), again=again):
            self._give(alarm)
        return _POLL

    def _give(self, alarm: DueAlarm) -> None:
        body = json.dumps(told(alarm), ensure_ascii=False).encode()
        try:
            if alarm.channel == COMMAND and self._settings.alarm_command:
                self._run(body)
            elif alarm.channel == URL and self._settings.alarm_url:
                self._call(body, headers={"X-Wabajobs-Event": "incident.began"})
            else:
                raise Refused("it is not configured any more")
        except (Away, Refused) as error:
            self._missed(alarm, str(error)[:_LONGEST_ERROR])
        else:
            self._ledger.incidents.alarmed(alarm, now=self._clock.now())

    def _missed(self, alarm: DueAlarm, why: str) -> None:
        facts = {"incident": alarm.incident.id, "channel": alarm.channel, "tries": alarm.tries, "why": why}
        if alarm.tries >= self._settings.alarm_attempts:
            events.tell("alarm_given_up", **facts)
            self._ledger.incidents.alarm_failed(alarm, error=why, again_at=None)
            return
        events.tell("alarm_failed", **facts)
        wait = self._settings.alarm_retry_seconds * 2.0 ** min(alarm.tries - 1, 30)
        again_at = self._clock.now() + timedelta(seconds=min(wait, self._settings.alarm_retry_cap_seconds))
        self._ledger.incidents.alarm_failed(alarm, error=why, again_at=again_at)

    def _run(self, body: bytes) -> None:
        """Run the program; what it has begun itself ends with it when its time is over."""
        try:
            program = _started(self._settings.alarm_command)
        except OSError as error:
            raise Away(f"it cannot be run: {error.strerror}") from error
        try:
            _, said = program.communicate(body, timeout=self._settings.alarm_timeout_seconds)
        except subprocess.TimeoutExpired:
            _kill(program)
            raise Away(f"it ran longer than {self._settings.alarm_timeout_seconds:g} s") from None
        if program.returncode:
            raise Away(f"it ended with {program.returncode}: {said.decode(errors='replace').strip()}")


def told(alarm: DueAlarm) -> dict[str, object]:
    """Return what is told of an episode. It holds no secret."""
    return {
        "event": "incident.began",
        "incident": alarm.incident.as_json(),
        "episode": alarm.episode.as_json(),
        "sentence": f"incident {alarm.incident.id}: {alarm.episode.conditions[0].evidence}",
    }


def _started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (the operator's own program, as the settings name it)
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _kill(program: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.communicate()

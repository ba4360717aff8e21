"""How programs log: to standard error, in lines for people, or as one JSON object a line for programs.

What is told is the same in both, so whatever hides a secret hides it in both.
"""

import json
import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any, Final, Literal

from wabajobs import events

Format = Literal["text", "json"]

_CELERYS_NAMES: Final = {"id": "operation", "name": "kind"}
"""What Celery tells of a task beside its sentence, and what we call that."""


class JsonLines(logging.Formatter):
    """One JSON object a line.

    In each: `time` (UTC), `level`, `logger`, `message`, `program`, `host`, `pid`. Where there is one: `event` and
    its facts, `exception`, `worker`, and what the thread is working at: `operation`, `kind`, `partner`, `waba`,
    `app`, `capability`, `attempt`.
    """

    def __init__(self, **always: str) -> None:
        """Say `always` in each line, beside its own."""
        super().__init__()
        self._always = {"host": socket.gethostname(), "pid": os.getpid(), **always}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = {
            **self._always,
            **_of_celerys(record),
            **events.subject(),
            **getattr(record, "facts", {}),
            "time": _moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": getattr(record, "meaning", None) or record.getMessage(),
        }
        if event := getattr(record, "event", None):
            told["event"] = event
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def to_stderr(format: Format, *, program: str) -> None:
    """Let this process log to standard error."""
    handler = logging.StreamHandler()
    if format == "json":
        handler.setFormatter(JsonLines(program=program))
        logging.captureWarnings(True)
    else:
        logging.Formatter.converter = time.gmtime
        handler.setFormatter(logging.Formatter("%(asctime)sZ %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def warnings_to_stderr(lines: logging.Formatter) -> None:
    """Let Python's warnings come as such lines, also before anybody else has begun to log."""
    handler = logging.StreamHandler()
    handler.setFormatter(lines)
    warnings = logging.getLogger("py.warnings")
    warnings.addHandler(handler)
    warnings.propagate = False
    logging.captureWarnings(True)


def _moment(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of_celerys(record: logging.LogRecord) -> dict[str, Any]:
    told = getattr(record, "data", None)
    if not isinstance(told, dict):
        return {}
    return {ours: told[name] for name, ours in _CELERYS_NAMES.items() if name in told}

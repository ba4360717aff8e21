"""The one Celery task body: an attempt, and its outcome in Celery's words.

Celery's state machine decides what Flower shows. A finished operation returns, a failed one raises, a held one
raises `Retry` with its sentence: that is the only ending which a later attempt of the same id may override. One
that was cancelled or has expired is *revoked*.
"""

from collections.abc import Callable

from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from wabajobs.attempt import perform
from wabajobs.bench import Bench
from wabajobs.outcome import Cancelled, Done, Expired, Failed, Hold, NeedsInput, NotBegun, Outcome


class OperationFailed(Exception):
    """The operation has failed; the ledger says why."""


class OperationHeld(Exception):
    """The operation waits in the ledger, and will come again."""


def register(app: Celery, kind: str, bench: Bench, *, slot_is_free: Callable[[], object]) -> None:
    """Make the kind's task: its name is the kind's, its id the operation's."""

    @app.task(name=kind, bind=True, throws=(OperationFailed,), shared=False)
    def attempt(self: Task, fence: int, **_searchable: str) -> str:
        try:
            outcome = perform(self.request.id, fence, bench=bench)
            if isinstance(outcome, Cancelled | Expired):
                _tell_flower(self, outcome)
            return in_celerys_words(outcome)
        finally:
            slot_is_free()


def in_celerys_words(outcome: Outcome) -> str:
    """Return the sentence of a finished operation; raise for any other outcome."""
    match outcome:
        case Done():
            return str(outcome)
        case Failed():
            raise OperationFailed(str(outcome))
        case Cancelled() | Expired():
            raise Ignore(str(outcome))  # Celery has no exception for it: `_tell_flower` has said it
        case NotBegun(settled=True):
            raise Ignore(str(outcome))  # a second delivery must not change what is shown
        case Hold() | NeedsInput() | NotBegun():
            raise Retry(str(outcome), exc=OperationHeld(str(outcome)))


def _tell_flower(task: Task, outcome: Cancelled | Expired) -> None:
    """Send the event that Celery sends for a task that is revoked, with our sentence in it."""
    expired = isinstance(outcome, Expired)
    task.send_event("task-revoked", terminated=True, signum=None, expired=expired, exception=str(outcome))

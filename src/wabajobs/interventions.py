"""What people do with single operations, and with many of them by what they have in common: cancel, retry."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wabajobs.clock import Clock
from wabajobs.decisions import require_reason
from wabajobs.errors import InvalidRequest
from wabajobs.ledger import Cancelling, Ledger, Retrying, Selection
from wabajobs.operation import Operation
from wabajobs.outcome import NeedsInput
from wabajobs.secret import Secret, of_operation
from wabajobs.signals import Bell
from wabajobs.vault import Vault

_BATCH: Final = 100
"""Operations of one transaction; nobody else has to wait for it for long."""


@dataclass(frozen=True, kw_only=True)
class Interventions:
    """Each is one transaction of the ledger for each hundred operations; the dispatcher does the rest."""

    ledger: Ledger
    bell: Bell
    clock: Clock
    vault: Vault

    def cancel(self, operation_id: str, *, reason: str, actor: str, force: bool = False) -> Operation:
        """Cancel an operation, and return it as it stands; safe to repeat.

        What waits or is held is cancelled at once. A running one stops before its next call: until then its
        `stop` says that it is to. One that several callers share is cancelled for all of them, so that needs
        `force`. Raises `NotFound`, and `InvalidRequest` when it has ended otherwise, or is shared.
        """
        require_reason(reason)
        [cancelling] = self._cancel([operation_id], reason=reason, actor=actor, force=force).values() or [None]
        operation = self.ledger.operations.get(operation_id)
        match cancelling:
            case Cancelling.FINISHED:
                raise InvalidRequest(f"operation {operation_id} is {operation.state}: there is nothing to cancel")
            case Cancelling.PAST_RETURN:
                raise InvalidRequest(
                    f"operation {operation_id} is past its point of no return: to stop now would leave things"
                    " worse than to let it finish; if that is meant: --force on the command line, force=True in a"
                    " program"
                )
            case Cancelling.SHARED:
                raise InvalidRequest(
                    f"operation {operation_id} is shared by {operation.callers} requests, and cancelling ends it"
                    " for all of them; if that is meant: --force on the command line, force=True in a program"
                )
        self.bell.ring()
        return operation

    def provide(self, operation_id: str, given: Mapping[str, str], *, actor: str) -> Operation:
        """Give an operation what it needs, and return it as it stands. What is given is kept sealed.

        Raises `NotFound`, `InvalidRequest` when it needs nothing, or what is given is not what it asked for, and
        `ConfigurationError` when there is no vault.
        """
        operation = self.ledger.operations.get(operation_id)
        if operation.needs is None:
            raise InvalidRequest(f"operation {operation_id} is {operation.state}: it needs no input")
        _check(given, operation.needs)
        sealed = {
            of_operation(operation_id, name): self.vault.seal(Secret(value)) for name, value in given.items()
        }
        if not self.ledger.operations.provide(
            operation_id, sealed, given=sorted(given), actor=actor, now=self.clock.now()
        ):
            raise InvalidRequest(f"operation {operation_id} needs no input any more")
        self.bell.ring()
        return self.ledger.operations.get(operation_id)

    def retry(self, operation_id: str, *, reason: str, actor: str) -> Operation:
        """Let an operation that has failed, expired or been cancelled go again from its checkpoint.

        It keeps its id, and its attempts begin anew. Raises `NotFound`, and `InvalidRequest` when it has not
        ended so.
        """
        require_reason(reason)
        [retrying] = self._retry([operation_id], reason=reason, actor=actor).values() or [None]
        operation = self.ledger.operations.get(operation_id)
        match retrying:
            case Retrying.SUCCEEDED:
                raise InvalidRequest(
                    f"operation {operation_id} has succeeded; ask for a new one to do it once more"
                )
            case Retrying.UNFINISHED:
                raise InvalidRequest(f"operation {operation_id} is {operation.state}: it goes on by itself")
            case Retrying.SUPERSEDED:
                raise InvalidRequest(
                    f"operation {operation_id} is superseded: a newer one that asks for the same waits already"
                    f" (wabajobs ops list --kind {operation.kind} --waba {operation.waba})"
                )
        self.bell.ring()
        return operation

    def cancel_all(
        self, chosen: Selection, *, reason: str, actor: str, force: bool = False
    ) -> Iterator[Counter[str]]:
        """Cancel all of a selection, the newest first; count what came of each batch."""
        require_reason(reason)
        return self._in_batches(chosen, lambda ids: self._cancel(ids, reason=reason, actor=actor, force=force))

    def retry_all(self, chosen: Selection, *, reason: str, actor: str) -> Iterator[Counter[str]]:
        """Let all of a selection go again, the newest first; count what came of each batch.

        They queue like all others: nothing leaves the ledger any faster because there are many of them.
        """
        require_reason(reason)
        return self._in_batches(chosen, lambda ids: self._retry(ids, reason=reason, actor=actor))

    def _cancel(self, ids: Sequence[str], *, reason: str, actor: str, force: bool) -> dict[str, Cancelling]:
        operations = self.ledger.operations
        return operations.cancel(ids, reason=reason, actor=actor, force=force, now=self.clock.now())

    def _retry(self, ids: Sequence[str], *, reason: str, actor: str) -> dict[str, Retrying]:
        return self.ledger.operations.retry(ids, reason=reason, actor=actor, now=self.clock.now())

    def _in_batches(
        self, chosen: Selection, act: Callable[[Sequence[str]], Mapping[str, StrEnum]]
    ) -> Iterator[Counter[str]]:
        before = None
        while ids := self.ledger.operations.ids(chosen, before=before, at_most=_BATCH):
            yield Counter(map(str, act(ids).values()))
            self.bell.ring()
            before = ids[-1]


def _check(given: Mapping[str, str], needs: NeedsInput) -> None:
    """Refuse what was not asked for, or cannot be it. What was given is in no sentence: it may be a secret."""
    asked = {one.name: one for one in needs.asks}
    names = ", ".join(asked)
    if not given:
        raise InvalidRequest(f"nothing is given; it needs {names}")
    for name, value in given.items():
        if name not in asked:
            raise InvalidRequest(f"{name!r} was not asked for; it needs {names}")
        if not isinstance(value, str) or not re.fullmatch(asked[name].pattern, value):
            raise InvalidRequest(f"{name}: what is given cannot be it; it is {asked[name].about}")

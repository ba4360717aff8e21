"""The Hub's door: enqueue operations, and ask where they stand."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, overload

from sqlalchemy import event
from sqlalchemy.orm import Session

from wabajobs import webhooks, wiring
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Pause
from wabajobs.dry_run import Plan
from wabajobs.errors import GateUnavailable, InvalidRequest, NotReady, Rejected
from wabajobs.feed import Event, EventKind, event_kinds
from wabajobs.gate import Call
from wabajobs.intake import IfHeld, Request, checked, refusal
from wabajobs.ledger import Accepted, Account, Applied, NewOperation
from wabajobs.operation import Operation, State
from wabajobs.settings import Settings

_LONGEST_POLL = 1.0
_MOST_EVENTS = 10_000


class Client:
    """The Hub's door to wabajobs. Thread-safe; make one per process.

    Enqueueing needs the ledger's database and nothing else: Redis, the broker, the workers and Meta may all be
    down.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Use these settings, or those of the environment (`WABAJOBS_CONFIG` and the rest)."""
        self._house = wiring.House(settings or Settings.load())

    @overload
    def enqueue(
        self,
        kind: str,
        *,
        partner: str,
        waba: str | None = ...,
        app: str | None = ...,
        payload: Mapping[str, Any] | None = ...,
        service_class: ServiceClass | str | None = ...,
        key: str | None = ...,
        expires_after: float | None = ...,
        if_held: IfHeld = ...,
        session: Session | None = ...,
        dry_run: Literal[False] = ...,
    ) -> Operation: ...

    @overload
    def enqueue(
        self,
        kind: str,
        *,
        partner: str,
        waba: str | None = ...,
        app: str | None = ...,
        payload: Mapping[str, Any] | None = ...,
        service_class: ServiceClass | str | None = ...,
        key: str | None = ...,
        expires_after: float | None = ...,
        if_held: IfHeld = ...,
        dry_run: Literal[True],
    ) -> Plan: ...

    def enqueue(
        self,
        kind: str,
        *,
        partner: str,
        waba: str | None = None,
        app: str | None = None,
        payload: Mapping[str, Any] | None = None,
        service_class: ServiceClass | str | None = None,
        key: str | None = None,
        expires_after: float | None = None,
        if_held: IfHeld = "wait",
        session: Session | None = None,
        dry_run: bool = False,
    ) -> Operation | Plan:
        """Accept an operation; when this returns, its row is committed.

        With `session`, the row is written inside that session's transaction and stands or falls with it: use
        this to enqueue together with the Hub's own changes, in the same database. The dispatcher is woken
        when the session commits.

        `key` is an idempotency key, unique per partner: asked again with it, the same operation is returned,
        whatever has become of it. The answer tells also why the operation waits, if it does (`hold`).

        `expires_after` is the number of seconds after which the operation is of no use any more: what has not
        ended by then expires. Without it, the kind decides.

        With `if_held="reject"` nothing is accepted that would have to wait now: for a pause, a breaker, a budget.

        With `dry_run` nothing is accepted, written or called: the answer is a `Plan` of the steps and calls that
        it would lead to, what they cost, and what is missing.

        Raises `InvalidRequest` (with what is wrong), `Rejected` (a pause takes nothing new: why, until when, and
        what customers may be told), `IdempotencyConflict` (the key belongs to another request), `NotFound` (the
        key's operation is no longer kept), `LedgerUnavailable`.
        """
        request = Request(
            kind=kind,
            partner=partner,
            waba=waba,
            app=app,
            payload=payload or {},
            service_class=service_class,
            key=key,
            expires_after=expires_after,
            if_held=if_held,
        )
        return self._plan(request) if dry_run else self.enqueue_many([request], session=session)[0]

    def _plan(self, request: Request) -> Plan:
        house = self._house
        # Sealed with nothing: whether there is a key to seal with is one of the questions.
        new = checked(
            request,
            kinds=house.kinds,
            settings=house.settings,
            seal=lambda _: "",
            home_of=house.ledger.homes.of,
        )
        return house.dry_run.plan(house.router.routed(new, house.router.standing()))

    def enqueue_many(self, requests: Iterable[Request], *, session: Session | None = None) -> list[Operation]:
        """Accept many operations in one transaction: all of them or, when one is invalid, none.

        The answer is in the order of the requests.
        """
        house, requests = self._house, list(requests)
        homes = self._homes([one.waba for one in requests if one.app is None and isinstance(one.waba, str)])
        new = [
            checked(
                request,
                kinds=house.kinds,
                settings=house.settings,
                seal=house.vault.seal,
                home_of=homes.get,
            )
            for request in requests
        ]
        if routes := house.router.standing():
            new = [house.router.routed(one, routes) for one in new]
        now = house.clock.now()
        # Before anything is written: what has been accepted must not end in an error of a mere look.
        pauses = house.ledger.decisions.pauses(now=now)
        for one, request in zip(new, requests, strict=True):
            self._refuse(one, request, pauses, now)
        connection = session.connection() if session is not None else None
        accepted: list[Accepted] = house.ledger.operations.accept(new, now=now, connection=connection)
        if session is None:
            house.work_bell.ring()
        else:
            self._ring_after_commits_of(session)
        return [one.operation.under(pauses) for one in accepted]

    def _refuse(self, new: NewOperation, request: Request, pauses: Sequence[Pause], now: datetime) -> None:
        """Raise `Rejected` where a pause takes nothing new, or the caller does not want to wait."""
        operation = new.accepted(now)
        rejected = refusal(operation, pauses)
        if rejected is None and request.if_held == "reject":
            rejected = self._would_wait(operation.under(pauses))
        if rejected and not (new.key and self._house.ledger.operations.foresee(new)[0]):
            raise rejected

    def _would_wait(self, operation: Operation) -> Rejected | None:
        if hold := operation.hold:
            return Rejected(hold.reason, code="paused", notice=hold.notice, until=hold.until)
        try:
            [wait] = self._house.gate.forecast([Call.of(operation)])
        except GateUnavailable as error:
            return Rejected(f"no calls are made: {error}", code="gate")
        if wait is None or not wait.is_long(self._house.settings.dispatch.short_wait):
            return None
        until = self._house.clock.now() + wait.delay if wait.delay else None
        return Rejected(str(wait), code=str(wait.because), notice=wait.notice, until=until)

    def _homes(self, wabas: Collection[str]) -> dict[str, str]:
        """Return the home apps of WABAs; with a single app nobody needs to know."""
        if not wabas or len(self._house.settings.apps) < 2:
            return {}
        return self._house.ledger.homes.of_all(wabas)

    def get(self, operation_id: str) -> Operation:
        """Return an operation as it stands. Raises `NotFound`."""
        pauses = self._house.ledger.decisions.pauses(now=self._house.clock.now())
        return self._house.ledger.operations.get(operation_id).under(pauses)

    def cancel(self, operation_id: str, *, reason: str, actor: str = "hub", force: bool = False) -> Operation:
        """Cancel an operation, and return it as it stands. Safe to repeat.

        What waits or is held is `cancelled` when this returns. A running one stops before its next call: it has
        `stop` until it is cancelled, or has ended otherwise after all. Cancelling an operation that several
        requests share (`callers`) ends it for all of them, so it needs `force`.

        Raises `NotFound`, `InvalidRequest` (it has ended otherwise, or is shared), `LedgerUnavailable`.
        """
        return self._house.interventions.cancel(operation_id, reason=reason, actor=actor, force=force)

    def provide(self, operation_id: str, *, actor: str = "hub", **given: str) -> Operation:
        """Give an operation what it needs (`needs`), and return it as it stands: `provide(id, code="123456")`.

        What is given is sealed before it is written down. Raises `NotFound`, `InvalidRequest` when it needs
        nothing or something else, `LedgerUnavailable`.
        """
        return self._house.interventions.provide(operation_id, given, actor=actor)

    def wait(self, operation_id: str, *, timeout: timedelta | None = None) -> Operation:
        """Return the operation once it is finished. Raises `NotReady` after `timeout`, with where it stands.

        It asks the ledger, at first every 20 ms and then less and less often, at most once a second.
        """
        end = None if timeout is None else time.monotonic() + timeout.total_seconds()
        poll = 0.02
        while True:
            operation = self.get(operation_id)
            if operation.state.finished or operation.state is State.NEEDS_INPUT:
                return operation
            if end is not None and time.monotonic() >= end:
                why = f" ({operation.hold.reason})" if operation.hold else ""
                raise NotReady(f"operation {operation_id} is still {operation.state}{why}")
            time.sleep(poll if end is None else max(0.0, min(poll, end - time.monotonic())))
            poll = min(poll * 1.5, _LONGEST_POLL)

    def events(self, *, after: int = 0, limit: int = 100, kinds: Iterable[EventKind | str] = ()) -> list[Event]:
        """Return what has happened since: the first events behind the cursor `after`, in order.

        Keep the `cursor` of the last one that you have worked off, with what you made of it, and ask again after
        it; begin with 0. An empty answer says that there is nothing new. `kinds` are such as `operation.failed`;
        without any, all.

        Raises `InvalidRequest` when what follows `after` is no longer kept, or `after` is no cursor of this
        ledger's, `LedgerUnavailable`.
        """
        if not 1 <= limit <= _MOST_EVENTS:
            raise InvalidRequest(f"limit: 1 to {_MOST_EVENTS} events at once, not {limit}")
        return self._house.ledger.outbox.read(after=after, at_most=limit, kinds=event_kinds(kinds))

    def apply_webhook(self, body: webhooks.Body, *, signature: str | None = None) -> list[Applied]:
        """Take what Meta's webhook tells into the mirrors, without a call; return what was done.

        Give every webhook of the object `whatsapp_business_account`, as often as it comes and in any order:
        what is old, twice, unknown or none of ours changes nothing. What it cannot tell completely makes the
        list of templates due for a sync soon. A WABA that is deleted, disabled or no longer ours is paused,
        until Meta tells the opposite or a person resumes it.

        With `signature`, the header `X-Hub-Signature-256`, the body (its bytes) must be signed by one of the
        apps; without, it is taken to be checked. Raises `InvalidRequest` for what is no webhook or not signed
        by us, `LedgerUnavailable`: then answer Meta with an error, and it comes again.
        """
        house = self._house
        if signature is not None:
            found = (house.vault.app_secret(id, app) for id, app in house.settings.apps.items())
            webhooks.verify(body, signature, [secret for secret in found if secret is not None])
        told = webhooks.read(body)
        taken = house.ledger.apply(told, now=house.clock.now(), planner=house.settings.planner)
        if taken.decided:
            # The dispatchers put it in force at the gate, as after a decision of a person's.
            house.decision_bell.ring()
            house.work_bell.ring()
        for waba, active in taken.active.items():
            with suppress(GateUnavailable):  # until it is shown again, Meta's headers correct the limit
                for app in house.settings.apps:
                    house.gate.note_activity(app, waba, active=active)
        return list(taken.applied)

    def account(self, waba: str) -> Account | None:
        """Return a WABA as Meta's webhooks have told it: its standing, and the newest of each thing.

        None when nothing was ever told. Raises `LedgerUnavailable`.
        """
        return self._house.ledger.accounts.get(waba)

    def keep_fresh(
        self,
        waba: str,
        *,
        partner: str,
        app: str | None = None,
        every: timedelta | None = None,
        actor: str = "hub",
        reason: str = "the Hub asks for it",
    ) -> None:
        """Keep a WABA's template list fresh from now on, for this partner, from the budget that is left over.

        `every` is a wished staleness of its own. A WABA comes in by itself with its first sync; this brings it in
        before, gives it another wish, or takes a `forget` back. Raises `InvalidRequest`, `LedgerUnavailable`.
        """
        house = self._house
        if every is not None and every.total_seconds() <= 0:
            raise InvalidRequest("`every` must be more than nothing: say how old the list may become")
        request = Request(kind="template_sync", partner=partner, waba=waba, app=app)
        new = checked(request, kinds=house.kinds, settings=house.settings, home_of=house.ledger.homes.of)
        house.ledger.fleet.keep(
            [waba],
            app=new.app,
            partner=partner,
            every=every,
            actor=actor,
            reason=reason,
            now=house.clock.now(),
            settings=house.settings.planner,
        )

    def forget(self, waba: str, *, actor: str = "hub", reason: str = "the Hub asks for it") -> bool:
        """Plan no more syncs of a WABA; False when none were. It can still be synced on request."""
        house = self._house
        return bool(
            house.ledger.fleet.forget(
                [waba], actor=actor, reason=reason, now=house.clock.now(), settings=house.settings.planner
            )
        )

    def _ring_after_commits_of(self, session: Session) -> None:
        # Once for each session: SQLAlchemy never forgets a listener, also not one that listens `once`.
        if not event.contains(session, "after_commit", self._ring):
            event.listen(session, "after_commit", self._ring)

    def _ring(self, _session: Session) -> None:
        self._house.work_bell.ring()

    def close(self) -> None:
        """Close all connections."""
        self._house.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

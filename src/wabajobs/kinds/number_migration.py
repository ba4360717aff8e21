"""`number_migration`: move a phone number from another WABA, be it another provider's, to this one.

The destination asks for it, and the number works where it was until *register* takes it over: from there on,
there is no way back. With `check_only` nothing is changed: what stands against the move is read, as far as it can
be seen.

The app is subscribed first of all, because Meta lets no number move to a WABA without webhooks, and because no
message is to be missed. Templates of good quality come along by themselves; *templates* copies those of a WABA of
the same business once more, where that was not complete.

Sources: developers.facebook.com/docs/whatsapp/solution-providers/support/
migrating-phone-numbers-among-solution-partners-programmatically, and, for templates,
/documentation/business-messaging/whatsapp/templates/template-migration.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Self

from pydantic import model_validator

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import GraphError, HeavyPage, Held, Transient
from wabajobs.kinds import proof, subscription
from wabajobs.kinds.inputs import MetaId, PhoneNumber
from wabajobs.kinds.kind import Kind, Payload, PlannedCall, Step
from wabajobs.kinds.work import Work

_LATER: Final = timedelta(hours=1)
_PAGES: Final = (500, 250, 125, 25, 5, 1)
"""Templates of a page: the most that Meta takes at once; each divides the one before."""


class Wanted(proof.CodeWanted):
    """Which number comes, and from where, if we may look there."""

    phone_number: PhoneNumber
    check_only: bool = False
    """Change nothing: tell what stands against it."""
    source_waba: MetaId | None = None
    """The WABA that it leaves, if our token sees it."""
    source_number: MetaId | None = None
    """Its id there, if our token sees it."""
    templates: bool = False
    """Copy the templates of `source_waba` afterwards, beyond those that come by themselves."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.templates and self.source_waba is None:
            raise ValueError("templates: source_waba is needed, the WABA that they are copied from")
        return self


# ── what stands against it ───────────────────────────────────────────────────────────────────────────────────

_Rules = tuple[tuple[Callable[[Mapping[str, Any]], bool], str], ...]

_DESTINATION: Final[_Rules] = (
    (lambda waba: waba.get("account_review_status") == "APPROVED", "this WABA is not approved by Meta"),
    (
        lambda waba: waba.get("business_verification_status") == "verified",
        "the business of this WABA is not verified",
    ),
    (lambda waba: bool(waba.get("primary_funding_id")), "this WABA has no payment method and no line of credit"),
)
_SOURCE: Final[_Rules] = (
    (lambda waba: waba.get("account_review_status") == "APPROVED", "its present WABA is not approved by Meta"),
    (
        lambda waba: waba.get("business_verification_status") == "verified",
        "the business of its present WABA is not verified",
    ),
)
_NUMBER: Final[_Rules] = (
    (
        lambda number: number.get("platform_type") in ("CLOUD_API", "ON_PREMISE"),
        "the number is not registered where it is: add it with number_registration instead",
    ),
    (
        lambda number: number.get("is_pin_enabled") is False,
        "two-step verification is on: switch it off in the WhatsApp Manager of its present WABA",
    ),
    (lambda number: number.get("name_status") == "APPROVED", "its display name is not approved"),
    (
        lambda number: number.get("new_name_status") != "PENDING_REVIEW",
        "a change of its display name is being reviewed",
    ),
    (lambda number: number.get("account_mode") == "LIVE", "it is a test number"),
    (lambda number: not number.get("is_on_biz_app"), "it is in use with the WhatsApp Business app"),
)


def _checked(work: Work, id: str, rules: _Rules, *fields: str) -> dict[str, Any]:
    answer = work.graph.get(id, fields=",".join(fields))
    unmet = [*work.results.get("unmet", ()), *(sentence for is_met, sentence in rules if not is_met(answer))]
    return {"ready": not unmet, "unmet": unmet}


def check_destination(work: Work) -> dict[str, Any]:
    """Read whether a number may come here; tell what cannot be seen of where it comes from."""
    fields = ("account_review_status", "business_verification_status", "primary_funding_id")
    payload = work.operation.payload
    unseen = [name for name in ("source_waba", "source_number") if name not in payload]
    return {**_checked(work, str(work.operation.waba), _DESTINATION, *fields), "unseen": unseen}


def check_source(work: Work) -> dict[str, Any]:
    """Read whether a number may leave its WABA."""
    fields = ("account_review_status", "business_verification_status")
    return _checked(work, work.operation.payload["source_waba"], _SOURCE, *fields)


def check_number(work: Work) -> dict[str, Any]:
    """Read whether the number itself may move."""
    fields = (
        "platform_type",
        "is_pin_enabled",
        "name_status",
        "new_name_status",
        "account_mode",
        "is_on_biz_app",
    )
    return _checked(work, work.operation.payload["source_number"], _NUMBER, *fields)


# ── the move ─────────────────────────────────────────────────────────────────────────────────────────────────


def add(work: Work) -> dict[str, Any]:
    """Begin the move: the number gets a new id here, and goes on working where it is."""
    try:
        return proof.add(work, migrate_phone_number=True)
    except GraphError as error:
        if error.subcode != _STAYS:
            raise
        words = error.details or error.message
        sentence = next((said for pattern, said in _WHY if re.search(pattern, words, re.IGNORECASE)), None)
        if sentence is None and _PASSING.search(words):
            raise Held(reason=f"the number cannot move now; Meta: {words}", by="meta", wait=_LATER) from None
        raise proof.said(error, f"the number cannot move: {sentence or 'Meta says why'}") from None


_STAYS: Final = 2388103
_WHY: Final = (
    (r"webhook", "no app is subscribed to the webhooks of this WABA"),
    (r"direct(ly)? instead|add it directly", "it is in use nowhere: add it with number_registration"),
    (r"display name", "its display name is not approved, or is being changed: have it approved where it is now"),
    (r"payment|credit", "this WABA has no payment method: share a line of credit with it, or add one"),
    (r"messaging for", "the business that this WABA is messaging for is not approved"),
    (r"same business|represent", "the two WABAs do not represent the same business"),
    (r"verified", "the businesses of both WABAs must be verified: see to it in the Business Manager"),
    (r"destination.*approved", "this WABA is not approved: wait for Meta's review, or ask for another"),
    (r"source.*approved", "its present WABA is not approved: its owner must ask Meta for a review"),
    (r"source.*(set|setting)|set ?up", "it is not set up completely where it is now: have it registered there"),
    (r"test number", "it is a test number"),
    (r"business app", "it is in use with the WhatsApp Business app: its account there must be deleted first"),
)
"""Why a number stays where it is: Meta has one subcode for all, and only its words tell them apart."""
_PASSING: Final = re.compile(r"\blater\b|try again", re.IGNORECASE)


def copy_templates(work: Work) -> dict[str, Any]:
    """Copy the templates of the source, page by page; tell those that were not, and why."""
    progress = work.progress() or {"from": 0, "count": _PAGES[0], "not_copied": {}}
    while "from" in progress:
        try:
            answer = work.graph.post(
                f"{work.operation.waba}/migrate_message_templates",
                source_waba_id=work.operation.payload["source_waba"],
                page_number=progress["from"] // progress["count"],
                count=progress["count"],
            )
        except Transient as error:
            smaller = next((count for count in _PAGES if count < progress["count"]), None)
            if smaller is None:
                raise
            # Meta stops after half a minute. What it has copied by then is there, and is not copied again.
            progress = {**progress, "count": smaller}
            work.keep(progress)
            if not isinstance(error, HeavyPage):
                raise
            continue
        progress = _behind(progress, answer)
        work.keep(progress)
    return {"not_copied": progress["not_copied"]}


def _behind(progress: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return the progress behind a page; without `from` when it was the last."""
    failed = answer.get("failed_templates") or {}
    not_there = {id: reason for id, reason in failed.items() if "already exists" not in reason}
    progress = {**progress, "not_copied": {**progress["not_copied"], **not_there}}
    if len(answer.get("migrated_templates", ())) + len(failed) < progress["count"]:
        del progress["from"]
    else:
        progress["from"] += progress["count"]
    return progress


def _moves(payload: Payload) -> bool:
    return not payload["check_only"]


def _check(name: str, run: Callable[[Work], dict[str, Any]], asked_of: str, capability: Capability) -> Step:
    """Return a step of the dry run: one call, of what the payload names."""
    return Step(
        name=name,
        run=run,
        when=lambda payload: payload["check_only"] and (asked_of == "waba" or asked_of in payload),
        capability=capability,
        calls=lambda _: (PlannedCall(method="GET", path=f"{{{asked_of}}}"),),
    )


KIND: Final = Kind(
    name="number_migration",
    summary="move a phone number here from another WABA",
    payload=Wanted,
    steps=(
        _check("check_destination", check_destination, "waba", Capability.ONBOARDING),
        _check("check_source", check_source, "source_waba", Capability.ONBOARDING),
        _check("check_number", check_number, "source_number", Capability.PHONE_NUMBERS),
        subscription.step(_moves),
        proof.adding(
            add,
            when=_moves,
            undo="delete the number, which still works where it was, in this WABA's WhatsApp Manager",
        ),
        *proof.steps(_moves),
        Step(
            name="register",
            run=proof.register,
            when=_moves,
            capability=Capability.PHONE_NUMBERS,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/register"),),
            happens_once=True,
            reads_back=proof.is_registered,
            point_of_no_return=True,
            undo="nothing takes it back: the number has to be migrated the other way",
            asks=(proof.PIN, proof.DONE),
        ),
        Step(
            name="templates",
            run=copy_templates,
            when=lambda payload: _moves(payload) and payload["templates"],
            required=False,
            capability=Capability.TEMPLATE_WRITES,
            calls=lambda _: (
                PlannedCall(method="POST", path="{waba}/migrate_message_templates", note="per page of 500"),
            ),
        ),
    ),
    service_class=ServiceClass.INTERACTIVE,
    touches=proof.lane_of,
    expires_after=timedelta(days=14),
)

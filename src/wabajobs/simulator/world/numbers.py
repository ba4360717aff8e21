"""How a phone number changes: added, verified by a code, registered, moved to another WABA, renamed.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/registration
https://developers.facebook.com/docs/whatsapp/business-management-api/manage-phone-numbers
https://developers.facebook.com/docs/whatsapp/solution-providers/support/migrating-phone-numbers-among-solution-partners-programmatically
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wabajobs.simulator.errors import GraphError, bad_parameter, invalid_parameter
from wabajobs.simulator.world import template_writes
from wabajobs.simulator.world.nodes import Business, Number, Waba

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

REGIONS = ("AU", "ID", "IN", "JP", "SG", "KR", "DE", "CH", "GB", "BR", "BH", "ZA", "AE", "CA")
"""Where a number's messages may be kept."""

CONDITIONS = ("BANNED", "FLAGGED", "RESTRICTED", "RATE_LIMITED")

STAY = {
    "no_webhooks": "The destination WhatsApp Business account has no app subscribed to its webhooks.",
    "add_directly": "This phone number is not in use at WhatsApp. Add it directly instead of migrating it.",
    "name_not_approved": "The display name of this phone number is not approved, or has a change pending.",
    "source_not_set_up": "The source WhatsApp Business account has not finished setting this number up.",
    "source_not_approved": "The source WhatsApp Business account is not approved.",
    "no_payment": "The destination WhatsApp Business account has no payment account.",
    "different_business": "Source and destination must represent the same business.",
    "destination_not_approved": "The destination WhatsApp Business account is not approved.",
    "business_not_verified": "The businesses of source and destination must be verified.",
    "messaging_for": "The business that the destination is messaging for has not been approved.",
    "test_number": "Test numbers cannot be migrated.",
    "business_app": "Phone numbers in use with the WhatsApp Business app cannot be migrated.",
    "generic": "The phone number cannot be migrated now. Please try again later.",
}
"""Why a number cannot move; all have the subcode 2388103, only the text distinguishes them."""

_SMS_KEPT = 10
_WORN = 0.8
"""From this share of a quota on, a number is told of as near to it."""


def prepare(world: World) -> None:
    """Teach the agenda what this part lets happen later."""

    def review(_due: float, number_id: str, name: str) -> None:
        number = world.nodes.get(number_id)
        verdict = world.config.name_review
        if isinstance(number, Number) and name_in_review(number) == name and verdict != "manual":
            decide_name(world, number, approved=verdict == "APPROVED")

    world.agenda.when("numbers.name_review", review)


# What a number is


def digits(number: Number) -> str:
    """The whole number as webhooks write it."""
    return number.cc + number.national


def code_status(world: World, number: Number) -> str:
    """VERIFIED, NOT_VERIFIED, or EXPIRED when it was verified and not registered in time."""
    if number.code_status != "VERIFIED" or number.registered or number.preverified:
        return number.code_status
    # A number that came by Embedded Signup was verified there, when it was onboarded.
    onboarded = number.onboarded_at - (world.unix() - world.now())
    until = max(number.verified_at, onboarded) + world.config.verification_seconds
    return "EXPIRED" if world.now() >= until else "VERIFIED"


def status(number: Number) -> str:
    """Its `status`; which words Meta uses when varies by source."""
    if number.moved_away:
        return "MIGRATED"
    if number.condition:
        return number.condition
    if number.registered:
        return "CONNECTED"
    return "DISCONNECTED" if number.registered_before else "PENDING"


def the_same(world: World, cc: str, national: str) -> list[Number]:
    """Every number of these digits that a WABA has: more than one while it moves."""
    return [
        node
        for node in world.nodes.values()
        if isinstance(node, Number)
        and node.national == national
        and node.cc == cc
        and node.waba_id
        and not node.moved_away
    ]


def locked(world: World) -> list[dict[str, Any]]:
    """The numbers whose registration is locked, or near to it, with how often each was tried."""
    now, (most, _) = world.now(), world.config.registrations
    found = []
    for waba in world:
        for number in waba.numbers:
            tried, undone = _recent(world, number.registrations), _recent(world, number.deregistrations)
            if number.locked_until <= now and max(len(tried), len(undone)) < most * _WORN:
                continue
            found.append(
                {
                    "number": number.id,
                    "waba": waba.id,
                    "registrations": len(tried),
                    "deregistrations": len(undone),
                    "most": most,
                    "locked": number.locked_until > now,
                    "locked_until": number.locked_until if number.locked_until > now else None,
                }
            )
    return found


def check_there(number: Number) -> None:
    """Refuse a number that this WABA has lost."""
    if number.moved_away:
        raise _refused(33, "Business phone number has been deleted", "It belongs to another account now.")


# Adding


def split(cc: str, phone_number: str) -> tuple[str, str]:
    """Country code and national digits; the number may come with or without its country code.

    Meta's guide wants it without, its OpenAPI with.
    """
    country = re.sub(r"[\s+]", "", cc)
    plain = re.sub(r"[\s().-]", "", phone_number)
    national = plain.removeprefix("+")
    if not re.fullmatch(r"[1-9][0-9]{0,2}", country):
        raise bad_parameter("Param cc must be a country calling code")
    if not re.fullmatch(r"[0-9]{4,15}", national):
        raise bad_parameter("Param phone_number must be a valid phone number")
    without = national.removeprefix(country)
    # An area code may equal the country code, so the rest must be long enough for a whole number.
    if plain.startswith("+") or len(without) >= (10 if country == "1" else 8):
        national = without
    if not 4 <= len(national) <= 15 - len(country):
        raise bad_parameter("Param phone_number must be a valid phone number")
    return country, national


def add(
    world: World,
    waba: Waba,
    *,
    cc: str,
    phone_number: str,
    verified_name: str | None = None,
    migrate: bool = False,
    preverified_id: str | None = None,
) -> Number:
    """A number comes to a WABA, from outside, from another WABA, or from the partner's verified ones."""
    country, national = split(cc, phone_number)
    others = the_same(world, country, national)
    if any(other.waba_id == waba.id for other in others):
        raise invalid_parameter(2388012, "Phone number already in your list", "Choose another phone number.")
    if migrate:
        return _begin_migration(world, waba, others)
    if verified_name is None:
        raise bad_parameter("The parameter verified_name is required.")
    if any(other.registered or other.code_status == "VERIFIED" for other in others):
        raise GraphError(
            message="(#100) This phone number is already registered to another account",
            code=100,
            status=world.config.number_taken_status,
        )
    _check_room(world, waba)
    pool = _preverified(world, preverified_id, country, national) if preverified_id else None
    number = _new(world, waba, country, national, name=verified_name)
    number.name_status = "PENDING_REVIEW"
    world.agenda.plan(
        world.now() + world.config.name_review_seconds, "numbers.name_review", number.id, verified_name
    )
    if pool:
        world.change(pool).moved_away = True
        number.preverified, number.code_status = True, "VERIFIED"
    return number


def add_preverified(world: World, cc: str, phone_number: str) -> Number:
    """A number that the partner has verified and that no WABA has yet."""
    country, national = split(cc, phone_number)
    return world.add(_made(world, "", country, national, name=""))


def _preverified(world: World, number_id: str, cc: str, national: str) -> Number:
    node = world.nodes.get(number_id)
    if not isinstance(node, Number) or node.waba_id or node.moved_away:
        raise bad_parameter("Param preverified_id must be the id of a pre-verified phone number of yours")
    if (node.cc, node.national) != (cc, national):
        raise bad_parameter("Param preverified_id is another phone number's")
    return node


def _check_room(world: World, waba: Waba) -> None:
    owner = world.nodes.get(waba.business_id)
    verified = isinstance(owner, Business) and owner.verified
    most = world.config.numbers_most[verified]
    have = sum(
        not number.moved_away
        for other in world
        if other.business_id == waba.business_id and not other.gone
        for number in other.numbers
    )
    if have >= most:
        raise GraphError(
            message="(#200) You have reached the maximum number of phone numbers",
            code=200,
            subcode=1349175,
            status=403,
            user_title="Phone number limit reached",
            user_message=f"This business portfolio may have {most} phone numbers.",
        )


def _new(world: World, waba: Waba, cc: str, national: str, *, name: str) -> Number:
    number = world.add(_made(world, waba.id, cc, national, name=name))
    waba = world.change(waba)
    waba.numbers = (*waba.numbers, number)
    return number


def _made(world: World, waba_id: str, cc: str, national: str, *, name: str) -> Number:
    written = f"{national[:-4]}-{national[-4:]}"
    if cc == "1" and len(national) == 10:
        written = f"{national[:3]}-{national[3:]}"
    return Number(
        id=world.fresh_id(),
        waba_id=waba_id,
        display=f"+{cc} {written}",
        verified_name=name,
        registered=False,
        cc=cc,
        national=national,
        code_status="NOT_VERIFIED" if waba_id else "VERIFIED",
        quality="UNKNOWN",
        name_status="NONE",
        platform="NOT_APPLICABLE",
        created_at=int(world.unix()),
        verified_at=world.now(),
    )


# Moving from another WABA


def _begin_migration(world: World, waba: Waba, others: list[Number]) -> Number:
    source = next((other for other in others if other.registered), next(iter(others), None))
    reason = _why_it_stays(world, waba, source)
    if reason or source is None:
        raise invalid_parameter(2388103, "Phone number cannot be migrated", STAY[reason or "add_directly"])
    if world.now() < source.maintenance_until:
        raise _maintenance()
    if _business_of(world, source) != waba.business_id:
        _check_room(world, waba)
    number = _new(world, waba, source.cc, source.national, name=source.verified_name)
    number.migrating_from = source.id
    number.name_status, number.quality = source.name_status, source.quality
    number.official, number.throughput = source.official, source.throughput
    number.certificate = source.certificate
    return number


def _why_it_stays(world: World, waba: Waba, source: Number | None) -> str | None:
    """The first reason of `STAY` for which a number cannot come here."""
    if source is None:
        return "add_directly"
    if source.migration_problem:
        return source.migration_problem
    leaves = world.waba_of(source)
    problems = {
        "test_number": source.sandbox,
        "business_app": source.on_business_app,
        "source_not_set_up": not source.registered or leaves is None,
        "source_not_approved": leaves is not None and leaves.review != "APPROVED",
        "name_not_approved": source.name_status != "APPROVED" or name_in_review(source) is not None,
        "business_not_verified": not (_verified(world, waba) and leaves and _verified(world, leaves)),
        "different_business": world.config.migration_same_business
        and _business_of(world, source) != waba.business_id,
        "destination_not_approved": waba.review != "APPROVED",
        "no_payment": waba.funding_id is None,
        "no_webhooks": not waba.subscribed,
    }
    return next((reason for reason, is_so in problems.items() if is_so), None)


def _business_of(world: World, number: Number) -> str | None:
    waba = world.waba_of(number)
    return waba.business_id if waba else None


def _verified(world: World, waba: Waba) -> bool:
    owner = world.nodes.get(waba.business_id)
    return isinstance(owner, Business) and owner.verified


def _source(world: World, number: Number) -> Number | None:
    """The number that this one takes the place of, while it still can."""
    node = world.nodes.get(number.migrating_from or "")
    return node if isinstance(node, Number) and not node.moved_away else None


def _migration_over(world: World, number: Number) -> bool:
    return number.migration_ended or (number.migrating_from is not None and _source(world, number) is None)


def end_migration(world: World, number: Number) -> None:
    """A number that was to move here does not any more."""
    number = world.change(number)
    number.migrating_from, number.migration_ended = None, True


# Codes


class Sent(NamedTuple):
    """A code on its way to the number's owner."""

    code: str
    replaced_lapsed: bool
    """Whether the last code could not be entered any more."""


def send_code(world: World, number: Number, *, method: str, language: str) -> Sent:
    """Send a code to the number's owner, by SMS or a call; an older one is void then."""
    check_there(number)
    if _migration_over(world, number):
        raise invalid_parameter(
            2388091, "Cannot send the code", "This phone number is not being migrated, so no code can be sent."
        )
    if code_status(world, number) == "VERIFIED":
        raise _refused(136024, "Request code error", "You have already verified this phone number.")
    now, (most, window) = world.now(), world.config.code_requests
    recent = tuple(at for at in number.code_requests if at > now - window)
    if len(recent) >= most:
        details = "Too many codes were requested for this phone number. Please try again later."
        raise _refused(world.config.code_requests_code, "Request code error", details)
    lapsed = number.code is None or now >= number.code_until
    number = world.change(number)
    number.code = f"{world.random.randrange(1_000_000):06d}"
    number.code_until = now + world.config.code_seconds
    number.code_requests = (*recent, now)
    message = {"time": now, "method": method, "language": language, "code": number.code}
    number.sms = (*number.sms, message)[-_SMS_KEPT:]
    return Sent(number.code, lapsed)


def verify(world: World, number: Number, code: str) -> None:
    """Take the code that the owner got."""
    check_there(number)
    if _migration_over(world, number):
        raise invalid_parameter(
            2388093, "Cannot verify the code", "This phone number is not being migrated, so no code is expected."
        )
    now, (most, wait) = world.now(), world.config.code_guesses
    if code_status(world, number) == "VERIFIED":
        raise _no_code("You have already verified this phone number.")
    if now < number.code_again_at:
        raise _no_code(f"Too many wrong codes. Try again in {_seconds(number.code_again_at - now)}.")
    if number.code is None:
        raise _no_code("No code was requested, or it has been used already. Request a new one.")
    if now >= number.code_until:
        raise _no_code("The code has expired. Request a new one.")
    number = world.change(number)
    if code != number.code:
        number.code_guesses += 1
        if number.code_guesses >= most:
            number.code_guesses, number.code_again_at = 0, now + wait
        raise _no_code("The code that you entered is not correct.")
    mark_verified(world, number)


def mark_verified(world: World, number: Number) -> None:
    """The number's owner has proved to have it."""
    number = world.change(number)
    number.code_status, number.verified_at = "VERIFIED", world.now()
    number.code, number.code_guesses, number.code_again_at = None, 0, 0.0


def _no_code(details: str) -> GraphError:
    return _refused(136025, "Verify code error", details)


# Registration


class Registered(NamedTuple):
    """What a registration came to."""

    before: bool
    """Whether the number was registered already."""
    renamed: bool
    """Whether a new display name came into force by it."""
    moved_from: Number | None
    """The number at the WABA that has lost it."""
    templates: int
    """How many templates came along with it."""


def register(
    world: World, number: Number, *, pin: str, region: str | None = None, backup: dict[str, Any] | None = None
) -> Registered:
    """Let a number send by the Cloud API. The PIN is set, or must be right when there is one."""
    check_there(number)
    with _attempt(world, number, "registrations"):
        source = _check_registration(world, number, pin=pin, region=region, backup=backup)
    before = number.registered and number.platform == "CLOUD_API"
    renamed = number.new_name_status == "APPROVED"
    if source:
        _move(world, source)
    number = world.change(number)
    number.registered, number.registered_before = True, True
    number.platform, number.pin, number.migrating_from = "CLOUD_API", pin, None
    number.pin_guesses, number.pin_guessed_at = 0, None
    number.data_localization_region = region or number.data_localization_region
    if not before:
        number.onboarded_at = int(world.unix())
    if renamed and number.new_name is not None:
        number.verified_name, number.new_name, number.new_name_status = number.new_name, None, "NONE"
        number.name_status = "APPROVED"
        number.certificate, number.new_certificate = number.new_certificate, None
    templates = 0
    if source:
        leaves, comes = world.waba(source.waba_id), world.waba(number.waba_id)
        templates = len(template_writes.copy_good(world, leaves, comes).copies)
    return Registered(before, renamed, source, templates)


def _check_registration(
    world: World, number: Number, *, pin: str, region: str | None, backup: dict[str, Any] | None
) -> Number | None:
    """Refuse what may not be registered; the number that it takes the place of, if it moves here."""
    now = world.now()
    if number.condition == "BANNED":
        raise _refused(131031, "Business Account locked", "The phone number is banned.", status=403)
    if number.half_deregistered:
        raise _refused(
            133000, "Incomplete Deregistration", "Deregister the number again before registering it.", status=500
        )
    if now < number.deleted_until:
        details = "The number was deleted recently. Please wait 5 minutes and try again."
        raise _refused(
            133015, "Please wait a few minutes before attempting to register this phone number", details
        )
    source = _check_owned(world, number, backup)
    _check_pin(world, number, pin)
    if number.registered and region and number.data_localization_region not in (None, region):
        raise bad_parameter("data_localization_region can only be changed by deregistering the number first")
    return source


def _check_owned(world: World, number: Number, backup: dict[str, Any] | None) -> Number | None:
    """Refuse a number whose ownership is not proved; the number that it takes the place of, if it moves."""
    now = world.now()
    if backup is not None:
        right = number.backup is not None and all(
            backup.get(name) == number.backup[name] for name in ("password", "data")
        )
        if not right or number.platform != "ON_PREMISE":
            raise bad_parameter("Param backup is not valid, or its password is wrong")
        return None
    verified = code_status(world, number) == "VERIFIED"
    if number.migrating_from is None and not number.migration_ended:
        if not verified:
            raise _refused(133006, "Phone number re-verification needed", "Verify the phone number first.")
        return None
    source = _source(world, number)
    if source is None or not verified:
        raise invalid_parameter(
            2388001, "Cannot migrate phone number", "The ownership of the number is not confirmed."
        )
    if source.pin is not None:
        raise invalid_parameter(
            2388001, "Cannot migrate phone number", "Turn two-step verification off at the source account first."
        )
    if now < source.maintenance_until:
        raise _maintenance()
    return source


def _move(world: World, source: Number) -> None:
    source = world.change(source)
    source.moved_away, source.registered, source.platform = True, False, "NOT_APPLICABLE"


def deregister(world: World, number: Number) -> None:
    """Stop a number from sending by the Cloud API."""
    check_there(number)
    if number.on_business_app:
        raise bad_parameter(
            "A phone number in use with both Cloud API and the WhatsApp Business app cannot be deregistered here"
        )
    with _attempt(world, number, "deregistrations"):
        if not number.half_deregistered and not (number.registered and number.platform == "CLOUD_API"):
            raise not_registered()
    unregister(world, number)


def unregister(world: World, number: Number) -> None:
    """The number stops sending, by whosoever's will."""
    number = world.change(number)
    number.registered_before |= number.registered
    number.registered, number.half_deregistered = False, False
    number.platform, number.data_localization_region = "NOT_APPLICABLE", None
    number.verified_at = world.now()
    # The key must be sent again after the next registration.
    number.public_key_signed = False


def not_registered() -> GraphError:
    return _refused(133010, "Phone number Not Registered", "Register the phone number first.")


@contextmanager
def _attempt(world: World, number: Number, kind: Literal["registrations", "deregistrations"]) -> Iterator[None]:
    """Count an attempt against its quota; the first one too many locks both for a while."""
    now, (most, _) = world.now(), world.config.registrations
    if now < number.locked_until:
        raise _locked(number.locked_until - now)
    before = _recent(world, getattr(number, kind))
    number = world.change(number)
    if len(before) >= most:
        number.locked_until = now + world.config.registration_lock
        raise _locked(world.config.registration_lock)
    setattr(number, kind, (*before, now))
    try:
        yield
    except GraphError:
        if not world.config.failed_registrations_count:
            setattr(number, kind, before)
        raise


def _recent(world: World, times: tuple[float, ...]) -> tuple[float, ...]:
    _, window = world.config.registrations
    return tuple(at for at in times if at > world.now() - window)


def _locked(wait: float) -> GraphError:
    return _refused(
        133016,
        "Account register deregister rate limit exceeded",
        "Registration or deregistration failed because there were too many attempts for this phone number in a "
        f"short period of time. Try again in {_seconds(wait)}.",
    )


# The PIN of two-step verification


def _check_pin(world: World, number: Number, pin: str) -> None:
    """Refuse a wrong PIN, and guessing."""
    if number.pin is None:
        return
    now, (most, wait) = world.now(), world.config.pin_guesses
    since = now - number.pin_guessed_at if number.pin_guessed_at is not None else None
    if since is not None:
        if number.pin_guesses >= most and since < wait:
            raise _refused(
                133008, "Too Many two step verification PIN Guesses", f"Try again in {_seconds(wait - since)}."
            )
        pause = world.config.pin_pause
        if since < pause:
            raise _refused(
                133009,
                "Two step verification PIN Guessed Too Fast",
                f"Try again in {_seconds(pause - since)}.",
            )
    if pin != number.pin:
        number = world.change(number)
        number.pin_guesses = 1 if number.pin_guesses >= most else number.pin_guesses + 1
        number.pin_guessed_at = now
        raise _refused(133005, "Two step verification PIN Mismatch", "The PIN is not the one that was set.")


def set_pin(world: World, number: Number, pin: str | None, *, by: str = "") -> bool:
    """Set the PIN, or turn two-step verification off, which only the WhatsApp Manager can; whether it changed.

    Whoever is subscribed hears of it by the webhook `security`.
    """
    if number.pin == pin:
        return False
    number = world.change(number)
    number.pin, number.pin_guesses, number.pin_guessed_at = pin, 0, None
    _tell(
        world,
        number,
        "security",
        {
            "display_phone_number": digits(number),
            "event": "PIN_RESET_SUCCESS" if pin is None else "PIN_CHANGED",
            "requester": by,
        },
    )
    return True


# The display name


def name_in_review(number: Number) -> str | None:
    """The display name that is being reviewed, or nothing."""
    if number.new_name_status == "PENDING_REVIEW":
        return number.new_name
    return number.verified_name if number.name_status == "PENDING_REVIEW" else None


def rename(world: World, number: Number, name: str) -> bool:
    """Ask for another display name; whether that was new. It comes into force by a registration after its review.

    https://developers.facebook.com/docs/whatsapp/cloud-api/phone-numbers#update-display-name
    """
    if number.new_name == name or (number.new_name is None and number.verified_name == name):
        return False
    number = world.change(number)
    number.new_name, number.new_name_status, number.new_certificate = name, "PENDING_REVIEW", None
    world.agenda.plan(world.now() + world.config.name_review_seconds, "numbers.name_review", number.id, name)
    return True


def decide_name(world: World, number: Number, *, approved: bool, reason: str | None = None) -> None:
    """End the review of a display name, and tell it by the webhook `phone_number_name_update`.

    https://developers.facebook.com/docs/whatsapp/business-management-api/webhooks/components
    """
    name = name_in_review(number)
    if name is None:
        raise ValueError(f"no display name of the phone number {number.id} is being reviewed")
    word = "APPROVED" if approved else "DECLINED"
    number = world.change(number)
    if number.new_name_status == "PENDING_REVIEW":
        number.new_name_status = word
        number.new_certificate = world.fresh_text(120) if approved else None
    else:
        number.name_status = word
        number.certificate = world.fresh_text(120) if approved else None
    value: dict[str, Any] = {
        "display_phone_number": digits(number),
        "decision": "APPROVED" if approved else "REJECTED",
        "requested_verified_name": name,
        "rejection_reason": None if approved else reason or "NAME_NOT_CONSISTENT_WITH_BRANDING",
    }
    _tell(world, number, "phone_number_name_update", value)


# Its own webhook, and its profile


def set_override(world: World, number: Number, callback: str) -> bool:
    """Send the number's messages to a callback of its own; an empty one takes that back. Whether it changed."""
    override = {"override_callback_uri": callback} if callback else None
    if number.override == override:
        return False
    world.change(number).override = override
    return True


def set_public_key(world: World, number: Number, key: str) -> bool:
    """Give the number the business's public key, signed by this registration; whether anything changed."""
    if not is_public_key(key):
        raise bad_parameter("Param business_public_key must be a 2048-bit RSA public key in PEM format")
    if not number.registered:
        raise not_registered()
    if (number.public_key, number.public_key_signed) == (key, True):
        return False
    number = world.change(number)
    number.public_key, number.public_key_signed = key, True
    return True


def is_public_key(text: str) -> bool:
    """Whether it is a 2048-bit RSA public key in PEM, by its shape."""
    match = _PEM.fullmatch(text.strip())
    try:
        der = base64.b64decode("".join(match[1].split()), validate=True) if match else b""
    except ValueError:
        return False
    return der[:1] == b"\x30" and _RSA in der[:32] and _MODULUS_2048 in der[:40] and len(der) >= _DER_LEAST


_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)\s-----END PUBLIC KEY-----")
_RSA = bytes.fromhex("06092a864886f70d010101")
"""The object identifier of RSA."""
_MODULUS_2048 = bytes.fromhex("0282010100")
"""What stands before a modulus of 256 bytes."""
_DER_LEAST = 290


def set_profile(world: World, number: Number, changes: dict[str, Any]) -> bool:
    """Change a business profile; a field that is empty is taken out. Whether that changed anything."""
    profile = {name: value for name, value in {**number.profile, **changes}.items() if value}
    if profile == number.profile:
        return False
    world.change(number).profile = profile
    return True


def set_settings(world: World, number: Number, changes: dict[str, dict[str, Any]]) -> bool:
    """Change settings, each part on its own; whether that changed anything."""
    settings = {
        **number.settings,
        **{name: {**number.settings.get(name, {}), **change} for name, change in changes.items()},
    }
    if settings == number.settings:
        return False
    world.change(number).settings = settings
    return True


# What Meta decides


def set_condition(world: World, number: Number, condition: str | None) -> None:
    """Ban, flag or restrict a number, or let it be again."""
    world.change(number).condition = condition


def set_quality(world: World, number: Number, quality: str) -> None:
    """Give a number another quality, and tell it by the webhook `phone_number_quality_update`."""
    number = world.change(number)
    event = "FLAGGED" if quality == "RED" else "UNFLAGGED"
    number.quality = quality
    value = {"display_phone_number": digits(number), "event": event, "current_limit": "TIER_1K"}
    _tell(world, number, "phone_number_quality_update", value)


def back_up(world: World, number: Number, password: str) -> str:
    """What an On-Premises installation answers to `POST /v1/settings/backup`: its data, to register with.

    https://developers.facebook.com/docs/whatsapp/cloud-api/guides/migrating-from-onprem-to-cloud
    """
    if number.platform != "ON_PREMISE":
        raise ValueError(f"the phone number {number.id} is not On-Premises")
    number = world.change(number)
    number.backup = {"password": password, "data": world.fresh_text(200)}
    return number.backup["data"]


def _tell(world: World, number: Number, topic: str, value: dict[str, Any]) -> None:
    waba = world.waba_of(number)
    if waba:
        world.publish(waba, topic, value)


# Words


def _refused(code: int, message: str, details: str, *, status: int = 400) -> GraphError:
    return GraphError(
        message=f"(#{code}) {message}",
        code=code,
        status=status,
        data={"messaging_product": "whatsapp", "details": details},
    )


def _maintenance() -> GraphError:
    return invalid_parameter(
        2494100,
        "Phone number in maintenance",
        "The phone number is in maintenance mode. Please try again in a few minutes.",
    )


def _seconds(wait: float) -> str:
    return f"{max(1, round(wait))} seconds"

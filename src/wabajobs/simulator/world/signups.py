"""Embedded Signup: what a customer did in the browser, and the code that the partner's server gets of it.

https://developers.facebook.com/docs/whatsapp/embedded-signup/onboarding-customers-as-a-solution-partner
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.world.nodes import App, Business, Signup, Token, Waba

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

NumberChoice = Literal["verified", "registered", "none"]


def finish(
    world: World,
    *,
    app: str | None = None,
    business: str | None = None,
    waba: str | None = None,
    number: NumberChoice = "verified",
    name: str | None = None,
    templates: int = 0,
    review: str = "APPROVED",
) -> Signup:
    """A customer has finished Embedded Signup for an app (the first one unless told otherwise).

    It makes a WABA, in a business of its own or in one that is there, with one number: verified and not yet
    registered, or registered, or none. Nobody is assigned to it, no app subscribed, no credit attached. Or the
    customer shares a WABA that is there. Raises ValueError for an app, business or WABA that is not there.
    """
    partner_app = world.app_by_id(app) if app is not None else world.apps[0]
    if partner_app is None:
        raise ValueError(f"there is no app {app}")
    account = _shared(world, waba) if waba is not None else None
    added = account is None or account.gone
    if account is None:
        account = _made(world, business, number=number, name=name, templates=templates)
        account.review = review
    elif added:
        world.change(account).gone = False
    owner = _business(world, account.business_id)
    _grant(world, owner, partner_app, account)
    signup = Signup(
        code="AQ" + world.fresh_text(180),
        app_id=partner_app.id,
        business_id=owner.id,
        waba_id=account.id,
        number_id=account.numbers[0].id if account.numbers else "",
        until=world.now() + world.config.signup_code_seconds,
        earlier=sum(one.waba_id == waba for one in world.signups.values()) if waba is not None else 0,
    )
    world.signups[signup.code] = signup
    world.changed += 1
    _tell(world, account, partner_app, added=added)
    return signup


def _shared(world: World, waba_id: str) -> Waba:
    node = world.node(waba_id)
    if not isinstance(node, Waba) or node.state == "DELETED":
        raise ValueError(f"there is no WABA {waba_id}")
    return node


def _made(world: World, business_id: str | None, *, number: str, name: str | None, templates: int) -> Waba:
    owner = _business(world, business_id) if business_id is not None else None
    waba = world.make_waba(
        world.random,
        active=number == "registered",
        assigned={},
        subscribed={},
        numbers=0 if number == "none" else 1,
        templates=templates,
        funded=False,
        name=name or (owner.name if owner else None),
        business=owner,
        created_at=int(world.unix()),
    )
    for one in waba.numbers:
        # The customer confirms the number by a code within Embedded Signup.
        one.code_status = "VERIFIED"
        one.onboarded_at = int(world.unix())
    return waba


def _business(world: World, business_id: str) -> Business:
    node = world.nodes.get(business_id)
    if not isinstance(node, Business):
        raise ValueError(f"there is no business {business_id}")
    return node


def _grant(world: World, owner: Business, app: App, waba: Waba) -> None:
    before = owner.granted.get(app.id, ())
    world.change(owner)
    owner.granted = {**owner.granted, app.id: (waba.id, *(one for one in before if one != waba.id))}
    if app.id not in owner.integration_users:
        owner.integration_users = {**owner.integration_users, app.id: world.fresh_id()}


def _tell(world: World, waba: Waba, app: App, *, added: bool) -> None:
    """The webhooks of a finished signup, which need no subscription to the WABA.

    https://developers.facebook.com/docs/whatsapp/business-management-api/webhooks/components#account-update
    """
    info = {"waba_id": waba.id, "owner_business_id": waba.business_id}
    if added:
        world.publish(waba, "account_update", {"event": "PARTNER_ADDED", "waba_info": info}, app=app.id)
    installed = {"event": "PARTNER_APP_INSTALLED", "waba_info": {**info, "partner_app_id": app.id}}
    world.publish(waba, "account_update", installed, app=app.id)


def exchange(world: World, app: App, code: str) -> tuple[Signup, Token]:
    """The business token for a code, once and while the code lasts.

    It reaches every WABA that the business has shared with the app. A code that was used is 100/36009; one
    that is too old 100/36007.
    """
    signup = world.signups.get(code)
    if signup is None or signup.app_id != app.id:
        # No source tells what the code of another app answers; Meta tells no app of another's codes.
        raise _refused("Invalid verification code format.", None)
    if signup.used:
        raise _refused("This authorization code has been used.", 36009)
    if world.now() >= signup.until:
        raise _refused("This authorization code has expired.", 36007)
    world.signups[code] = replace(signup, used=True)
    owner = _business(world, signup.business_id)
    now, seconds = int(world.unix()), world.config.business_token_seconds
    token = Token(
        text="EAA" + world.fresh_text(180),
        app_id=app.id,
        type="SYSTEM_USER",
        user_id=owner.integration_users[app.id],
        scopes=world.tokens[app.token].scopes,
        waba_ids=owner.granted[app.id],
        issued_at=now,
        expires_at=now + int(seconds) if seconds else 0,
    )
    return signup, world.grant(token)


def _refused(message: str, subcode: int | None) -> GraphError:
    return GraphError(message=message, code=100, subcode=subcode, authenticate="invalid_code")


def shown(signup: Signup) -> dict[str, Any]:
    """A signup as the browser hands it over: the code, and the session's data."""
    return {
        "code": signup.code,
        "app": signup.app_id,
        "business_id": signup.business_id,
        "waba_id": signup.waba_id,
        "phone_number_id": signup.number_id or None,
        "until": signup.until,
        "used": signup.used,
    }

"""How a WABA changes: who is assigned and subscribed, its settings, what Meta and its owner do to it.

https://developers.facebook.com/docs/graph-api/reference/whats-app-business-account/
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wabajobs.simulator.errors import bad_parameter
from wabajobs.simulator.world.nodes import Allocation, App, Business, Intent, SystemUser, Waba

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

REVIEWS = ("PENDING", "APPROVED", "REJECTED", "LIMIT_REACHED")
INTENT_STATUSES = ("INITIATED", "ACCEPTED", "REJECTED", "COMPLETED")


def prepare(world: World) -> None:
    """Teach the agenda what this part lets happen later."""
    world.agenda.when("accounts.ban", lambda _due, waba_id: ban(world, world.waba(waba_id)))


# Who


def system_users(world: World) -> dict[str, str]:
    """The partner's system users, each with its name."""
    users = (world.nodes.get(app.system_user_id) for app in world.apps)
    return {user.id: user.name for user in users if isinstance(user, SystemUser)}


def owner_of(world: World, waba: Waba) -> Business:
    """The business that a WABA belongs to."""
    owner = world.nodes.get(waba.business_id)
    return owner if isinstance(owner, Business) else Business(id=waba.business_id, name=waba.name)


def assign(world: World, waba: Waba, user: str, tasks: tuple[str, ...]) -> bool:
    """Let a system user do these tasks; whether that changed anything."""
    if user not in system_users(world):
        raise bad_parameter(f"Param user must be the id of a system user of yours - got {user!r}")
    if waba.assigned.get(user) == tasks:
        return False
    world.change(waba).assigned = {**waba.assigned, user: tasks}
    return True


def unassign(world: World, waba: Waba, user: str) -> bool:
    """Take a system user off; whether it was assigned."""
    if user not in waba.assigned:
        return False
    world.change(waba).assigned = {one: tasks for one, tasks in waba.assigned.items() if one != user}
    return True


def subscribe(world: World, waba: Waba, app: App, callback: str | None) -> None:
    """Send the WABA's webhooks to an app; with a callback, its messages there. Without, that is cleared."""
    if waba.subscribed.get(app.id, "") != callback:
        world.change(waba).subscribed = {**waba.subscribed, app.id: callback}


def unsubscribe(world: World, waba: Waba, app: App) -> bool:
    """Send an app nothing any more; whether it was subscribed."""
    if app.id not in waba.subscribed:
        return False
    world.change(waba).subscribed = {one: where for one, where in waba.subscribed.items() if one != app.id}
    return True


# Settings


def configure(world: World, waba: Waba, settings: dict[str, Any]) -> bool:
    """Change settings, the name or the time zone; whether anything became different."""
    own = {name: settings[name] for name in ("name", "timezone_id") if name in settings}
    kept = {**waba.settings, **{name: value for name, value in settings.items() if name not in own}}
    if kept == waba.settings and all(getattr(waba, name) == value for name, value in own.items()):
        return False
    world.change(waba).settings = kept
    for name, value in own.items():
        setattr(waba, name, value)
    return True


# What Meta does, and the owner


def review(world: World, waba: Waba, decision: str) -> None:
    """Meta has reviewed the WABA."""
    if decision not in REVIEWS:
        raise ValueError(f"a review is one of {', '.join(REVIEWS)}")
    world.change(waba).review = decision
    world.publish(waba, "account_review_update", {"decision": decision})


def ban(world: World, waba: Waba, *, after: float = 0.0) -> None:
    """Meta disables the WABA, after a notice of so many simulated seconds if any."""
    moment = datetime.fromtimestamp(world.unix() + after, UTC)
    state = "SCHEDULE_FOR_DISABLE" if after else "DISABLE"
    if after:
        world.agenda.plan(world.now() + after, "accounts.ban", waba.id)
    elif waba.state != "ACTIVE":
        return
    else:
        world.change(waba).state = "DISABLED"
    told = {"waba_ban_state": state, "waba_ban_date": f"{moment:%B} {moment.day}, {moment.year}"}
    world.publish(waba, "account_update", {"event": "DISABLED_UPDATE", "ban_info": told})


def reinstate(world: World, waba: Waba) -> None:
    """Meta takes its ban back."""
    if waba.state == "DISABLED":
        world.change(waba).state = "ACTIVE"
        moment = datetime.fromtimestamp(world.unix(), UTC)
        told = {"waba_ban_state": "REINSTATE", "waba_ban_date": f"{moment:%B} {moment.day}, {moment.year}"}
        world.publish(waba, "account_update", {"event": "DISABLED_UPDATE", "ban_info": told})


def delete(world: World, waba: Waba) -> None:
    """Its owner deletes the WABA."""
    world.publish(waba, "account_update", {"event": "ACCOUNT_DELETED"})
    world.change(waba).state = "DELETED"
    waba.gone = True


def remove_partner(world: World, waba: Waba) -> None:
    """Its owner takes the WABA away from the partner; a new signup gives it back."""
    info = {"waba_id": waba.id, "owner_business_id": waba.business_id}
    world.publish(waba, "account_update", {"event": "PARTNER_REMOVED", "waba_info": info})
    world.change(waba).gone = True
    waba.assigned, waba.subscribed = {}, {}
    owner = world.change(owner_of(world, waba))
    owner.granted = {
        app: tuple(one for one in waba_ids if one != waba.id) for app, waba_ids in owner.granted.items()
    }


def verify(world: World, waba: Waba, *, verified: bool = True) -> None:
    """Meta has verified the business of a WABA, or takes that back; its WABAs hear what it may have now.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/business_capability_update
    """
    owner = owner_of(world, waba)
    if owner.verified == verified:
        return
    world.change(owner).verified = verified
    tier, most = ("TIER_2K", "waba") if verified else ("TIER_250", "business")
    value = {
        "max_daily_conversations_per_business": tier,
        f"max_phone_numbers_per_{most}": world.config.numbers_most[verified],
    }
    for other in world:
        if other.business_id == owner.id and not other.gone:
            world.publish(other, "business_capability_update", value)


def fund(world: World, waba: Waba) -> None:
    """A WABA can pay: by the credit that is attached to it, or by means of its owner's."""
    if waba.funding_id is not None:
        return
    attached = (
        node.credential_id
        for node in world.nodes.values()
        if isinstance(node, Allocation) and node.waba_id == waba.id and not node.deleted
    )
    funding = next(attached, None) or world.fresh_id()
    world.change(waba).funding_id = funding


def unfund(world: World, waba: Waba) -> None:
    """A WABA cannot pay any more, such as after a card has expired."""
    if waba.funding_id is not None:
        world.change(waba).funding_id = None


# Moving to another solution


def intend(world: World, waba: Waba, solution_id: str) -> tuple[Intent, str]:
    """Ask the owner to move the WABA to another solution; the wish, and what tells it from others.

    A wish that was rejected may be uttered again. Whether one that is still open may, no source says: it makes
    another one here.
    """
    earlier = [
        one
        for one in world.nodes.values()
        if isinstance(one, Intent) and (one.waba_id, one.solution_id) == (waba.id, solution_id)
    ]
    intent = world.add(Intent(id=world.fresh_id(), waba_id=waba.id, solution_id=solution_id))
    rejected = sum(one.status == "REJECTED" for one in earlier)
    return intent, f"{waba.id}/{solution_id}" + (f"/{rejected + 1}" if rejected else "")


def decide(world: World, intent: Intent, status: str) -> None:
    """The owner accepts or rejects the wish in Business Suite, or Meta completes it."""
    if status not in INTENT_STATUSES:
        raise ValueError(f"an intent's status is one of {', '.join(INTENT_STATUSES)}")
    world.change(intent).status = status

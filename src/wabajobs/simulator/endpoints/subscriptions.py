"""Which apps get a WABA's webhooks, and where its messages go instead.

https://developers.facebook.com/docs/whatsapp/embedded-signup/webhooks/override
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import Field

from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import Input, ListInput, Text
from wabajobs.simulator.reading import edge_read
from wabajobs.simulator.routes import Context, Later, Route
from wabajobs.simulator.webhooks import challenge
from wabajobs.simulator.world import Waba, accounts


class SubscribeInput(Input):
    override_callback_uri: Text | None = Field(
        default=None, max_length=200, description="Where this WABA's messages go; none clears it"
    )
    verify_token: Text | None = Field(default=None, description="What the callback is asked with")


SUBSCRIPTION = NodeType[dict[str, Any]](
    name="WhatsAppBusinessAccountSubscribedApp",
    fields={
        "whatsapp_business_api_data": lambda one: one["app"],
        "override_callback_uri": lambda one: one["override"],
    },
    defaults=("whatsapp_business_api_data", "override_callback_uri"),
)


def _subscribed(context: Context, _asked: ListInput) -> Sequence[dict[str, Any]]:
    return [
        {"app": {"id": app, "link": f"https://www.facebook.com/games/?app_id={app}", "name": f"App {app}"}}
        | {"override": override}
        for app, override in context.seen(Waba).subscribed.items()
    ]


def subscribe(context: Context, asked: SubscribeInput) -> dict[str, Any] | Later:
    """Subscribe the app to a WABA, with a callback of its own once that has answered; without, it is cleared."""
    callback = asked.override_callback_uri
    if not callback:
        return _done(context, None)
    if not callback.startswith(("https://", "http://")):
        raise bad_parameter("Param override_callback_uri must be a valid URI.")
    if not asked.verify_token:
        raise bad_parameter("The parameter verify_token is required.")
    if not context.config.callback_asked:
        return _done(context, callback)

    def then(answered: bool) -> dict[str, Any]:
        if not answered:
            raise GraphError(
                message="(#100) Callback verification failed: the callback did not answer with the challenge.",
                code=100,
            )
        return _done(context, callback)

    return Later(wait=partial(challenge, callback, asked.verify_token), then=then)


def _done(context: Context, callback: str | None) -> dict[str, Any]:
    waba, app = context.the(Waba), context.app
    was_subscribed, before = app.id in waba.subscribed, waba.subscribed.get(app.id)
    accounts.subscribe(context.world, waba, app, callback)
    if not was_subscribed:
        context.effect("app_subscribed", waba.id, app=app.id)
    if callback != before:
        context.effect("override_set" if callback else "override_cleared", waba.id, callback=callback)
    context.remarks.idle = was_subscribed and callback == before
    return {"success": True}


def unsubscribe(context: Context, _asked: Input) -> dict[str, Any]:
    """Send the app nothing of a WABA any more."""
    waba = context.the(Waba)
    if accounts.unsubscribe(context.world, waba, context.app):
        context.effect("app_unsubscribed", waba.id, app=context.app.id)
    else:
        context.remarks.idle = True
    return {"success": True}


ROUTES = (
    Route(
        name="subscribed_apps.list",
        method="GET",
        path="/{waba}/subscribed_apps",
        handler=edge_read(SUBSCRIPTION, _subscribed),
        input=ListInput,
        capability="subscriptions",
        charges="waba",
    ),
    Route(
        name="subscribed_apps.add",
        method="POST",
        path="/{waba}/subscribed_apps",
        handler=subscribe,
        input=SubscribeInput,
        capability="subscriptions",
        charges="waba",
    ),
    Route(
        name="subscribed_apps.remove",
        method="DELETE",
        path="/{waba}/subscribed_apps",
        handler=unsubscribe,
        capability="subscriptions",
        charges="waba",
    ),
)

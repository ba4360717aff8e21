"""Where an app's webhooks go, and which topics it gets of the WABAs that it is subscribed to.

https://developers.facebook.com/docs/graph-api/reference/app/subscriptions
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from wabajobs.simulator.endpoints.accounts import words
from wabajobs.simulator.errors import callback_silent
from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import Input, ListInput, Text
from wabajobs.simulator.reading import edge_read
from wabajobs.simulator.routes import Context, Later, Route
from wabajobs.simulator.webhooks import Topic, challenge

Object = Literal["whatsapp_business_account"]
"""What an app may be told about; Meta has more of them."""
Topics = Annotated[list[Topic], BeforeValidator(words), Field(min_length=1)]

_SHOWN = ("object", "callback_url", "active", "fields")
_SUBSCRIPTION = NodeType[dict[str, Any]](
    name="ApplicationSubscription",
    fields={name: itemgetter(name) for name in _SHOWN},
    defaults=_SHOWN,
)


def _listed(context: Context, _asked: ListInput) -> Sequence[dict[str, Any]]:
    held = context.webhooks.subscription(context.app.id)
    if held is None:
        return []
    topics = [{"name": topic, "version": context.version} for topic in held.topics]
    return [{"object": "whatsapp_business_account", "callback_url": held.url, "active": True, "fields": topics}]


class SubscribeInput(Input):
    object: Object
    callback_url: Text = Field(max_length=2000, pattern=r"^https?://[^\s]+$")
    verify_token: Text = Field(min_length=1, description="What the callback is asked with")
    fields: Topics = Field(description="The topics; those of an earlier call are forgotten")


def subscribe(context: Context, asked: SubscribeInput) -> Later:
    """Send the app these topics to a callback, once that has answered the challenge."""
    if context.config.override_https and not asked.callback_url.startswith("https://"):
        raise callback_silent()

    def then(answered: bool) -> dict[str, Any]:
        if not answered:
            raise callback_silent()
        if context.webhooks.subscribe(context.app.id, asked.callback_url, asked.fields):
            context.effect(
                "webhooks_subscribed", context.app.id, callback=asked.callback_url, topics=list(asked.fields)
            )
        else:
            context.remarks.idle = True
        return {"success": True}

    return Later(wait=partial(challenge, asked.callback_url, asked.verify_token), then=then)


class UnsubscribeInput(Input):
    object: Object | None = Field(default=None, description="None: all objects")
    fields: Topics | None = Field(default=None, description="The topics; none: all of them")


def unsubscribe(context: Context, asked: UnsubscribeInput) -> dict[str, Any]:
    """Send the app some topics no more, or nothing at all."""
    if context.webhooks.unsubscribe(context.app.id, asked.fields):
        context.effect("webhooks_unsubscribed", context.app.id, topics=asked.fields)
    else:
        context.remarks.idle = True
    return {"success": True}


_PATH, _PART = "/{app}/subscriptions", "subscriptions"

ROUTES = (
    Route(
        name="app_subscriptions.list",
        method="GET",
        path=_PATH,
        handler=edge_read(_SUBSCRIPTION, _listed),
        input=ListInput,
        capability=_PART,
        scopes=(),
        app_token=True,
    ),
    Route(
        name="app_subscriptions.add",
        method="POST",
        path=_PATH,
        handler=subscribe,
        input=SubscribeInput,
        capability=_PART,
        scopes=(),
        app_token=True,
    ),
    Route(
        name="app_subscriptions.remove",
        method="DELETE",
        path=_PATH,
        handler=unsubscribe,
        input=UnsubscribeInput,
        capability=_PART,
        scopes=(),
        app_token=True,
    ),
)

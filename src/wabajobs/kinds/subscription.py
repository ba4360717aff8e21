"""That our app gets a WABA's webhooks: a step that several kinds share.

Source: developers.facebook.com/docs/graph-api/reference/whats-app-business-account/subscribed_apps.
"""

from collections.abc import Callable
from typing import Any

from wabajobs.capability import Capability
from wabajobs.kinds.kind import Payload, PlannedCall, Step
from wabajobs.kinds.work import Work


def subscribe(work: Work) -> dict[str, Any]:
    """Subscribe the app to the WABA, unless it is: subscribing anew would take its callback away."""
    path = f"{work.operation.waba}/subscribed_apps"
    if not work.progress().get("missing"):
        listed = work.graph.get(path).get("data", ())
        if work.operation.app in {str(one.get("whatsapp_business_api_data", {}).get("id")) for one in listed}:
            return {"subscribed": True}
        work.keep({"missing": True})
    work.graph.post(path)
    return {"subscribed": True}


def step(when: Callable[[Payload], bool] = lambda _: True) -> Step:
    """Return the step that subscribes."""
    path = "{waba}/subscribed_apps"
    return Step(
        name="subscribe",
        run=subscribe,
        when=when,
        capability=Capability.SUBSCRIPTIONS,
        calls=lambda _: (
            PlannedCall(method="GET", path=path),
            PlannedCall(method="POST", path=path, note="unless the app is subscribed already"),
        ),
    )

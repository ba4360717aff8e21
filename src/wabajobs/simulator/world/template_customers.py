"""Customers who change their templates in Business Manager, behind the back of every client.

They keep to Meta's rules and quotas as clients do, and webhooks tell of what they do.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.world import template_writes as writes
from wabajobs.simulator.world.nodes import Waba

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

_WHAT = "templates.customer"
_CREATED, _EDITED = 0.5, 0.85
"""Shares of the changes: so many are creations, up to so many edits, and the rest deletions."""
_TOPICS = ("opening_hours", "spring_sale", "new_address", "thank_you", "back_in_stock")
_TEXTS = (
    "Hello, we have good news for you from our shop in the city.",
    "Thank you for being our customer. Here is what is new this week.",
    "We have moved. You find us two streets further from now on.",
)


def prepare(world: World) -> None:
    """Let customers do something now and then, if the config says so."""
    world.agenda.when(_WHAT, lambda due, number: _act(world, due, int(number)))
    turn(world)


def turn(world: World) -> None:
    """`customer_changes_per_hour` is another one from now on."""
    waiting = world.agenda.drop(_WHAT)
    # Who begins anew must not take the names of those who came before.
    number = int(waiting[0].words[0]) if waiting else int(world.now())
    _plan_next(world, world.now(), number)


def _plan_next(world: World, after: float, number: int) -> None:
    rate = world.config.customer_changes_per_hour
    if rate > 0:
        wait = _random(world, f"wait:{number}").expovariate(rate / 3600)
        world.agenda.plan(after + wait, _WHAT, str(number))


def _act(world: World, due: float, number: int) -> None:
    if world.config.customer_changes_per_hour <= 0:
        return
    random = _random(world, str(number))
    wabas = world.waba_ids
    waba = world.waba(random.choice(wabas)) if wabas else None
    if waba and not waba.gone:
        change(world, waba, random, number=number)
    _plan_next(world, due, number + 1)


def change(world: World, waba: Waba, random: Random, *, number: int) -> None:
    """One customer changes one template of this WABA, drawn by chance; Meta may refuse it."""
    share = random.random()
    try:
        if share < _CREATED:
            _create(world, waba, random, number)
        elif share < _EDITED:
            _edit(world, waba, random)
        else:
            _delete(world, waba, random)
    except GraphError:
        return  # what Meta refuses the customer has not happened


def _create(world: World, waba: Waba, random: Random, number: int) -> None:
    draft = writes.Draft(
        name=f"{random.choice(_TOPICS)}_{number}",
        language=random.choice(("en_US", "de", "es")),
        category=random.choice(("MARKETING", "UTILITY")),
        components=[{"type": "BODY", "text": random.choice(_TEXTS)}],
    )
    writes.create(world, waba, draft, app_id="")


def _edit(world: World, waba: Waba, random: Random) -> None:
    editable = [one for one in world.listed(waba) if one.status in writes.EDITABLE]
    if not editable:
        return
    template = random.choice(editable)
    writes.check_editable(world, template)
    # What the customer had uploaded stays as it is; only the words change.
    components = [
        {"type": "BODY", "text": random.choice(_TEXTS)} if one.get("type") == "BODY" else one
        for one in json.loads(template.components)
    ]
    writes.apply(world, waba, template, components=writes.written(components))


def _delete(world: World, waba: Waba, random: Random) -> None:
    listed = world.listed(waba)
    if listed:
        writes.delete(world, waba, hsm_ids=[random.choice(listed).id])


def _random(world: World, what: str) -> Random:
    return Random(f"{world.config.seed}:customers:{what}")

"""Whether what a simulator would save of its world is all that it needs after a restart."""

from __future__ import annotations

import json
from typing import Any

from wabajobs.simulator import Simulator
from wabajobs.simulator.state import WorldKeeper
from wabajobs.simulator.world import World


def shown(world: World) -> dict[str, Any]:
    """A world, comparable; templates are invented where nobody has looked yet."""
    listed = {waba.id: list(world.listed(waba)) for waba in world}
    return {
        **{one: repr(node) for one, node in world.nodes.items()},
        "templates": listed,
        "order": list(listed),
        "tokens": world.tokens,
        "revoked": world.revoked,
        "signups": world.signups,
        "random": world.random.getstate(),
    }


def restored(world: World) -> World:
    """A world of the same seed, to which was added what would have been saved of this one."""
    fresh = Simulator(world.config.with_changes(phases=(), faults=())).world
    keeper = WorldKeeper(fresh)
    saver = WorldKeeper(world)
    # Of the seed's world, not of what became of it.
    saver._seeded, saver._seeded_tokens = frozenset(fresh.nodes), dict(fresh.tokens)
    captured = saver.captured()
    captured["tokens"] = [one for one in captured["tokens"] if fresh.tokens.get(one.text) != one]
    keeper.put_back(json.loads(saver.written(captured)))
    return fresh


def assert_kept(world: World) -> None:
    """Whoever changes an object without `world.change` is found here."""
    touched = set(world.touched)
    expected, found = shown(world), shown(restored(world))
    other = [name for name in expected if expected[name] != found.get(name)]
    assert not other, [(one, one in touched, expected[one], found.get(one)) for one in other]

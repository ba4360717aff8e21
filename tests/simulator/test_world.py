"""The world: made from a seed, and changed behind the client's back."""

from __future__ import annotations

import pytest

from wabajobs.simulator import SimulatorConfig
from wabajobs.simulator.world import World


def snapshot(world: World) -> list[object]:
    return [world.apps, world.number_ids, [(waba, world.templates(waba)) for waba in world.waba_ids]]


def test_the_same_seed_makes_the_same_world() -> None:
    config = SimulatorConfig(seed=7, wabas=4, templates=(5, 120), apps=2)

    assert snapshot(World(config)) == snapshot(World(config))
    assert snapshot(World(config)) != snapshot(World(config.with_changes(seed=8)))


def test_ids_look_like_metas_and_are_unique() -> None:
    world = World(SimulatorConfig(wabas=50, templates=(5, 120), apps=3, numbers=2))

    templates = [one.id for waba in world.waba_ids for one in world.templates(waba)]
    every = [*world.waba_ids, *world.number_ids, *templates, *(app.id for app in world.apps)]

    assert len(set(every)) == len(every)
    assert all(one.isdigit() for one in every)
    assert {len(one) for one in world.waba_ids} == {15}
    assert {len(app.id) for app in world.apps} <= {15, 16}


def test_the_number_of_templates_is_fixed_or_spread() -> None:
    fixed = World(SimulatorConfig(wabas=5, templates=17))
    spread = World(SimulatorConfig(wabas=60, templates=(5, 120)))

    assert {len(fixed.templates(waba)) for waba in fixed.waba_ids} == {17}
    sizes = {len(spread.templates(waba)) for waba in spread.waba_ids}
    assert min(sizes) >= 5
    assert max(sizes) <= 120
    assert len(sizes) > 20


def test_name_and_language_are_unique_in_a_waba() -> None:
    world = World(SimulatorConfig(wabas=1, templates=500))

    keys = {(one.name, one.language) for one in world.templates(world.waba_ids[0])}

    assert len(keys) == 500


def test_changes_behind_ones_back_are_seen_over_http(start) -> None:
    client = start(templates=2)
    world, waba = client.simulator.world, client.simulator.world.waba_ids[0]
    first, second = world.templates(waba)

    added = world.add_template(waba, name="new_one", language="de")
    world.remove_template(waba, first.id)
    world.set_status(waba, second.id, "PAUSED")
    world.edit_template(waba, added.id, category="MARKETING", components=[{"type": "BODY", "text": "Hi"}])

    seen = client.templates(fields="name,language,status,category,components").json()["data"]
    assert [(one["id"], one["status"]) for one in seen] == [(second.id, "PAUSED"), (added.id, "APPROVED")]
    assert seen[1]["category"] == "MARKETING"
    assert seen[1]["components"] == [{"type": "BODY", "text": "Hi"}]


def test_a_changed_template_carries_the_time_of_its_change(start) -> None:
    client = start(templates=1)
    world, waba = client.simulator.world, client.simulator.world.waba_ids[0]
    template = world.templates(waba)[0]

    client.simulator.advance(100)
    world.set_status(waba, template.id, "DISABLED")

    seen = client.templates(fields="last_updated_time").json()["data"][0]
    assert seen["last_updated_time"] == int(client.simulator.clock.unix())
    assert seen["last_updated_time"] > template.last_updated_time


def test_a_second_template_of_the_same_name_and_language_is_refused(start) -> None:
    world = start(templates=0).simulator.world
    world.add_template(world.waba_ids[0], name="twice")

    with pytest.raises(ValueError, match="already has the template twice"):
        world.add_template(world.waba_ids[0], name="twice")
    world.add_template(world.waba_ids[0], name="twice", language="de")

"""A template sync, from the Hub's request to the mirror, in real processes."""

from collections.abc import Callable

from tests.support.fleet import Fleet


def test_a_sync_mirrors_every_template_of_the_waba(fleet_on: Callable[..., Fleet], database_url: str) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 3, "templates": 230})
    fleet.start("dispatcher", "worker")

    operations = fleet.finished(fleet.sync(*fleet.simulator.world.waba_ids))

    assert [one.state for one in operations] == ["succeeded"] * 3
    for waba in fleet.simulator.world.waba_ids:
        mirrored = {template["id"] for template in fleet.house.ledger.templates.templates(waba)}
        assert mirrored == {template.id for template in fleet.simulator.world.templates(waba)}
    assert fleet.calls() == 3 * 3

"""Meta fails: what passes is tried again and finishes, what stays fails once, and the mirror never lies."""

from collections.abc import Callable

import pytest

from tests.support.fleet import Fleet
from tests.support.witness import SHORT_PAGES, answer, calls_about, mirrored, pages_read_twice, story
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]


@pytest.mark.parametrize(("code", "subcode"), [(100, 33), (200, None)])
def test_a_list_that_fails_on_its_second_page_leaves_the_mirror_untouched(
    on_sqlite: FleetOn, code: int, subcode: int | None
) -> None:
    fleet = on_sqlite(knobs={"wabas": 1, "templates": 50}, **SHORT_PAGES)
    (waba,) = fleet.simulator.world.waba_ids
    templates = fleet.house.ledger.templates
    fleet.start("dispatcher", "worker")
    fleet.finished(fleet.sync(waba))
    before, stands = templates.templates(waba), templates.read(waba)
    assert stands is not None
    unlike = [template for template in fleet.simulator.world.templates(waba) if template.status != "PAUSED"][:15]
    for template in unlike:
        fleet.simulator.world.set_status(waba, template.id, "PAUSED")
    fleet.simulator.faults.add(
        FaultRule(path="message_templates", after=1, code=code, subcode=subcode, message="Not for you")
    )

    (failed,) = fleet.finished(fleet.sync(waba))

    shown = answer(fleet.command("ops", "show", failed.id, "--json"))
    assert (shown["state"], shown["attempts"]) == ("failed", 1)
    assert (shown["error"]["code"], shown["error"]["subcode"]) == (code, subcode)
    assert shown["error"]["fbtrace_id"]
    said = fleet.command("ops", "show", failed.id).stdout
    assert f"Not for you (code {code}{f', subcode {subcode}' if subcode else ''})" in said
    assert shown["error"]["fbtrace_id"] in said
    assert templates.templates(waba) == before
    now = templates.read(waba)
    assert now is not None and now.last_attempt_at and now.last_success_at
    assert now.last_success_at == stands.last_success_at
    assert now.last_attempt_at > now.last_success_at
    assert "Not for you" in str(now.last_error)
    # Two pages, and at most one new beginning: a cursor may have become too old.
    assert len(calls_about(fleet, waba)) <= 3 + 2 + 1

    fleet.simulator.faults.clear()
    (done,) = fleet.finished(fleet.sync(waba))
    assert done.result is not None and done.result["changed"] == 15
    assert mirrored(fleet, [waba])


def test_passing_failures_of_every_sort_are_tried_again(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 5, "templates": 50}, **SHORT_PAGES)
    sorts = (
        FaultRule(path="message_templates", after=1, times=1, status=500, code=2, is_transient=True),
        FaultRule(path="message_templates", after=3, times=1, status=502, body="<html>Bad Gateway</html>"),
        FaultRule(path="message_templates", after=5, times=1, reset_before=True),
        FaultRule(path="message_templates", after=7, times=1, reset_after=True),
        FaultRule(path="message_templates", after=8, times=1, status=200, body="<html>Sorry</html>"),
    )
    for rule in sorts:
        fleet.simulator.faults.add(rule)
    fleet.start("dispatcher", "worker")

    operations = fleet.finished(fleet.sync(*fleet.simulator.world.waba_ids))

    assert {one.state for one in operations} == {"succeeded"}
    assert mirrored(fleet, fleet.simulator.world.waba_ids)
    assert sum(one.attempts for one in operations) == 5 + len(sorts)
    failed = [call for call in fleet.simulator.judge.calls() if call.fault]
    assert len(failed) == len(sorts)
    assert pages_read_twice(fleet).keys() <= {(call.waba, call.after) for call in failed}
    assert sum(story(fleet, one).count("held") for one in operations) >= len(sorts)


def test_a_failure_that_does_not_pass_ends_after_its_tries(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 1}, dispatch={"max_attempts": 3, "retry_seconds": 0.1})
    (waba,) = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path="message_templates", status=500, code=1))
    fleet.start("dispatcher", "worker")

    (failed,) = fleet.finished(fleet.sync(waba))

    assert (failed.state, failed.attempts) == ("failed", 3)
    assert failed.error is not None and "tried 3 times" in failed.error["message"]
    assert len(calls_about(fleet, waba)) == 3


def test_a_token_that_is_revoked_fails_with_what_meta_said(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    fleet.start("dispatcher", "worker")
    fleet.ready()
    fleet.simulator.world.revoke_token(fleet.simulator.app.token)

    (failed,) = fleet.finished(fleet.sync(fleet.simulator.world.waba_ids[0]))

    assert failed.state == "failed"
    assert failed.error is not None and failed.error["code"] == 190
    assert fleet.simulator.app.token not in str(failed.as_json())

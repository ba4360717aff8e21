"""Two hosts work off one ledger; when one of them is gone, the other goes on."""

from collections.abc import Callable

from sqlalchemy import select

from tests.hosts.conftest import Host
from tests.support.fleet import wall
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES, attempts, calls_since, mirrored, pages_read_twice
from wabajobs.ledger.tables import LeadershipRow
from wabajobs.operation import Operation

TwoHosts = Callable[..., tuple[Host, Host]]


def _workers(host: Host, operations: list[Operation]) -> set[str]:
    return {one.worker.rpartition(":")[2] for operation in operations for one in attempts(host, operation)}


def _leader(first: Host, second: Host) -> tuple[Host, Host]:
    """Return the host whose dispatcher leads, and the other."""
    with first.house.ledger.database.read() as connection:
        holder = str(connection.scalar(select(LeadershipRow.holder))).split(":")
    return (first, second) if str(first.processes["dispatcher"].pid) in holder else (second, first)


def test_both_hosts_work_off_one_ledger(two_hosts: TwoHosts) -> None:
    first, second = two_hosts(knobs={"wabas": 60, "latency": 0.2})
    wabas = first.simulator.world.waba_ids
    first.boot()
    second.boot()
    first.ready(workers=4)

    operations = first.sync(*wabas[:30]) + second.sync(*wabas[30:])

    done = second.finished(operations)
    assert {one.state for one in done} == {"succeeded"}
    assert mirrored(first, wabas)
    assert first.simulator.judge.by_waba() == dict.fromkeys(wabas, 1)
    workers = _workers(second, operations)
    assert workers & first.pids
    assert workers & second.pids


def test_when_a_host_is_lost_the_other_goes_on(two_hosts: TwoHosts) -> None:
    first, second = two_hosts(knobs={"wabas": 80, "templates": 90}, **SHORT_PAGES)
    wabas = first.simulator.world.waba_ids
    first.boot()
    second.boot()
    first.ready(workers=4)
    with first.slowly():
        operations = first.sync(*wabas)
        until(lambda: first.calls() >= 30, what="syncs are under way")

        lost, other = _leader(first, second)
        lost_pids = lost.pids
        lost.lose_power()
        died = wall()
        waiting = [one for one in operations if other.client.get(one.id).state == "waiting"]

        def begun_since() -> bool:
            return any(attempts(other, one) for one in waiting)

        assert waiting, "all had begun already"
        until(begun_since, within=30, what="the other host releases what waited")
    done = other.finished(operations, within=60)
    assert {one.state for one in done} == {"succeeded"}
    assert mirrored(other, wabas)
    assert calls_since(other, died)
    tries = [attempts(other, one) for one in operations]
    orphans = [those for those in tries if those[0].worker.rpartition(":")[2] in lost_pids and len(those) > 1]
    assert orphans, "nothing was under way on the host that was lost"
    assert all(those[-1].worker.rpartition(":")[2] in other.pids for those in orphans)
    # Only a page whose answer had not been written down yet is read again: at most one per slot that was lost.
    assert len(pages_read_twice(other)) <= 2 * other.settings.workers.concurrency

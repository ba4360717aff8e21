"""The gate on a Redis Cluster: each app's keys lie in one slot, so its functions run where they are."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis.cluster import RedisCluster
from redis.crc import key_slot

from tests.support.servers import redis_cluster
from wabajobs.capability import Capability
from wabajobs.decisions import Decisions, Pause, Scope
from wabajobs.gate import Call, Gate, Outcome, Permit, Report, Wait
from wabajobs.settings import AppSettings, GateSettings, SecretSource

APPS = [f"1000{number}" for number in range(8)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path) as client:
        yield client


def _call(app: str) -> Call:
    return Call(app=app, queue="q", partner="acme", waba="20001", capability=Capability.TEMPLATE_READS)


def _gate_of(cluster: RedisCluster, app: str) -> Gate:
    """Return a gate of one app, on the node that has the slot of its keys."""
    node = cluster.get_node_from_key(f"{{{app}}}")
    assert node is not None
    apps = {app: AppSettings(token=SecretSource(env="NONE"))}
    return Gate(cluster.get_redis_connection(node), settings=GateSettings(pacing=False), apps=apps)


def test_the_gate_decides_on_a_cluster_about_apps_on_all_of_its_nodes(cluster: RedisCluster) -> None:
    gates = {app: _gate_of(cluster, app) for app in APPS}
    paused, spent, *_ = APPS
    now = datetime.now(UTC)
    pause = Pause(1, Scope.of("app", paused), reason="trying it out", actor="anna", created_at=now)
    for gate in gates.values():
        gate.tell(Decisions(revision=1, pauses=(pause,), limits=(), overrides=()))

    answers = {app: gate.admit(_call(app)) for app, gate in gates.items()}
    for app, answer in answers.items():
        if isinstance(answer, Permit):
            used = Report(outcome=Outcome.OK, app_percent=100 if app == spent else 0, waba_percent=0)
            gates[app].settle(answer, used)
    forecast = {app: gate.forecast([_call(app)])[0] for app, gate in gates.items()}

    assert {gate.told() for gate in gates.values()} == {1}
    assert [app for app, answer in answers.items() if isinstance(answer, Wait)] == [paused]
    assert {app for app, answer in forecast.items() if answer is not None} == {paused, spent}
    keys = list(cluster.scan_iter("wabajobs:*", target_nodes=RedisCluster.PRIMARIES))
    slots = {app: {key_slot(key) for key in keys if f"{{{app}}}".encode() in key} for app in APPS}
    assert all(len(its) == 1 for its in slots.values())
    nodes = {cluster.nodes_manager.get_node_from_slot(slot).name for its in slots.values() for slot in its}
    assert len(nodes) == 3

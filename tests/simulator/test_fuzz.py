"""Whatever is sent, by the simulator's own description or against it: an answer of the Graph, never a defect."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.endpoints import ROUTES

WORLD = SimulatorConfig(wabas=4, inactive_wabas=1, numbers=2, templates=6, app_limit=10_000_000, clock="hand")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(WORLD).running() as running:
        _one_of_each(running)
        yield running
        assert running.judge.defects == 0


def _one_of_each(simulator: Simulator) -> None:
    """What only calls make: a flow, an upload, an intent."""
    waba, app = simulator.world.waba_ids[0], simulator.app
    headers = {"Authorization": f"Bearer {app.token}"}
    for path, values in (
        (f"{waba}/flows", {"name": "first", "categories": '["OTHER"]'}),
        (f"{app.id}/uploads", {"file_name": "a.png", "file_length": 10, "file_type": "image/png"}),
        (f"{waba}/set_solution_migration_intent", {"app_id": app.id}),
    ):
        answer = requests.post(f"{simulator.url}/v23.0/{path}", data=values, headers=headers, timeout=10)
        assert answer.ok, answer.text


@pytest.fixture(scope="module")
def described(simulator: Simulator):
    return schemathesis.openapi.from_url(f"{simulator.url}/_simulator/openapi.json")


def is_of_the_graph(answer) -> None:
    """An answer that is no error is JSON; one that is has the Graph's shape."""
    if answer.status_code == 304:
        return
    body = json.loads(answer.content)
    if answer.status_code != 200:
        assert {"message", "type", "code", "fbtrace_id"} <= set(body["error"])
        assert answer.status_code < 500


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_endpoint_bears_what_its_description_allows_and_forbids(described, simulator, route) -> None:
    operation = described[f"/{{version}}{route.path}"][route.method]

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE))
    def bears(case) -> None:
        # Whether good data are accepted depends on the world's state; that is for the tests of each endpoint.
        is_of_the_graph(case.call(headers={"Authorization": f"Bearer {simulator.app.token}"}))
        assert simulator.judge.defects == 0

    bears()


NAMES = sorted(
    {name for route in ROUTES for name in route.input.model_fields} | {"access_token", "method", "ids"}
)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    route=st.sampled_from(ROUTES),
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    values=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), JSON, max_size=5),
    shape=st.sampled_from(["query", "form", "json", "multipart", "brackets"]),
)
def test_any_endpoint_bears_any_values_in_any_shape(simulator, route, method, values, shape) -> None:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    sent = {
        "query": {"params": texts},
        "form": {"data": texts},
        "json": {"data": json.dumps(values)},
        "multipart": {"files": {name: ("x", value) for name, value in texts.items()} or {"file": ("x", "y")}},
        "brackets": {"data": {f"{name}[0][x]": value for name, value in texts.items()}},
    }[shape]
    node = next((node for node in simulator.world.nodes.values() if node.kind == route.kind), None)
    object_id = node.id if node else simulator.world.templates(simulator.world.waba_ids[0])[0].id
    path = route.path.replace(f"{{{route.kind}}}", object_id)

    headers = {"Authorization": f"Bearer {simulator.app.token}"}
    if shape == "json":
        headers["Content-Type"] = "application/json"
    answer = requests.request(
        method,
        f"{simulator.url}/v23.0{path}",
        headers=headers,
        timeout=30,
        **sent,
    )

    is_of_the_graph(answer)
    assert simulator.judge.defects == 0


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    entries=JSON
    | st.lists(
        st.fixed_dictionaries(
            {"relative_url": st.text(max_size=20) | st.sampled_from(["me", "{result=a:$.x}", "?ids=1,2"])},
            optional={"method": JSON, "body": JSON, "name": JSON, "headers": JSON, "depends_on": JSON},
        ),
        max_size=4,
    )
)
def test_any_batch_is_borne(simulator, entries) -> None:
    answer = requests.post(
        simulator.url,
        data=json.dumps({"batch": entries, "access_token": simulator.app.token}),
        headers={"Content-Type": "application/json"},
        timeout=30,
    )

    assert answer.status_code in (200, 400, 401)
    assert simulator.judge.defects == 0

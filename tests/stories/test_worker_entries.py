"""Each queue has a worker of its own name, and what is run everywhere serves every queue once."""

import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import tomli_w

from wabajobs.cli.site import WORKERS
from wabajobs.kinds import catalogue

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    config = tmp_path / "wabajobs.toml"
    config.write_text(tomli_w.dumps({"apps": {"10001": {"token": {"env": "TOKEN"}}}}))
    monkeypatch.setenv("WABAJOBS_CONFIG", str(config))
    yield


def queues_of(entry: str) -> tuple[str, ...]:
    return tuple(import_module(f"workers.{entry}").app.amqp.queues)


@pytest.mark.parametrize("kind", catalogue().names)
def test_each_queue_has_a_worker_of_its_own_name(kind: str) -> None:
    assert queues_of(kind) == (kind,)


@pytest.mark.parametrize("entry", WORKERS)
def test_an_entry_serves_what_is_said_of_it(entry: str) -> None:
    assert sorted(queues_of(entry)) == sorted(WORKERS[entry])


def test_what_is_run_serves_every_queue_once() -> None:
    served = [queue for queues in WORKERS.values() for queue in queues]

    assert sorted(served) == sorted(catalogue().names)


def test_procfile_and_compose_run_just_these() -> None:
    procfile = (ROOT / "Procfile").read_text()
    compose = (ROOT / "docker-compose.yml").read_text()
    for entry in WORKERS:
        assert f"\n{entry}: celery -A workers.{entry} worker" in procfile
        assert f"command: [celery, -A, workers.{entry}, worker" in compose
    assert procfile.count("celery -A workers.") == compose.count("celery, -A, workers.") == len(WORKERS)


def test_the_package_is_built_with_them() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert "workers" in built["packages"]

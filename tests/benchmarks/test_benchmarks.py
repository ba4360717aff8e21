"""The benchmarks run to their end, and tell nothing about the machine that they should not."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = {
    "enqueue": ["--seconds", "0.1"],
    "throughput": ["--operations", "50"],
    "latency": ["--operations", "5"],
    "planner": ["--turns", "2", "--idle-seconds", "0.5"],
}
AGAINST_CELERY = {"enqueue", "throughput", "latency"}


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_measures_both_sides_and_names_neither_host_nor_folder(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "benchmarks" / f"bench_{name}.py"), "--quick", "--rounds", "1"]

    ran = subprocess.run(
        [*argv, "--results", str(tmp_path / "results"), *TINY[name]],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    (results,) = (tmp_path / "results").glob(f"{name}-*.jsonl")
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    sides = {one["side"] for one in kept if "side" in one}
    assert any("Celery" in side for side in sides) == (name in AGAINST_CELERY)
    assert any("Celery" not in side for side in sides)
    for told in (ran.stdout, results.read_text()):
        assert str(ROOT) not in told
        assert str(tmp_path) not in told
        assert f"{socket.gethostname()}:" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["results"], "nothing is left behind"

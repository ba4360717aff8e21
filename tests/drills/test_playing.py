"""Drills on the real path, as short and coarse as can be: that they are carried through, and judge what was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wabajobs.drills import DRILLS


def drill(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wabajobs", "drill", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=220, check=False)


def played(name: str, out: Path, hour: str) -> tuple[dict[str, Any], int]:
    done = drill(name, "--quick", "--hour", hour, "--out", str(out), "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def held(result: dict[str, Any], claim: str) -> bool:
    return next(one["held"] for one in result["claims"] if one["claim"].startswith(claim))


def test_without_a_name_the_drills_are_listed() -> None:
    done = drill("--json")

    assert done.returncode == 0
    assert [one["name"] for one in json.loads(done.stdout)] == [one.name for one in DRILLS]


def test_a_name_that_is_none_gets_a_sentence() -> None:
    done = drill("october")

    assert done.returncode == 1
    assert done.stderr.startswith("wabajobs: there is no drill 'october'; there are sept-2024, ")


@pytest.mark.timeout(240)
def test_september_is_played_to_both_sides_and_drawn(tmp_path: Path) -> None:
    result, code = played("sept-2024", tmp_path, "0.6")

    ours, plain = result["sides"]["wabajobs"], result["sides"]["plain Celery"]
    assert ours["asked"] == plain["asked"] > 300
    for side in (ours, plain):
        assert side["done"] + side["lost"] + side["unfinished"] == side["asked"]
        assert side["calls"] > 100
    assert held(result, "requests lost: none")
    assert held(result, "effects that happened twice: none")
    assert code == (0 if all(one["held"] for one in result["claims"]) else 1)
    assert (tmp_path / "sept-2024.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "sept-2024.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 16
    assert 'src="http' not in page and "href=" not in page


@pytest.mark.timeout(240)
def test_redis_is_lost_and_what_was_paused_stays_paused(tmp_path: Path) -> None:
    result, _ = played("redis-lost", tmp_path, "0.8")

    assert held(result, "requests lost: none")
    assert held(result, "calls of the paused queue")
    assert held(result, "effects that happened twice: none")
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["asked"] == result["asked"]

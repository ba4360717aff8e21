"""One look for everybody: each part for itself, no oftener than it can bear, and never waited for without end."""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wabajobs.clock import SystemClock
from wabajobs.errors import LedgerUnavailable
from wabajobs.page import overlay
from wabajobs.page.snapshot import Part, Snapshot


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Looked:
    """Counts the looks; each tells its number, unless something is to happen first."""

    def __init__(self, first: Callable[[], object] = lambda: None) -> None:
        self.times = 0
        self.first = first

    def __call__(self) -> int:
        self.times += 1
        mine = self.times
        self.first()
        return mine


async def newest(snapshot: Snapshot) -> dict[str, Any]:
    plain, zipped = await snapshot.newest()
    assert gzip.decompress(zipped) == plain
    return dict(json.loads(plain))


def test_many_who_look_at_once_share_one_look(threads: ThreadPoolExecutor) -> None:
    look = Looked()
    snapshot = Snapshot([Part("one", look, every_seconds=60)], threads, SystemClock())

    async def all_look() -> list[dict[str, Any]]:
        return await asyncio.gather(*(newest(snapshot) for _ in range(50)))

    assert [seen["one"]["value"] for seen in asyncio.run(all_look())] == [1] * 50
    assert look.times == 1


def test_a_costly_part_rests_many_times_as_long_as_it_took(threads: ThreadPoolExecutor) -> None:
    part = Part("costly", lambda: time.sleep(0.2), every_seconds=0.01)

    async def look() -> None:
        await Snapshot([part], threads, SystemClock()).newest()

    asyncio.run(look())
    assert part.seen_at is not None
    assert part.due_at - part.seen_at >= 20 * 0.2


def test_a_part_that_hangs_keeps_nobody_from_the_others(threads: ThreadPoolExecutor) -> None:
    free = threading.Event()
    parts = [Part("hangs", Looked(free.wait)), Part("goes", Looked())]
    snapshot = Snapshot(parts, threads, SystemClock())

    async def look_twice() -> tuple[dict[str, Any], dict[str, Any]]:
        before = await newest(snapshot)
        free.set()
        snapshot.hurry()
        return before, await newest(snapshot)

    before, after = asyncio.run(look_twice())
    assert (before["hangs"]["value"], before["goes"]["value"]) == (None, 1)
    assert before["hangs"]["age_seconds"] is None
    assert after["hangs"]["value"] is not None


def test_a_part_that_fails_says_so_in_a_sentence_and_keeps_what_was_seen(threads: ThreadPoolExecutor) -> None:
    answers = iter([lambda: 7, _away, lambda: 1 / 0, lambda: 8])

    def look() -> object:
        return next(answers)()

    part = Part("one", look, every_seconds=0)
    snapshot = Snapshot([part], threads, SystemClock())

    async def four_times() -> list[dict[str, Any]]:
        seen = []
        for _ in range(4):
            snapshot.hurry()
            seen.append((await newest(snapshot))["one"])
        return seen

    well, away, broken, again = asyncio.run(four_times())
    assert (well["value"], well["trouble"]) == (7, None)
    assert (away["value"], away["trouble"]) == (7, "the ledger cannot be asked")
    assert broken["value"] == 7
    assert "Flower's log" in broken["trouble"]
    assert "Traceback" not in broken["trouble"]
    assert (again["value"], again["trouble"]) == (8, None)


def _away() -> None:
    raise LedgerUnavailable("the ledger cannot be asked")


def test_what_was_decided_while_a_look_was_under_way_is_looked_at_once_more(
    threads: ThreadPoolExecutor,
) -> None:
    begun, free = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        free.wait(10)

    look = Looked(wait)
    snapshot = Snapshot([Part("one", look, every_seconds=60)], threads, SystemClock())

    async def decide_meanwhile() -> dict[str, Any]:
        first = asyncio.ensure_future(snapshot.newest())
        await asyncio.to_thread(begun.wait, 10)
        snapshot.hurry()
        free.set()
        await first
        return await newest(snapshot)

    assert asyncio.run(decide_meanwhile())["one"]["value"] == 2


def test_a_template_of_another_flower_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    assert overlay.with_ours("navbar.html", "<nav>another one</nav>") == "<nav>another one</nav>"
    assert "no place for ours in navbar.html" in caplog.text
    assert overlay.with_ours("404.html", "<ul></ul>") == "<ul></ul>"

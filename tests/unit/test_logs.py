"""Logs as JSON: one object a line, with the ids of what the thread is working at, and no secret in it."""

import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest

from tests.unit.conftest import WABA, Bay
from wabajobs import events
from wabajobs.logs import JsonLines
from wabajobs.outcome import Hold
from wabajobs.secret import Secret

IDS = ("operation", "kind", "partner", "waba", "app", "capability", "attempt")


class Written:
    """What has been logged."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    def __str__(self) -> str:
        return self._stream.getvalue()


@pytest.fixture
def written() -> Iterator[Written]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(program="worker", worker="template_sync@host:1"))
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    events.about_nothing()
    yield Written(stream)
    events.about_nothing()
    root.removeHandler(handler)
    root.setLevel(before)


def test_an_event_is_its_name_its_meaning_and_its_facts(written: Written) -> None:
    events.tell("lead_gained", dispatcher="host:1", nothing=None, outcome=Hold(reason="spent", by="budget"))

    line = written.last
    assert (line["event"], line["level"], line["message"]) == ("lead_gained", "info", "this dispatcher leads")
    assert (line["dispatcher"], line["outcome"]) == ("host:1", "held: spent")
    assert (line["program"], line["worker"]) == ("worker", "template_sync@host:1")
    assert "nothing" not in line
    told = datetime.fromisoformat(line["time"])
    assert line["time"].endswith("Z")
    assert abs((datetime.now(UTC) - told).total_seconds()) < 60


def test_no_fact_takes_the_place_of_what_every_line_has(written: Written) -> None:
    events.tell("part_failed", level="high", message="mine", time="late", part="pauses")

    assert (written.last["level"], written.last["part"]) == ("warning", "pauses")
    assert written.last["message"] == events.CATALOGUE["part_failed"]


def test_each_line_of_an_attempt_says_whose_it_is_those_of_libraries_too(bay: Bay, written: Written) -> None:
    exchange = bay.graph.exchange

    def chatty(request: Any) -> Any:
        logging.getLogger("some.library").info("sent %s bytes", 5)
        return exchange(request)

    bay.graph.exchange = chatty  # type: ignore[method-assign]
    operation = bay.accept()

    bay.perform()

    [line] = [one for one in written.lines if one["logger"] == "some.library"]
    assert line["message"] == "sent 5 bytes"
    assert {name: line[name] for name in IDS} == {
        "operation": operation.id,
        "kind": "template_sync",
        "partner": operation.partner,
        "waba": WABA,
        "app": operation.app,
        "capability": "template_reads",
        "attempt": 1,
    }


def test_threads_do_not_speak_of_each_others_operations(written: Written) -> None:
    together = Barrier(4)

    def work(number: int) -> None:
        events.about(operation=f"op-{number}")
        together.wait(10)
        logging.getLogger("some.library").info("of %s", number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert {(one["message"], one["operation"]) for one in written.lines if one["logger"] == "some.library"} == {
        (f"of {number}", f"op-{number}") for number in range(4)
    }
    logging.getLogger("some.library").info("of nobody")
    assert "operation" not in written.last


def test_what_celery_tells_of_a_task_has_its_id(written: Written) -> None:
    told = {"id": "op-1", "name": "template_sync", "args": "()"}

    logging.getLogger("celery.worker").info("Task %(name)s[%(id)s] received", told, extra={"data": told})

    assert (written.last["operation"], written.last["kind"]) == ("op-1", "template_sync")


def test_a_stack_trace_stays_in_its_line_and_no_secret_comes_out(written: Written) -> None:
    secret = Secret("EAAB-very-secret")
    try:
        raise ValueError(f"no use of {secret}")
    except ValueError:
        events.tell("attempt_crashed", operation="op-1", given={"pin": secret}, token=secret)
    logging.getLogger("x").error("%s and %r", secret, [secret], extra={"data": {"id": secret}})

    crashed, last = written.lines[-2:]
    assert "ValueError: no use of ***" in crashed["exception"]
    assert "Traceback" in crashed["exception"]
    assert last["message"] == "*** and [***]"
    assert "very-secret" not in str(written)

"""A secret does not show itself, however it is asked."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wabajobs.secret import Secret, read_secret_file

VALUE = "EAAJsecret0123456789"


@dataclass
class Holder:
    token: Secret


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        ascii,
        "{}".format,
        "{!r:>30}".format,
        "%s".__mod__,
        lambda secret: f"{secret:>40}",
        lambda secret: repr([secret, {"token": secret}, Holder(secret)]),
        lambda secret: str(ValueError("refused", secret)),
    ],
)
def test_it_is_never_printed(show: Callable[[Secret], str]) -> None:
    shown = show(Secret(VALUE))

    assert VALUE not in shown
    assert "***" in shown


def test_it_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("wabajobs").warning("token=%s of %r", Secret(VALUE), Holder(Secret(VALUE)))

    assert VALUE not in caplog.text


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars])
def test_it_does_not_travel(send: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as refused:
        send(Secret(VALUE))

    assert VALUE not in str(refused.value)


def test_it_is_revealed_when_asked_by_name() -> None:
    assert Secret(VALUE).reveal() == VALUE


def test_equal_secrets_are_equal_and_nothing_else_is() -> None:
    assert {Secret(VALUE), Secret(VALUE)} == {Secret(VALUE)}
    assert Secret(VALUE) != Secret("another")
    assert Secret(VALUE) != VALUE


def test_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{VALUE}\r\n")

    assert read_secret_file(tmp_path / "token") == Secret(VALUE)

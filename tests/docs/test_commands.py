"""Every command and every option that the documentation shows exists."""

import re
import shlex

import click
import flower.options  # noqa: F401 (defines Flower's options with Tornado)
import pytest
from tornado.options import options as flowers

from tests.docs.pages import Page, pages
from tests.support.fleet import ROOT
from wabajobs.cli import cli
from wabajobs.simulator.__main__ import _parser

_ENDS = {"|", "&&", "||", ";", "&", ">", "2>&1", "…", "..."}
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


def words_of(line: str) -> list[str]:
    """Return the words of a command line, without what a synopsis adds to them."""
    line = re.sub(r"\s#.*$", "", line).replace("[", " ").replace("]", " ")
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def command_of(line: str, program: str) -> list[str] | None:
    """Return the words behind the program's name, None when the line runs something else."""
    words = words_of(line)
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if not words or words[0].rpartition("/")[2] != program:
        return None
    end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
    return words[1:end]


def complaint(words: list[str]) -> str | None:
    """Say what in a `wabajobs …` line does not exist."""
    command: click.Command = cli
    options = _options_of(command)
    for word in words:
        if word.startswith("-"):
            if (option := word.partition("=")[0]) not in options:
                return f"{command.name} has no option {option}"
        elif isinstance(command, click.Group):
            known = [command.get_command(click.Context(command), each) for each in word.split("|")]
            if None in known:
                return f"there is no command {word!r}"
            command = known[0]  # type: ignore[assignment]
            options |= _options_of(command)
    return None


def _options_of(command: click.Command) -> set[str]:
    names = {"--help", "-h"} | {name for parameter in command.params for name in parameter.opts}
    if command.name == "flower":
        names |= {f"--{name.replace('_', '-')}" for name in flowers} | {f"--{name}" for name in flowers}
    if command.name == "simulator":
        names |= {name for action in _parser()._actions for name in action.option_strings}
    return names


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_command_and_option_exists(page: Page) -> None:
    shown = [(line, words) for line in page.commands() if (words := command_of(line, "wabajobs")) is not None]

    wrong = {line: why for line, words in shown if (why := complaint(words))}

    assert wrong == {}


def test_every_command_is_documented() -> None:
    shown = [words for page in pages() for line in page.commands() if (words := command_of(line, "wabajobs"))]

    documented = {tuple(word for word in words if not word.startswith("-"))[:2] for words in shown}

    assert {path for path in _leaves(cli) if not any(each[: len(path)] == path for each in documented)} == set()


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    leaves = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        below = (*path, name)
        leaves += _leaves(command, below) if isinstance(command, click.Group) else [below]
    return leaves


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_worker_that_is_started_has_a_module(page: Page) -> None:
    made = {word for block in page.blocks for word in re.findall(r"^# (?:workers/)?(\w+)\.py$", block.text, re.M)}
    for line in page.commands():
        words = command_of(line, "celery")
        if words and words[0] in ("-A", "--app") and words[1].startswith("workers."):
            name = words[1].removeprefix("workers.")
            assert (ROOT / "workers" / f"{name}.py").exists() or name in made, line


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_target_of_make_exists(page: Page) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in page.commands():
        words = command_of(line, "make")
        if words and "=" not in words[0]:
            assert words[0] in targets, line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wabajobs pause queue template_sync --reason x --slowly", "pause has no option --slowly"),
        ("wabajobs ops list|escalate", "there is no command 'list|escalate'"),
        ("wabajobs incident reopen", "there is no command 'reopen'"),
        ("wabajobs flower --basic-auth=a:b", None),
        ("FOO=1 .venv/bin/wabajobs ops show ID --json | head", None),
    ],
)
def test_what_does_not_exist_is_found(line: str, said: str | None) -> None:
    words = command_of(line, "wabajobs")

    assert words is not None
    assert complaint(words) == said

"""What a drill is: a name, what it shows, and how it is played."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from wabajobs.drills.claims import Claims


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a drill is to be played."""

    out: Path
    """Where its files go; it exists."""
    console: Console
    """Where it says what it does."""
    length: str = "usual"
    """`quick`, `usual` or `whole`."""
    hour: float | None = None
    """Seconds that an hour lasts; None leaves it to the drill."""
    count_refused: bool = True
    """Whether Meta counts refused calls, too."""
    seed: int = 1

    @property
    def quick(self) -> bool:
        """Whether it is only to be seen that it works."""
        return self.length == "quick"


@dataclass
class Played:
    """What came of a drill."""

    claims: Claims
    files: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """Raw results, for a program."""


@dataclass(frozen=True, kw_only=True)
class Drill:
    """One drill. It is played by `play` of the module of its name."""

    name: str
    shows: str
    """What it is about, in a line."""

    def play(self, options: Options) -> Played:
        """Play it. Its module is imported only now: who lists drills need not wait for Celery."""
        module = import_module(f"wabajobs.drills.{self.name.replace('-', '_')}")
        played: Played = module.play(options)
        return played

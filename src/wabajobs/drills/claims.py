"""What is claimed, and whether it held: the verdict of a demo or a drill."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Claim:
    """One claim."""

    claim: str
    seen: str
    held: bool
    beside: str = ""
    """What was seen at the side that it is held against."""


@dataclass
class Claims:
    """What was claimed, and whether it held."""

    checked: list[Claim] = field(default_factory=list)

    def check(self, claim: str, seen: str, held: bool, *, beside: str = "") -> None:
        """Note a claim, what was seen, and whether that bears it out."""
        self.checked.append(Claim(claim, seen, held, beside))

    @property
    def all_held(self) -> bool:
        """Whether all is well. Nothing claimed is nothing proven."""
        return bool(self.checked) and all(one.held for one in self.checked)

    @property
    def failed(self) -> list[Claim]:
        """Those that did not hold."""
        return [one for one in self.checked if not one.held]

    def as_json(self) -> list[dict[str, Any]]:
        """Return them for programs."""
        return [asdict(one) for one in self.checked]

    def table(self, title: str = "What was claimed, and what the witness saw") -> Table:
        """Draw them."""
        with_beside = any(one.beside for one in self.checked)
        table = Table(title=title, title_justify="left", box=None)
        table.add_column("")
        table.add_column("claim")
        table.add_column("wabajobs" if with_beside else "seen", justify="right")
        if with_beside:
            table.add_column("plain Celery", justify="right")
        for one in self.checked:
            row = ["[green]✔[/]" if one.held else "[bold red]✘[/]", escape(one.claim), escape(one.seen)]
            table.add_row(*row, *([escape(one.beside)] if with_beside else []))
        return table

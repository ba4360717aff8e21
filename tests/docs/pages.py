"""The pages of the documentation, taken apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.fleet import ROOT

DOCS = ROOT / "docs"

_FENCE = re.compile(r"^[ ]*```(?P<language>[^\n]*)\n(?P<text>.*?)^[ ]*```[ ]*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_NO_WORD = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        return [Block(found["language"].strip(), found["text"]) for found in _FENCE.finditer(self.text)]

    @property
    def prose(self) -> str:
        """What stands outside the blocks."""
        return _FENCE.sub("", self.text)

    @property
    def inline(self) -> list[str]:
        """What the prose sets as code."""
        return [span.replace("\\|", "|") for span in _INLINE.findall(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """The headings, as GitHub names them."""
        headings = re.findall(r"^#+ +(.+)$", self.prose, re.MULTILINE)
        return {_NO_WORD.sub("", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}

    def commands(self) -> Iterator[str]:
        """Yield what a reader would type: after a prompt, as a line of its own, or in the prose."""
        for block in self.blocks:
            for line in block.text.replace("\\\n", " ").splitlines():
                if block.language == "console" and not line.startswith("$ "):
                    continue
                yield line.removeprefix("$ ").strip()
        yield from self.inline


def pages() -> list[Page]:
    """Return the README and everything below docs/."""
    return [Page(ROOT / "README.md"), *map(Page, sorted(DOCS.rglob("*.md")))]

"""The Markdown that the product's reports are written in, as HTML: headings, paragraphs, lists and tables."""

from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from typing import Final

_HEADINGS: Final = {"# ": "h2", "## ": "h3", "### ": "h4"}


def as_html(text: str) -> str:
    """Return a report as HTML. Everything in it is text: nothing is taken for a tag."""
    return "\n".join(part for kind, lines in groupby(text.splitlines(), _kind_of) for part in _part(kind, lines))


def _kind_of(line: str) -> str:
    if line.startswith("|"):
        return "table"
    if line.startswith("- "):
        return "list"
    if line.startswith("#"):
        return "heading"
    return "paragraph" if line else ""


def _part(kind: str, lines: Iterable[str]) -> Iterator[str]:
    match kind:
        case "table":
            yield from _table([_cells(line) for line in lines])
        case "list":
            yield f"<ul>{''.join(f'<li>{escape(line[2:])}</li>' for line in lines)}</ul>"
        case "heading":
            for line in lines:
                marks, _, words = line.partition(" ")
                tag = _HEADINGS.get(f"{marks} ", "h4")
                yield f"<{tag}>{escape(words)}</{tag}>"
        case "paragraph":
            yield f"<p>{escape(' '.join(lines))}</p>"


def _table(rows: list[list[str]]) -> Iterator[str]:
    head, _, *body = rows  # the second line is the one that makes it a table
    yield "<div class=scroll><table>"
    for tag, cells in [("th", head), *(("td", row) for row in body)]:
        yield f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
    yield "</table></div>"


def _cells(line: str) -> list[str]:
    hidden = line.strip().strip("|").replace("\\|", "\0")
    return [cell.strip().replace("\0", "|") for cell in hidden.split("|")]

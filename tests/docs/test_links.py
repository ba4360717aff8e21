"""Every link inside the documentation leads somewhere."""

import re
from itertools import chain

import pytest

from tests.docs.pages import DOCS, Page, pages
from tests.support.fleet import ROOT

_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]*)\)")
_AT_THE_END = {DOCS / "measurements.md"}
"""Written last, from a benchmark of what is released. From then on it is a page like any other."""


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_link_leads_to_a_page_and_a_heading_of_it(page: Page) -> None:
    for link in _LINK.findall(page.prose):
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if target in _AT_THE_END and not target.exists():
            continue
        assert target.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            assert anchor in Page(target).anchors, f"{page} links to {link}: there is no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = Page(waiting.pop())
        reached.add(page.path)
        targets = ((page.path.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(page.prose))
        # A link to a folder is one to its README, which GitHub shows there.
        files = (target / "README.md" if target.is_dir() else target for target in targets)
        waiting += [path for path in files if path.suffix == ".md" and path.exists() and path not in reached]

    assert {page.path for page in pages()} - reached == set()


def test_no_page_names_a_place_outside_of_the_project() -> None:
    mentions = chain.from_iterable(
        ((str(page), line) for line in page.text.splitlines() if re.search(r"/(home|root|Users)/", line))
        for page in pages()
    )

    assert list(mentions) == []
